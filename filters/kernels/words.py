"""Where a text is cut into words, punctuation included: one definition for every language.

Gopher's ratios are shares of words, so their thresholds mean nothing without saying what a word is. Ours follows the
tokenizer by which they came to be applied to English (docs/word-segmentation.md has the agreement), but knows character
classes only: no dictionary, no list of contractions, no setting for the language.

White space parts chunks; so does a letter of a script written without spaces, which is a word of its own, with the
combining marks behind it. In a chunk, `- . / \\ @ + | ~ ^` join: they belong to the word they touch. Every other
punctuation mark and symbol is a sign. Then:

1. Signs at either edge of a chunk are words, each by itself. A run of periods there is one word. A single period at the
   end is a word, unless the letter before it stands alone, as in `e.g.` and `J.R.R.`.
2. What is left is one word if it is an address: `@` between letters or digits, or `://` behind a letter.
3. Otherwise these are words inside it, and part what they stand between: `…` and periods in a row; dashes between a
   letter or digit and a letter; one of `: < > = /` between a letter or digit and a letter; a comma between letters;
   one of `+ - * ^` between digits; a period between a letter that is not a capital and a capital.
4. An apostrophe behind a letter begins a new word if one or two letters follow it and end what is left: `dog's`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels import unicode
from filters.kernels.buffers import JIT
from filters.kernels.shingles import is_unspaced
from filters.kernels.unicode import class_of, decode

(
    LETTER, CAPITAL, DIGIT, MARK, SPACE, SIGN, PERIOD, ELLIPSIS, DASH, TIE, COMMA, OPERATOR, APOSTROPHE, AT,
) = (np.uint16(1 << bit) for bit in range(14))  # fmt: skip
"""Bits of a role, which is what a character can do where words are cut. DIGIT: any of the categories N*."""

BEGIN, END, CHARACTERS, HOLDS = range(4)
"""Columns of a table of words: first byte, byte past the last, characters, and the roles of all characters or'ed."""

_SOLID = LETTER | CAPITAL | DIGIT
_NONE = np.uint16(0)
_COLON, _SLASH = np.uint8(ord(":")), np.uint8(ord("/"))
_JOINERS = "-./\\@+|~^"
_SPECIAL = {
    PERIOD: ".",
    ELLIPSIS: "…",
    DASH: "-~–—",
    TIE: ":<>=/",
    COMMA: ",",
    OPERATOR: "+-*^",
    APOSTROPHE: "'’",
    AT: "@",
}


def _role_of_class(bits: int) -> int:
    role = 0
    for classes, given in (
        (unicode.LETTER, LETTER),
        (unicode.DIGIT | unicode.NUMBER, DIGIT),
        (unicode.MARK, MARK),
        (unicode.SPACE, SPACE),
        (unicode.PUNCTUATION | unicode.SYMBOL, SIGN),
    ):
        if bits & int(classes):
            role |= int(given)
    if bits & int(unicode.LETTER) and bits & int(unicode.UPPER):
        role |= int(CAPITAL)
    return role


_ROLES = np.array([_role_of_class(bits) for bits in range(256)], np.uint16)
_SPECIAL_ROLES = np.zeros(0x2027, np.uint16)  # by code point, up to the last that is special: the ellipsis
for _role, _members in _SPECIAL.items():
    for _member in _members:
        _SPECIAL_ROLES[ord(_member)] |= _role
_ASCII = np.array(
    [
        (int(_ROLES[class_of.py_func(point)]) & (~int(SIGN) if chr(point) in _JOINERS else -1))
        | int(_SPECIAL_ROLES[point])
        for point in range(128)
    ],
    np.uint16,
)


@njit(inline="always", **JIT)
def _role_beyond_ascii(point: int) -> np.uint16:
    role = _ROLES[class_of(point)]
    if role & SIGN and point < len(_SPECIAL_ROLES):
        role |= _SPECIAL_ROLES[point]
    return role


@njit(inline="always", **JIT)
def _put(roles: np.ndarray, places: np.ndarray, first: int, last: int, words: np.ndarray, count: int) -> int:
    """Store the word of the chunk's characters first … last - 1, if there are any; return how many words there are."""
    if first == last:
        return count
    holds = _NONE
    for at in range(first, last):
        holds |= roles[at]
    words[count, BEGIN], words[count, END] = places[first], places[last]
    words[count, CHARACTERS], words[count, HOLDS] = last - first, holds
    return count + 1


@njit(**JIT)
def _periods(roles: np.ndarray, at: int, last: int) -> int:
    """Return where the run of periods that starts at `at` ends."""
    while at < last and roles[at] & PERIOD:
        at += 1
    return at


@njit(**JIT)
def _last_of_word(roles: np.ndarray, first: int, last: int) -> int:
    """Return where the signs and periods that end roles[first:last] begin."""
    while last > first:
        if roles[last - 1] & PERIOD:
            begin = last - 1
            while begin > first and roles[begin - 1] & PERIOD:
                begin -= 1
            alone = begin > first and roles[begin - 1] & LETTER and (begin == first + 1 or roles[begin - 2] & PERIOD)
            if last - begin == 1 and alone:
                return last
            last = begin
        elif roles[last - 1] & SIGN:
            last -= 1
        else:
            return last
    return last


