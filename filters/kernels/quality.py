"""What Gopher's quality rules count in a text: words and what they hold, symbols, and how lines begin and end."""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.shingles import longest
from filters.kernels.unicode import SPACE, class_of, decode
from filters.kernels.words import BEGIN, CHARACTERS, DIGIT, END, HOLDS, LETTER, cut_words

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
BULLETS = "•●‣*-"

(
    TOKENS, WORDS, WORD_CHARACTERS, ALPHABETIC, DISTINCT_STOP_WORDS, HASHES, ELLIPSES, LINES, BULLET_LINES,
    ELLIPSIS_LINES, TEXT_CHARACTERS,
) = range(11)  # fmt: skip
"""Rows of what `count` returns. TOKENS are words of any kind; WORDS are those that hold a letter or a digit."""

_NEWLINE, _HASH, _PERIOD, _CONTINUATION = np.uint8(0x0A), np.uint8(ord("#")), np.uint8(ord(".")), np.uint8(0x80)
_HEAD, _TAIL = np.uint8(0xC0), np.uint8(0xE2)  # the mask of a character's first byte; the first byte of an ellipsis
_IS_RARE = np.isin(np.arange(256), [_NEWLINE, _PERIOD, _TAIL])  # bytes at which there is something to count
_ELLIPSIS = 0x2026
_BULLETS = tuple(ord(bullet) for bullet in BULLETS)
_STOP_WORDS = np.array([int.from_bytes(word.encode(), "little") for word in STOP_WORDS], np.uint64)
_LONGEST_STOP_WORD = max(map(len, STOP_WORDS))


@njit(**JIT)
def _stop_word(data: np.ndarray, begin: int, end: int) -> int:
    """Return a bit that says which stop word data[begin:end] is, or 0."""
    if end - begin > _LONGEST_STOP_WORD:
        return 0
    packed = np.uint64(0)
    for at in range(begin, end):
        packed |= np.uint64(data[at]) << np.uint64(8 * (at - begin))
    for index in range(len(_STOP_WORDS)):
        if packed == _STOP_WORDS[index]:
            return 1 << index
    return 0


@njit(**JIT)
def _begins_with_bullet(data: np.ndarray, start: int, end: int) -> bool:
    """Tell whether the first character that is no white space is a bullet."""
    while start < end:
        point, size = decode(data, start)
        if not class_of(point) & SPACE:
            return point in _BULLETS
        start += size
    return False


@njit(**JIT)
def _ends_in_ellipsis(data: np.ndarray, start: int, end: int) -> bool:
    """Tell whether the line ends, white space aside, in `...` or `…`."""
    while end > start:
        last = end - 1
        while data[last] & _HEAD == _CONTINUATION:
            last -= 1
        point, _ = decode(data, last)
        if not class_of(point) & SPACE:
            three = end - start >= 3 and data[end - 3] == _PERIOD and data[end - 2] == _PERIOD and point == _PERIOD
            return point == _ELLIPSIS or three
        end = last
    return False


@njit(**JIT)
def _count_bytes(data: np.ndarray, start: int, stop: int, counts: np.ndarray) -> None:
    """Count what needs no words: characters, symbols, lines."""
    characters = hashes = 0
    for at in range(start, stop):  # a loop of its own without branches: the compiler takes many bytes at once
        characters += (data[at] & _HEAD) != _CONTINUATION
        hashes += data[at] == _HASH
    begin, periods, after_period = start, 0, start
    ellipses = lines = bullets = trailing = 0
    for at in range(start, stop + 1):
        byte = data[at] if at < stop else _NEWLINE
        if not _IS_RARE[byte]:
            continue
        if byte == _PERIOD:
            periods = periods + 1 if at == after_period else 1
            after_period = at + 1
            if periods == 3:
                ellipses += 1
                periods = 0
        elif byte == _NEWLINE:
            if at > begin:
                lines += 1
                bullets += _begins_with_bullet(data, begin, at)
                trailing += _ends_in_ellipsis(data, begin, at)
            begin = at + 1
        else:
            ellipses += decode(data, at)[0] == _ELLIPSIS
    counts[TEXT_CHARACTERS], counts[HASHES], counts[ELLIPSES] = characters, hashes, ellipses
    counts[LINES], counts[BULLET_LINES], counts[ELLIPSIS_LINES] = lines, bullets, trailing


@njit(**JIT)
def count(offsets: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return int64 [11, rows]: what the rows' names say.

    A line is what stands between line feeds, if that is anything.
    """
    rows = len(offsets) - 1
    counts = np.zeros((rows, 11), np.int64)
    room = longest(offsets) + 1
    roles, places, table = np.empty(room, np.uint16), np.empty(room, np.int64), np.empty((room, 4), np.int64)
    for row in range(rows):
        mine = counts[row]
        _count_bytes(data, offsets[row], offsets[row + 1], mine)
        tokens = cut_words(data, offsets[row], offsets[row + 1], roles, places, table)
        words = characters = alphabetic = stop_words = 0
        for index in range(tokens):
            holds = table[index, HOLDS]
            if holds & np.int64(LETTER | DIGIT):
                words += 1
                characters += table[index, CHARACTERS]
            if holds & np.int64(LETTER):
                alphabetic += 1
                stop_words |= _stop_word(data, table[index, BEGIN], table[index, END])
        mine[TOKENS], mine[WORDS], mine[WORD_CHARACTERS], mine[ALPHABETIC] = tokens, words, characters, alphabetic
        while stop_words:
            mine[DISTINCT_STOP_WORDS] += stop_words & 1
            stop_words >>= 1
    return counts.T
