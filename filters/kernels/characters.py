"""How many characters texts have: their bytes without those that continue a character, 64 at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit

from filters.kernels.buffers import JIT, readonly
from filters.kernels.intrinsics import continuation_mask, set_bits


def characters(text: pa.Array) -> np.ndarray:
    """Return the code points of each string, int32 [rows]; what lies behind a text is not read."""
    if text.type == pa.string():
        text = text.cast(pa.large_string())
    if text.type != pa.large_string():
        raise TypeError(f"text must be a string or large_string array, not {text.type}")
    _, offset_buffer, data_buffer = text.buffers()
    if len(text) == 0 or data_buffer is None:
        return np.zeros(len(text), np.int32)
    offsets = np.frombuffer(offset_buffer, np.int64, len(text) + 1, text.offset * 8)
    return _characters(readonly(offsets), readonly(np.frombuffer(data_buffer, np.uint8)))


@njit(**JIT)
def _characters(offsets: np.ndarray, data: np.ndarray) -> np.ndarray:
    counts = np.empty(len(offsets) - 1, np.int32)
    for row in range(len(counts)):
        at, end = offsets[row], offsets[row + 1]
        count = end - at
        while at + 64 <= end:
            count -= set_bits(continuation_mask(data.ctypes.data + at))
            at += 64
        for place in range(at, end):
            count -= (data[place] & 0xC0) == 0x80
        counts[row] = count
    return counts
