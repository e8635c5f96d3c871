"""From the UTF-8 bytes of a document to the hashes of its shingles: words first, then five words at a time.

A word is a maximal run of Unicode letters, marks and decimal digits, lower-cased code point by code point. Scripts that
are written without spaces have no such words; there every character is a word of its own. A run of ASCII is searched
for words 64 bytes at a time, everything else by code points; both roads give the same words. Hashes are keyed, so that
nobody can write texts whose hashes meet without knowing the key.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.distinct import sort_distinct
from filters.kernels.intrinsics import ascii_word_mask, beyond_ascii_mask, fold, load64, trailing_zeros
from filters.kernels.unicode import DIGIT, SPACE, WORD, class_of, decode, lower_of

WIDTH = 5
"""Words in a shingle."""


class Hashing(NamedTuple):
    """How words become hashes: the 128-bit key, and what makes no difference between two words."""

    start: np.uint64
    multiplier: np.uint64  # odd, as multipliers must be
    fold_case: bool = True  # capitals are their small letters
    zero_digits: bool = False  # every decimal digit is 0
    split_marks: bool = False  # a punctuation mark or symbol is a word; else it only separates


def hashing(seed: int, fold_case: bool = True, zero_digits: bool = False, split_marks: bool = False) -> Hashing:
    """Return the hashing whose key is derived from `seed`: who does not know it cannot make hashes meet."""
    digest = blake2b(str(seed).encode(), digest_size=16, person=b"corpusmill key").digest()
    start, multiplier = np.frombuffer(digest, "<u8")
    return Hashing(np.uint64(start), np.uint64(multiplier | np.uint64(1)), fold_case, zero_digits, split_marks)


# A shingle's hash is a polynomial of its word hashes, so that it rolls; ≡ 3 mod 4, so that the order of words counts.
_ROLL = np.uint64(0xA4093822299F31D3)
_ROLL_OUT = np.uint64(pow(int(_ROLL), WIDTH, 1 << 64))

_ONE, _ALL = np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)
_HIGH_BITS, _LOW_BITS = np.uint64(0x8080808080808080), np.uint64(0x7F7F7F7F7F7F7F7F)
_FROM_A, _PAST_Z = np.uint64(0x3F3F3F3F3F3F3F3F), np.uint64(0x2525252525252525)  # 0x80 - "A", 0x80 - "Z" - 1
_TWO = np.uint64(2)

_ZEROS, _FROM_0, _PAST_9 = np.uint64(0x3030303030303030), np.uint64(0x5050505050505050), np.uint64(0x4646464646464646)
_SEVEN, _NIBBLE = np.uint64(7), np.uint64(0x0F)

DOTTED_CAPITAL_I, DOT_ABOVE, FINAL_SIGMA, SIGMA = 0x130, 0x307, 0x3C2, 0x3C3


@njit(**JIT)
def is_unspaced(point: int) -> bool:
    """Tell whether a code point belongs to a script written without spaces: Han, Kana, Thai, Lao, Khmer, Burmese."""
    if point < 0x0E00:
        return False
    return (
        point < 0x0F00  # Thai, Lao
        or 0x1000 <= point < 0x10A0  # Burmese
        or 0x1780 <= point < 0x1800  # Khmer
        or 0x3005 <= point < 0x3008  # Han iteration mark, closing mark, zero
        or 0x3040 <= point < 0x3100  # Hiragana, Katakana
        or 0x31F0 <= point < 0x3200  # Katakana extensions
        or 0x3400 <= point < 0x4DC0  # Han
        or 0x4E00 <= point < 0xA000  # Han
        or 0xA9E0 <= point < 0xAA00  # Burmese
        or 0xAA60 <= point < 0xAA80  # Burmese
        or 0xF900 <= point < 0xFB00  # Han
        or 0xFF66 <= point < 0xFFA0  # Katakana of half width
        or 0x1AFF0 <= point < 0x1B170  # Kana
        or 0x20000 <= point < 0x40000  # Han
    )


@njit(inline="always", **JIT)
def _lower_ascii(chunk: np.uint64) -> np.uint64:
    """Lower the ASCII capitals among 8 bytes; other bytes stay."""
    low = chunk & _LOW_BITS
    capital = ~chunk & _HIGH_BITS & ((low + _FROM_A) ^ (low + _PAST_Z))
    return chunk | (capital >> _TWO)


@njit(inline="always", **JIT)
def _zero_ascii(chunk: np.uint64) -> np.uint64:
    """Turn the ASCII digits among 8 bytes to 0; other bytes stay."""
    low = chunk & _LOW_BITS
    digit = ~chunk & _HIGH_BITS & ((low + _FROM_0) ^ (low + _PAST_9))
    mask = (digit >> _SEVEN) * _NIBBLE
    return chunk & ~mask


@njit(inline="always", **JIT)
def _same(chunk: np.uint64, how: Hashing) -> np.uint64:
    """Return 8 bytes as they are hashed."""
    if how.fold_case:
        chunk = _lower_ascii(chunk)
    if how.zero_digits:
        chunk = _zero_ascii(chunk)
    return chunk


@njit(inline="always", **JIT)
def _hash_word(address: int, length: int, how: Hashing) -> np.uint64:
    """Hash `length` bytes; up to 7 bytes behind them are read."""
    state = how.start ^ np.uint64(length)
    while length > 8:
        state = fold(state ^ _same(load64(address), how), how.multiplier)
        address += 8
        length -= 8
    rest = load64(address) & (_ALL >> np.uint64(64 - 8 * length))
    return fold(state ^ _same(rest, how), how.multiplier)


@njit(**JIT)
def _encode(point: int, out: np.ndarray, at: int) -> int:
    """Write a code point as UTF-8 and return where it ends."""
    if point < 0x80:
        out[at] = point
        return at + 1
    if point < 0x800:
        out[at] = 0xC0 | (point >> 6)
    else:
        if point < 0x10000:
            out[at] = 0xE0 | (point >> 12)
        else:
            out[at] = 0xF0 | (point >> 18)
            at += 1
            out[at] = 0x80 | ((point >> 12) & 0x3F)
        at += 1
        out[at] = 0x80 | ((point >> 6) & 0x3F)
    out[at + 1] = 0x80 | (point & 0x3F)
    return at + 2


@njit(**JIT)
def _normal(data: np.ndarray, begin: int, end: int, out: np.ndarray, how: Hashing) -> int:
    """Write data[begin:end] to `out` as it is hashed; return its length, at most 3/2 of what it was.

    Lower-cased as str.lower does, but for one thing: the lower case of a final Σ is that of any Σ, and ς counts as σ.
    """
    at = 0
    while begin < end:
        point, size = decode(data, begin)
        begin += size
        if how.zero_digits and class_of(point) & DIGIT:
            point = 0x30
        elif how.fold_case:
            if point == DOTTED_CAPITAL_I:
                at = _encode(ord("i"), out, at)
                point = DOT_ABOVE
            point = lower_of(point)
            if point == FINAL_SIGMA:
                point = SIGMA
        at = _encode(point, out, at)
    return at


@njit(inline="always", **JIT)
def _hash_span(data: np.ndarray, begin: int, end: int, is_ascii: bool, lowered: np.ndarray, how: Hashing) -> np.uint64:
    if is_ascii:
        return _hash_word(data.ctypes.data + begin, end - begin, how)
    return _hash_word(lowered.ctypes.data, _normal(data, begin, end, lowered, how), how)


@njit(**JIT)
def hash_words(data: np.ndarray, start: int, stop: int, how: Hashing, lowered: np.ndarray, hashes: np.ndarray) -> int:
    """Write the hash of every word of data[start:stop] to `hashes`; return how many there are.

    `hashes` has room for `room_for_words` of the bytes, `lowered` for 3/2 of them and 8 more.
    """
    count, begin, is_ascii = 0, -1, True  # begin: where the word that is open began; -1 when none is
    at = start
    while at < stop:
        address = data.ctypes.data + at
        run = min(64, stop - at)
        beyond = beyond_ascii_mask(address)
        if beyond != 0:
            run = min(run, trailing_zeros(beyond))
        if run > 0 and not how.split_marks:
            word = ascii_word_mask(address)
            edges = word ^ ((word << _ONE) | np.uint64(begin >= 0))
            if run < 64:
                edges &= (_ONE << np.uint64(run)) - _ONE
            if begin >= 0 and edges != 0:
                edge = at + trailing_zeros(edges)
                edges &= edges - _ONE
                hashes[count] = _hash_span(data, begin, edge, is_ascii, lowered, how)
                count, begin, is_ascii = count + 1, -1, True
            while edges != 0:
                first = trailing_zeros(edges)
                edges &= edges - _ONE
                if edges == 0:
                    begin = at + first
                    break
                last = trailing_zeros(edges)
                edges &= edges - _ONE
                hashes[count] = _hash_word(address + first, last - first, how)
                count += 1
            at += run
            continue
        point, size = decode(data, at)
        in_word = class_of(point) & WORD != 0
        alone = is_unspaced(point) if in_word else how.split_marks and class_of(point) & SPACE == 0
        if begin >= 0 and (alone or not in_word):
            hashes[count] = _hash_span(data, begin, at, is_ascii, lowered, how)
            count, begin, is_ascii = count + 1, -1, True
        if alone:
            if in_word and not how.zero_digits:
                hashes[count] = _hash_word(address, size, how)
            else:
                hashes[count] = _hash_span(data, at, at + size, point < 0x80, lowered, how)
            count += 1
        elif in_word:
            is_ascii = is_ascii and point < 0x80
            if begin < 0:
                begin = at
        at += size
    if begin >= 0:
        hashes[count] = _hash_span(data, begin, stop, is_ascii, lowered, how)
        count += 1
    return count


@njit(**JIT)
def room_for_words(size: int, how: Hashing) -> int:
    """Return how many words `size` bytes hold at most."""
    return size if how.split_marks else size // 2 + 1


@njit(**JIT)
def roll(hashes: np.ndarray, words: int, how: Hashing) -> int:
    """Turn word hashes into shingle hashes, in place; return how many: none when there are fewer words than WIDTH."""
    state = np.uint64(0)
    for index in range(min(words, WIDTH - 1)):
        state = state * _ROLL + hashes[index]
    gone = np.uint64(0)
    for index in range(words - WIDTH + 1):
        state = state * _ROLL + hashes[index + WIDTH - 1] - gone * _ROLL_OUT
        gone = hashes[index]
        hashes[index] = fold(state ^ how.start, how.multiplier)
    return max(0, words - WIDTH + 1)


@njit(**JIT)
def longest(offsets: np.ndarray) -> int:
    """Return the bytes of the longest row."""
    most = 0
    for row in range(len(offsets) - 1):
        most = max(most, offsets[row + 1] - offsets[row])
    return most


@njit(**JIT)
def hash_shingles(offsets: np.ndarray, data: np.ndarray, how: Hashing) -> tuple[np.ndarray, np.ndarray]:
    """Return (offsets int64 [rows + 1], uint64): every row's shingle hashes as the text has them, repeated or not."""
    return _hashed(offsets, data, np.arange(len(offsets) - 1), how, False)


