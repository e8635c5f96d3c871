"""Arrow string columns as numpy buffers, without a copy, and the compiler settings every kernel shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

# nogil: kernels of several threads run side by side. cache: compiled once per machine, not once per process.
JIT: dict[str, Any] = {"nogil": True, "cache": True, "boundscheck": False, "error_model": "numpy"}

PADDING = 80
"""Bytes that a kernel may read, and must ignore, past the end of the data it was given."""


def buffers(text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return (offsets int64 [rows + 1], data uint8) of a string or large_string array: row i is data[o[i]:o[i + 1]].

    Slices are honoured; no text is copied unless it ends within PADDING bytes of its buffer, so that kernels may read
    64 bytes at a time. A null row must not occur: text is never null.
    """
    if text.null_count:
        raise ValueError(f"{text.null_count} of {len(text)} texts are null")
    if text.type == pa.string():
        text = text.cast(pa.large_string())
    if text.type != pa.large_string():
        raise TypeError(f"text must be a string or large_string array, not {text.type}")
    if len(text) == 0:
        return readonly(np.zeros(1, np.int64)), readonly(np.zeros(PADDING, np.uint8))
    _, offset_buffer, data_buffer = text.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64, len(text) + 1, text.offset * 8)
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.zeros(0, np.uint8)
    end = int(offsets[-1])
    if len(data) - end >= PADDING:
        return readonly(offsets), readonly(data)
    start = int(offsets[0])
    padded = np.zeros(end - start + PADDING, np.uint8)
    padded[: end - start] = data[start:end]
    return readonly(offsets - start), readonly(padded)


def readonly(array: np.ndarray) -> np.ndarray:
    """Forbid writing, as for Arrow's own memory: to numba that is another type, and a kernel would be compiled twice."""
    array.flags.writeable = False
    return array
