"""The lines, paragraphs and sentences of texts, each with a hash of what it says, white space aside.

Units follow each other without a gap: a line has the newline that ends it, a paragraph the blank lines behind it, a
sentence the space behind it (the newline that ends its line stands between sentences). So what is left when some are
cut out is cut into the same units again.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.intrinsics import fold
from filters.kernels.lines import is_blank
from filters.kernels.sentences import next_sentence
from filters.kernels.unicode import SPACE, class_of, decode

LINE, PARAGRAPH, SENTENCE = range(3)

_NEWLINE = np.uint8(0x0A)
Key = tuple[np.uint64, np.uint64]
"""Where hashes start, and an odd number that they are multiplied by: who does not know them cannot make hashes meet."""


@njit(**JIT)
def squeezed(data: np.ndarray, start: int, end: int, key: Key) -> tuple[np.uint64, int]:
    """Return (hash, characters) of data[start:end] as `" ".join(text.split())` would have it."""
    state, characters, gap = key[0], 0, False
    at = start
    while at < end:
        point, size = np.int64(data[at]), 1
        if point >= 0x80:
            point, size = decode(data, at)
        if class_of(point) & SPACE:
            gap = characters > 0
        else:
            if gap:
                state = (state ^ np.uint64(0x20)) * key[1]
                characters, gap = characters + 1, False
            for byte in range(at, at + size):
                state = (state ^ np.uint64(data[byte])) * key[1]
            characters += 1
        at += size
    return fold(state, key[1]), characters


@njit(**JIT)
def _line_end(data: np.ndarray, start: int, end: int) -> int:
    """Return where the next newline at or behind `start` is, or `end`."""
    at = start
    while at < end and data[at] != _NEWLINE:
        at += 1
    return at


@njit(**JIT)
def _paragraph_end(data: np.ndarray, start: int, end: int) -> int:
    """Return where the first line begins that is not blank and has a blank line before it, or `end`."""
    at, filled, blank = start, False, False
    while at < end:
        stop = _line_end(data, at, end)
        if is_blank(data, at, stop):
            blank = filled
        elif blank:
            return at
        else:
            filled = True
        at = min(stop + 1, end)
    return end


@njit(**JIT)
def mark_units(
    offsets: np.ndarray, data: np.ndarray, kind: int, least: int, key: Key
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (hash uint64, row, [start, end] bytes in the row) of every unit of at least `least` characters, in order.

    `least` is at least 1, and counts a unit as `" ".join(unit.split())`.
    """
    room = (offsets[-1] - offsets[0]) // least + 1
    hashes, rows, places = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty((room, 2), np.int64)
    count = 0
    for row in range(len(offsets) - 1):
        start, last = offsets[row], offsets[row + 1]
        line = start - 1  # where the line that we are in ends
        at = start
        while at < last:
            if kind == PARAGRAPH:
                stop = _paragraph_end(data, at, last)
            else:
                if line < at:
                    line = _line_end(data, at, last)
                if kind == LINE:
                    stop = min(line + 1, last)
                else:
                    stop = next_sentence(data, at, line) if at < line else at + 1
            number, characters = squeezed(data, at, stop, key)
            if characters >= least:
                hashes[count], rows[count] = number, row
                places[count, 0], places[count, 1] = at - start, stop - start
                count += 1
            at = stop
    return hashes[:count], rows[:count], places[:count]
