"""C4's line rules, applied while copying: which lines of a page stay, and what C4 counts in them."""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT, PADDING
from filters.kernels.sentences import sentences
from filters.kernels.unicode import DIGIT, SPACE, class_of, decode

FEWEST_WORDS = 3
LONGEST_WORD = 1000
"""Words of a line that stays, and characters of its longest word: section 2.2 of the paper and the released code."""

_KEPT, _DROPPED = 1, 0
_QUESTION, _EXCLAMATION, _DOUBLE, _SINGLE, _DOT, _OPEN, _CLOSE, _BRACE, _NEWLINE, _A, _Z, _CASE = (
    np.uint8(ord(character)) for character in "?!\"'.[]{\nAZ "
)


def _bytes(phrase: str) -> np.ndarray:
    return np.frombuffer(phrase.encode(), np.uint8)


_EDIT, _NEEDED = _bytes("[edit]"), _bytes("[citation needed]")
_LOREM, _JAVASCRIPT = _bytes("lorem ipsum"), _bytes("javascript")
_TERMS, _PRIVACY, _COOKIE_POLICY = _bytes("terms of use"), _bytes("privacy policy"), _bytes("cookie policy")
_IS_RARE = np.isin(np.arange(256), [ord(character) for character in "PVKFpvkf{"])
_USES, _USE_OF, _USE = _bytes("uses cookies"), _bytes("use of cookies"), _bytes("use cookies")


@njit(inline="always", **JIT)
def ends_line(point: int) -> bool:
    """Tell whether str.splitlines ends a line at this code point."""
    return 0x0A <= point <= 0x0D or 0x1C <= point <= 0x1E or point == 0x85 or point == 0x2028 or point == 0x2029


@njit(**JIT)
def _is_at(phrase: np.ndarray, data: np.ndarray, at: int, end: int) -> bool:
    """Tell whether data[at:end] begins with the phrase, which is in small letters, in any case of ASCII letters."""
    if end - at < len(phrase):
        return False
    for index in range(len(phrase)):
        byte = data[at + index]
        if _A <= byte <= _Z:
            byte |= _CASE
        if byte != phrase[index]:
            return False
    return True


@njit(**JIT)
def _citation(data: np.ndarray, at: int, end: int) -> int:
    """Return the bytes of the citation mark that begins at data[at] == `[`, else 0: [], [12], [edit] …"""
    after = at + 1
    while after < end:
        point, size = decode(data, after)
        if not class_of(point) & DIGIT:
            break
        after += size
    if after < end and data[after] == _CLOSE:
        return after + 1 - at
    for mark in (_EDIT, _NEEDED):
        if end - at >= len(mark) and np.array_equal(data[at : at + len(mark)], mark):
            return len(mark)
    return 0


@njit(**JIT)
def _judge(line: np.ndarray, end: int, counts: np.ndarray) -> int:
    """Add what C4 counts in line[:end] to counts (sentences, lorem ipsum, curly brackets); tell whether it stays."""
    dropped, policy, brackets = False, False, 0
    for at in range(end):
        # One letter of each phrase, a rare one, says whether to look closer; offsets lead back to where it begins.
        if not _IS_RARE[line[at]]:
            continue
        byte = line[at] | _CASE
        if byte == 0x70:  # p
            counts[1] += at >= 7 and _is_at(_LOREM, line, at - 7, end)
        elif byte == 0x76:  # v
            dropped |= at >= 2 and _is_at(_JAVASCRIPT, line, at - 2, end)
            policy |= at >= 3 and _is_at(_PRIVACY, line, at - 3, end)
        elif byte == 0x6B:  # k
            policy |= (
                (at >= 3 and _is_at(_COOKIE_POLICY, line, at - 3, end))
                or (at >= 8 and _is_at(_USES, line, at - 8, end))
                or (at >= 10 and _is_at(_USE_OF, line, at - 10, end))
                or (at >= 7 and _is_at(_USE, line, at - 7, end))
            )
        elif byte == 0x66:  # f
            policy |= at >= 7 and _is_at(_TERMS, line, at - 7, end)
        elif line[at] == _BRACE:
            brackets += 1
    if dropped:
        return _DROPPED
    counts[2] += brackets
    if policy:
        return _DROPPED
    counts[0] += sentences(line, 0, end)
    return _KEPT


@njit(**JIT)
def _strip(text: np.ndarray, start: int, end: int) -> int:
    """Move text[start:end] to `start` without the space around it; return where it then ends."""
    begin = start
    while begin < end:
        point, size = decode(text, begin)
        if not class_of(point) & SPACE:
            break
        begin += size
    while end > begin:
        last = end - 1
        while text[last] & np.uint8(0xC0) == 0x80:
            last -= 1
        if not class_of(decode(text, last)[0]) & SPACE:
            break
        end = last
    if begin > start:
        for at in range(end - begin):
            text[start + at] = text[begin + at]
    return start + end - begin


@njit(**JIT)
def keep_lines(offsets: np.ndarray, data: np.ndarray, terminal: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (offsets, data) of the texts with the lines that stay, joined by newlines, and their counts.

    Counts: int32 [rows, 3], the sentences in the lines that stay, and the occurrences of `lorem ipsum` and of `{` in
    the lines that passed the rules before the one that looks for them. `terminal`: lines must end like a sentence.
    """
    rows = len(offsets) - 1
    kept = np.empty(offsets[rows] - offsets[0] + 1 + PADDING, np.uint8)
    kept_offsets = np.zeros(rows + 1, np.int64)
    counts = np.zeros((rows, 3), np.int32)
    filled = 0
    for row in range(rows):
        first = filled
        at, end = offsets[row], offsets[row + 1]
        while at < end:
            # The line's words, and where it begins and ends without the space around it.
            start, stop, words, letters, longest = at, at, 0, 0, 0
            while at < end:
                point, size = np.int64(data[at]), 1
                if point >= 0x80:
                    point, size = decode(data, at)
                if point <= 0x20 or (point >= 0x80 and class_of(point) & SPACE):
                    if ends_line(point):
                        break
                    space = class_of(point) & SPACE != 0
                else:
                    space = False
                if space:
                    letters = 0
                else:
                    if letters == 0:
                        words += 1
                        if words == 1:
                            start = at
                    letters += 1
                    longest = max(longest, letters)
                    stop = at + size
                at += size
            if at < end:
                at += decode(data, at)[1]  # a `\r\n` reads as one end of line and an empty line, which never stays
            if words < FEWEST_WORDS or longest > LONGEST_WORD:
                continue
            begin = filled if filled == first else filled + 1
            length = 0
            while start < stop:
                size = _citation(data, start, stop) if data[start] == _OPEN else 0
                if size == 0:
                    kept[begin + length] = data[start]
                    length, size = length + 1, 1
                start += size
            if terminal:
                last = kept[begin + length - 1] if length else _NEWLINE
                if last not in (_DOT, _QUESTION, _EXCLAMATION, _DOUBLE, _SINGLE):
                    continue
                if last == _DOT and length >= 3 and kept[begin + length - 2] == _DOT == kept[begin + length - 3]:
                    continue
            if _judge(kept[begin : begin + length], length, counts[row]):
                if begin > first:
                    kept[begin - 1] = _NEWLINE
                filled = begin + length
        filled = _strip(kept, first, filled)
        kept_offsets[row + 1] = filled
    return kept_offsets, kept[:filled], counts
