"""Where a text is cut before byte pairs are merged: GPT-4's splitting expression as a walk over UTF-8.

The expression, in which tokenizers differ by what they call a <letter>:

    (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n<letter>\\p{N}]?[<letter>]+|\\p{N}{1,3}|
     ?[^\\s<letter>\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+

It matches at every position of every text, so pieces follow each other without a gap. What is a letter is given as a
table over all code points, so that this walk and the regular expression engine it stands in for cannot disagree.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.unicode import decode

OTHER, LETTER, NUMBER, SPACE, NEWLINE = (np.uint8(kind) for kind in range(5))
"""What the splitting expression tells apart; NEWLINE is a line feed or a carriage return."""

POINTS = 0x110000
"""Code points there are: the length of a table of kinds."""

_DIGITS = 3
"""Numbers that make a piece at most."""


@njit(inline="always", **JIT)
def _contraction(data: np.ndarray, at: int, end: int) -> int:
    """Return the bytes of the English contraction whose apostrophe is at `at`, in any case; 0 if there is none."""
    if at + 1 >= end:
        return 0
    first = data[at + 1] | 0x20
    if first == ord("s") or first == ord("t") or first == ord("m") or first == ord("d"):
        return 2
    if at + 2 >= end:
        return 0
    if data[at + 1] == 0xC5 and data[at + 2] == 0xBF:  # the long s, which is an s where case is ignored
        return 3
    second = data[at + 2] | 0x20
    if (first == ord("r") or first == ord("v")) and second == ord("e"):
        return 3
    if first == ord("l") and second == ord("l"):
        return 3
    return 0


@njit(**JIT)
def _run(data: np.ndarray, at: int, end: int, kinds: np.ndarray, kind: int) -> int:
    """Return where the run of characters of one kind that starts at `at` ends."""
    while at < end:
        point, size = decode(data, at)
        if kinds[point] != kind:
            break
        at += size
    return at


@njit(**JIT)
def piece_end(data: np.ndarray, at: int, end: int, kinds: np.ndarray) -> int:
    """Return where the piece that starts at `at` ends, in a text that ends at `end` (at < end).

    `kinds` maps a code point to its kind.
    """
    point, size = decode(data, at)
    if point == 0x27:
        size_of_contraction = _contraction(data, at, end)
        if size_of_contraction:
            return at + size_of_contraction
    kind = kinds[point]
    after = at + size
    if kind == LETTER:
        return _run(data, after, end, kinds, LETTER)
    if kind == NUMBER:
        count = 1
        while after < end and count < _DIGITS:
            point, size = decode(data, after)
            if kinds[point] != NUMBER:
                break
            after += size
            count += 1
        return after
    if kind != NEWLINE and after < end:
        following, _ = decode(data, after)
        if kinds[following] == LETTER:
            return _run(data, after, end, kinds, LETTER)
        if kind == OTHER or (point == 0x20 and kinds[following] == OTHER):
            return _run(data, _run(data, after, end, kinds, OTHER), end, kinds, NEWLINE)
    if kind == OTHER:
        return after
    return _space_end(data, at, end, kinds)


@njit(**JIT)
def _space_end(data: np.ndarray, at: int, end: int, kinds: np.ndarray) -> int:
    """Return where the piece of white space at `at` ends.

    It ends after the last line end in the run. Without one it leaves the run's last character to the word that follows,
    unless that is the only character, or the text ends there.
    """
    start, last, after_newline = at, at, at
    while at < end:
        point, size = decode(data, at)
        kind = kinds[point]
        if kind != SPACE and kind != NEWLINE:
            break
        last = at
        at += size
        if kind == NEWLINE:
            after_newline = at
    if after_newline > start:
        return after_newline
    if at == end or last == start:
        return at
    return last


@njit(**JIT)
def cuts(offsets: np.ndarray, data: np.ndarray, kinds: np.ndarray, longest: int) -> np.ndarray:
    """Return where the pieces of all texts start, and after them where the last ends: int64 [pieces + 1].

    A piece of more than `longest` characters is cut into pieces of so many.
    """
    found = np.empty(1 + offsets[-1] - offsets[0], np.int64)
    count = 0
    for text in range(len(offsets) - 1):
        at, end = offsets[text], offsets[text + 1]
        while at < end:
            stop = piece_end(data, at, end, kinds)
            characters = 0
            while at < stop:
                if characters % longest == 0:
                    found[count] = at
                    count += 1
                characters += 1
                at += decode(data, at)[1]
    found[count] = offsets[-1]
    return found[: count + 1]
