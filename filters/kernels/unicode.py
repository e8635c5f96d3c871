"""Unicode as kernels need it: the class of a code point, its lower case, and the decoding of one from UTF-8.

The tables are shipped, not computed, so that results do not depend on the Python that runs (`python -m
filters.kernels.make_unicode` makes them anew from `unicodedata`). They are two-stage tables: blocks of 256 code points,
equal blocks stored once.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT

LETTER, MARK, DIGIT, NUMBER, PUNCTUATION, SYMBOL, SPACE, UPPER = (np.uint8(1 << bit) for bit in range(8))
"""Bits of a class: general categories L*, M*, Nd, Nl and No, P*, S*; str.isspace; letters with another lower case."""
WORD = LETTER | MARK | DIGIT

with (
    (resources.files(__package__) / "unicode.npz").open("rb") as _stream,
    np.load(_stream, allow_pickle=False) as _tables,
):
    CLASS_INDEX, CLASS_BLOCKS = _tables["class_index"], _tables["class_blocks"]
    LOWER_INDEX, LOWER_BLOCKS = _tables["lower_index"], _tables["lower_blocks"]


@njit(inline="always", **JIT)
def decode(data: np.ndarray, at: int) -> tuple[Any, int]:
    """Return (code point, bytes it takes) at `at` of valid UTF-8."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return ((first & 0x1F) << 6) | (np.int64(data[at + 1]) & 0x3F), 2
    if first < 0xF0:
        return ((first & 0x0F) << 12) | ((np.int64(data[at + 1]) & 0x3F) << 6) | (np.int64(data[at + 2]) & 0x3F), 3
    return (
        ((first & 0x07) << 18)
        | ((np.int64(data[at + 1]) & 0x3F) << 12)
        | ((np.int64(data[at + 2]) & 0x3F) << 6)
        | (np.int64(data[at + 3]) & 0x3F)
    ), 4


@njit(inline="always", **JIT)
def class_of(point: int) -> np.uint8:
    """Return the class bits of a code point."""
    return CLASS_BLOCKS[(np.int64(CLASS_INDEX[point >> 8]) << 8) | (point & 0xFF)]


@njit(inline="always", **JIT)
def lower_of(point: int) -> Any:
    """Return the lower case of a code point, where that is one code point; else the point itself."""
    return point + np.int64(LOWER_BLOCKS[(np.int64(LOWER_INDEX[point >> 8]) << 8) | (point & 0xFF)])
