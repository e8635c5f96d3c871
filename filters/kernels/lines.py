"""What a text looks like line by line: how lines end, how long they are, which of them repeat."""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.sentences import ends_sentence
from filters.kernels.unicode import SPACE, class_of, decode

SHORT_LINE = 30
"""Characters of the longest line that FineWeb calls short (Penedo et al. 2024, section 3.6)."""

_NEWLINE, _CONTINUATION = np.uint8(0x0A), np.uint8(0x80)
_PRIME, _ODD = np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)


@njit(**JIT)
def is_blank(data: np.ndarray, start: int, end: int) -> bool:
    """Tell whether data[start:end] is nothing but white space."""
    at = start
    while at < end:
        point, size = decode(data, at)
        if not class_of(point) & SPACE:
            return False
        at += size
    return True


@njit(**JIT)
def _seen_before(
    data: np.ndarray,
    start: int,
    end: int,
    fingerprint: int,
    slots: np.ndarray,
    mask: int,
    lines: np.ndarray,
    count: int,
) -> bool:
    """Tell whether a line equals an earlier one of its text; if not, store it as line `count`."""
    slot = np.int64((np.uint64(fingerprint) * _ODD) >> np.uint64(32)) & mask
    while slots[slot] >= 0:
        other = lines[slots[slot]]
        if other[2] == fingerprint and other[1] - other[0] == end - start:
            same = True
            for at in range(end - start):
                if data[start + at] != data[other[0] + at]:
                    same = False
                    break
            if same:
                return True
        slot = (slot + 1) & mask
    slots[slot] = count
    lines[count, 0], lines[count, 1], lines[count, 2] = start, end, fingerprint
    return False


@njit(**JIT)
def line_shape(offsets: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return int64 [6, rows]: of the lines between newlines that are not blank, their number, those that end a
    sentence, those of at most 30 characters, and the characters in those that equal an earlier one; of the whole text,
    its characters without newlines, and its newlines.
    """
    rows = len(offsets) - 1
    shape = np.zeros((6, rows), np.int64)
    slots = np.empty(0, np.int32)
    lines = np.empty((0, 3), np.int64)
    for row in range(rows):
        first, last = offsets[row], offsets[row + 1]
        newlines = 0
        for at in range(first, last):
            newlines += data[at] == _NEWLINE
        if newlines >= len(lines):
            lines = np.empty((2 * newlines + 2, 3), np.int64)
            slots = np.empty(1 << np.int64(np.ceil(np.log2(4 * newlines + 4))), np.int32)
        mask = 1
        while mask < 2 * newlines + 2:
            mask *= 2
        slots[:mask] = -1
        filled = ended = short = repeated = characters = distinct = 0
        start = first
        while start <= last:
            fingerprint = np.uint64(0)
            length = 0
            end = start
            while end < last and data[end] != _NEWLINE:
                byte = data[end]
                fingerprint = (fingerprint ^ np.uint64(byte)) * _PRIME
                length += (byte & np.uint8(0xC0)) != _CONTINUATION
                end += 1
            characters += length
            if not is_blank(data, start, end):
                filled += 1
                short += length <= SHORT_LINE
                final = end - 1
                while data[final] & np.uint8(0xC0) == _CONTINUATION:
                    final -= 1
                ended += ends_sentence(decode(data, final)[0])
                if _seen_before(data, start, end, np.int64(fingerprint), slots, mask - 1, lines, distinct):
                    repeated += length
                else:
                    distinct += 1
            start = end + 1
        shape[0, row], shape[1, row], shape[2, row] = filled, ended, short
        shape[3, row], shape[4, row], shape[5, row] = repeated, characters, newlines
    return shape