@njit(**JIT)
def distinct_shingles(
    offsets: np.ndarray, data: np.ndarray, rows: np.ndarray, how: Hashing
) -> tuple[np.ndarray, np.ndarray]:
    """Return (offsets int64 [rows + 1], uint64): of each of the `rows` its shingle hashes, sorted and distinct."""
    return _hashed(offsets, data, rows, how, True)


@njit(**JIT)
def _hashed(
    offsets: np.ndarray, data: np.ndarray, rows: np.ndarray, how: Hashing, once: bool
) -> tuple[np.ndarray, np.ndarray]:
    most = longest(offsets)
    bounds = np.zeros(len(rows) + 1, np.int64)
    words = np.empty(room_for_words(most, how), np.uint64)
    lowered = np.zeros(most * 3 // 2 + 8, np.uint8)
    size = 0
    for row in rows:
        size += offsets[row + 1] - offsets[row]
    out = np.empty(size // 4 + 1024, np.uint64)  # enough for words of three letters
    used = 0
    for index in range(len(rows)):
        row = rows[index]
        found = roll(words, hash_words(data, offsets[row], offsets[row + 1], how, lowered, words), how)
        if used + found > len(out):
            larger = np.empty(2 * (used + found), np.uint64)
            larger[:used] = out[:used]
            out = larger
        if once:
            used += sort_distinct(words, found, out[used:])
        else:
            out[used : used + found] = words[:found]
            used += found
        bounds[index + 1] = used
    return bounds, out[:used]