@njit(**JIT)
def _is_address(data: np.ndarray, roles: np.ndarray, places: np.ndarray, first: int, last: int) -> bool:
    for at in range(first + 1, last - 1):
        if roles[at] & AT and roles[at - 1] & _SOLID and roles[at + 1] & _SOLID:
            return True
        place = places[at]
        if (
            at + 2 < last
            and data[place] == _COLON
            and data[place + 1] == _SLASH
            and data[place + 2] == _SLASH
            and roles[at - 1] & LETTER
        ):
            return True
    return False


@njit(**JIT)
def _divider(roles: np.ndarray, at: int, first: int, last: int) -> int:
    """Return how many characters from `at` on are a word that parts what is around it; 0 if none."""
    role = roles[at]
    if role & ELLIPSIS:
        return 1
    end = at + 1
    if role & PERIOD:
        end = _periods(roles, at, last)
        if end - at > 1:
            return end - at
    elif role & DASH:
        while end < last and roles[end] & DASH:
            end += 1
    if at == first or end == last:
        return 0
    before, after = roles[at - 1], roles[end]
    if role & PERIOD:
        parts = before & LETTER and not before & CAPITAL and after & CAPITAL
    elif role & COMMA:
        parts = before & LETTER and after & LETTER
    elif role & (DASH | TIE) and before & _SOLID and after & LETTER:
        parts = True
    else:
        parts = role & OPERATOR and end == at + 1 and before & DIGIT and after & DIGIT
    return end - at if parts else 0


@njit(**JIT)
def _begins_clitic(roles: np.ndarray, at: int, first: int, last: int) -> bool:
    letters = last - at - 1
    if at == first or not roles[at - 1] & LETTER or letters < 1 or letters > 2:
        return False
    return roles[at + 1] & LETTER != 0 and roles[last - 1] & LETTER != 0


@njit(**JIT)
def _cut_chunk(
    data: np.ndarray, roles: np.ndarray, places: np.ndarray, size: int, seen: int, words: np.ndarray, count: int
) -> int:
    """Store the words of a chunk of `size` characters, whose roles or'ed are `seen`; return the new count of words."""
    if not seen & ~_SOLID:
        return _put(roles, places, 0, size, words, count)
    first = 0
    while first < size:
        after = _periods(roles, first, size)
        if after < first + 2:
            if not roles[first] & SIGN:
                break
            after = first + 1
        count = _put(roles, places, first, after, words, count)
        first = after
    last = _last_of_word(roles, first, size)
    at = begin = first
    if _is_address(data, roles, places, first, last):
        at = last
    while at < last:
        if roles[at] & _SOLID:
            at += 1
            continue
        if roles[at] & APOSTROPHE and _begins_clitic(roles, at, first, last):
            count = _put(roles, places, begin, at, words, count)
            begin = at
        width = _divider(roles, at, first, last)
        if width:
            count = _put(roles, places, begin, at, words, count)
            begin = at + width
            count = _put(roles, places, at, begin, words, count)
        at += max(width, 1)
    count = _put(roles, places, begin, last, words, count)
    while last < size:
        after = max(_periods(roles, last, size), last + 1)
        count = _put(roles, places, last, after, words, count)
        last = after
    return count


@njit(**JIT)
def cut_words(data: np.ndarray, start: int, stop: int, roles: np.ndarray, places: np.ndarray, words: np.ndarray) -> int:
    """Store the words of data[start:stop] in order as rows of `words`; return how many there are.

    The scratch arrays `roles` (uint16) and `places` (int64) and the table `words` (int64 [:, 4]) have room for
    stop - start + 1 rows.
    """
    count = size = 0
    seen = _NONE
    at = start
    while at < stop:
        width, alone = 1, False
        if data[at] < 0x80:
            role = _ASCII[data[at]]
        else:
            point, width = decode(data, at)
            role = _role_beyond_ascii(point)
            alone = role & LETTER != 0 and is_unspaced(point)
        if not (alone or role & SPACE):
            roles[size], places[size] = role, at
            seen |= role
            size += 1
            at += width
            continue
        if size:
            places[size] = at
            count = _cut_chunk(data, roles, places, size, seen, words, count)
            size, seen = 0, _NONE
        begin = at
        at += width
        if alone:
            characters = 1
            while at < stop and data[at] >= 0x80:
                point, width = decode(data, at)
                if not class_of(point) & unicode.MARK:
                    break
                at += width
                characters += 1
            words[count, BEGIN], words[count, END] = begin, at
            words[count, CHARACTERS], words[count, HOLDS] = characters, LETTER
            count += 1
    if size:
        places[size] = stop
        count = _cut_chunk(data, roles, places, size, seen, words, count)
    return count
