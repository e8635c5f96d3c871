"""Windows of a text: runs of whole words that are long enough, equal where their text is, white space aside.

A word is a maximal run of letters, marks and digits; in scripts written without spaces a character. A window begins
where a word begins and ends where one ends; it is the shortest such run of `size` words, or of `size` bytes when a run
of white space counts as one. What stands between its words belongs to it; case and punctuation count.

Which windows occur twice is found in two steps. Every window names the least of the hashes of the windows of half its
size inside it (winnowing: Schleimer, Wilkerson, Aiken 2003); neighbours mostly name the same one, so there are few of
these *marks*. Equal windows name equal marks; so only those around a mark that occurs twice are hashed themselves, by
two polynomials over the prime field of 2^61 - 1.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.intrinsics import fold, times
from filters.kernels.shingles import is_unspaced, longest
from filters.kernels.unicode import SPACE, WORD, class_of, decode
from filters.kernels.units import Key

PRIME = np.uint64((1 << 61) - 1)

_ROLL = np.uint64(0xA4093822299F31D3)
_BLANK, _ZERO = np.uint64(0x20), np.uint64(0)

BEGIN, END, FROM, TO = range(4)
"""Columns of a table of words: first byte, byte past the last; the same two where runs of white space count one byte."""
ALONE, BEHIND = range(2)
"""Columns of a table of word hashes: of the word; of the word with what stands between the word before it and itself."""


@njit(**JIT)
def words_of(data: np.ndarray, start: int, stop: int, places: np.ndarray, hashes: np.ndarray, key: Key) -> int:
    """Fill the tables of the words of data[start:stop], bytes counted from `start`; return how many words there are."""
    count, position = 0, 0
    inside, gap = False, False
    word, between = key[0], key[0]
    at = start
    while at < stop:
        point, size = np.int64(data[at]), 1
        if point >= 0x80:
            point, size = decode(data, at)
        kind = class_of(point)
        alone = kind & WORD != 0 and is_unspaced(point)
        if inside and (alone or not kind & WORD):
            places[count, END], places[count, TO] = at - start, position
            hashes[count, ALONE] = fold(word, key[1])
            hashes[count, BEHIND] = fold(hashes[count, ALONE] ^ between, key[1])
            count, inside, between = count + 1, False, key[0]
        if kind & SPACE:
            gap = True
        else:
            if gap:
                position, gap, between = position + 1, False, (between ^ _BLANK) * key[1]
            if kind & WORD:
                if not inside:
                    places[count, BEGIN], places[count, FROM] = at - start, position
                    word, inside = key[0], True
                for byte in range(at, at + size):
                    word = (word ^ np.uint64(data[byte])) * key[1]
            else:
                for byte in range(at, at + size):
                    between = (between ^ np.uint64(data[byte])) * key[1]
            position += size
        at += size
        if inside and (alone or at >= stop):
            places[count, END], places[count, TO] = at - start, position
            hashes[count, ALONE] = fold(word, key[1])
            hashes[count, BEHIND] = fold(hashes[count, ALONE] ^ between, key[1])
            count, inside, between = count + 1, False, key[0]
    return count


@njit(inline="always", **JIT)
def _last(places: np.ndarray, count: int, first: int, near: int, size: int, in_bytes: bool) -> int:
    """Return the last word of the window that begins with word `first`, `count` if there is none; it is not < `near`."""
    if not in_bytes:
        return min(first + size - 1, count)
    while near < count and places[near, TO] - places[first, FROM] < size:
        near += 1
    return near


@njit(**JIT)
def _tables(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return room for the words of the longest row; what is not used of it takes no memory."""
    room = longest(offsets) // 2 + 2
    return np.empty((room, 4), np.int32), np.empty((room, 2), np.uint64)


@njit(**JIT)
def mark_windows(
    offsets: np.ndarray, data: np.ndarray, size: int, in_bytes: bool, key: Key
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (hash uint64, row, [start, end] bytes in the row) of every mark, in order. A row without a window has none."""
    places, words = _tables(offsets)
    half = max(1, size // 2)
    powers = np.ones(half + 2, np.uint64)
    for index in range(1, len(powers)):
        powers[index] = powers[index - 1] * _ROLL
    queue, least = np.empty(len(places), np.int32), np.empty(len(places), np.uint64)  # growing hashes, and whose
    ends = np.empty(len(places), np.int32)  # of the window of half the size that begins with a word: its last word
    room = (offsets[-1] - offsets[0]) // 64 + 1024
    hashes, rows, found = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty((room, 2), np.int64)
    used = 0
    for row in range(len(offsets) - 1):
        if in_bytes and offsets[row + 1] - offsets[row] < size:
            continue
        count = words_of(data, offsets[row], offsets[row + 1], places, words, key)
        head, tail, named = 0, 0, -1
        inner, inner_end, filled, state = 0, -1, 0, _ZERO  # the next small window, and the words in `state`
        last = 0
        for first in range(count):
            last = _last(places, count, first, max(last, first), size, in_bytes)
            if last >= count:
                break
            while inner < count:
                inner_end = _last(places, count, inner, max(inner_end, inner), half, in_bytes)
                if inner_end > last or inner_end >= count:
                    break
                while filled <= inner_end:
                    state = state * _ROLL + words[filled, BEHIND]
                    filled += 1
                top = powers[inner_end - inner]
                behind, alone = words[inner, BEHIND], words[inner, ALONE]
                number = fold((state - (behind - alone) * top) ^ key[0], key[1])
                state -= behind * top
                while tail > head and least[tail - 1] > number:
                    tail -= 1
                queue[tail], least[tail], ends[inner] = inner, number, inner_end
                inner, tail = inner + 1, tail + 1
            while queue[head] < first:
                head += 1
            if queue[head] != named:
                named = queue[head]
                if used == len(hashes):
                    hashes, rows, found = _doubled(hashes), _doubled(rows), _doubled_pairs(found)
                hashes[used], rows[used] = least[head], row
                found[used, 0], found[used, 1] = places[named, BEGIN], places[ends[named], END]
                used += 1
    return hashes[:used], rows[:used], found[:used]


@njit(**JIT)
def _doubled(array: np.ndarray) -> np.ndarray:
    larger = np.empty(2 * len(array), array.dtype)
    larger[: len(array)] = array
    return larger


@njit(**JIT)
def _doubled_pairs(array: np.ndarray) -> np.ndarray:
    larger = np.empty((2 * len(array), 2), array.dtype)
    larger[: len(array)] = array
    return larger


@njit(inline="always", **JIT)
def _product(one: np.uint64, other: np.uint64) -> np.uint64:
    found = times(one, other)
    return found - PRIME if found >= PRIME else found


@njit(inline="always", **JIT)
def _sum(one: np.uint64, other: np.uint64) -> np.uint64:
    found = one + other
    return found - PRIME if found >= PRIME else found


@njit(inline="always", **JIT)
def _residue(number: np.uint64) -> np.uint64:
    found = (number & PRIME) + (number >> np.uint64(61))
    return found - PRIME if found >= PRIME else found


@njit(**JIT)
def hash_windows(
    offsets: np.ndarray,
    data: np.ndarray,
    size: int,
    in_bytes: bool,
    bounds: np.ndarray,
    marks: np.ndarray,
    bases: np.ndarray,
    key: Key,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (hashes uint64 [n, 2], row, [start, end] bytes in the row) of every window that holds a given mark, in order.

    Row i's marks are marks[bounds[i]:bounds[i + 1]], [start, end] bytes, in order. `bases` are two numbers below PRIME.
    """
    places, words = _tables(offsets)
    powers = np.ones((2, size + 2), np.uint64)
    for lane in range(2):
        for index in range(1, size + 2):
            powers[lane, index] = _product(powers[lane, index - 1], bases[lane])
    room = 1024
    hashes, rows, found = np.empty((room, 2), np.uint64), np.empty(room, np.int64), np.empty((room, 2), np.int64)
    used = 0
    for row in range(len(offsets) - 1):
        mark, no_more = bounds[row], bounds[row + 1]
        if mark == no_more:
            continue
        count = words_of(data, offsets[row], offsets[row + 1], places, words, key)
        last, low, high = 0, 0, 0  # words low … high - 1 are in the two states
        one, two = _ZERO, _ZERO
        for first in range(count):
            last = _last(places, count, first, max(last, first), size, in_bytes)
            if last >= count:
                break
            while mark < no_more and marks[mark, 0] < places[first, BEGIN]:
                mark += 1
            if mark == no_more:
                break
            if marks[mark, 1] > places[last, END]:
                continue
            if first - low > high - first:  # from the start is shorter than word by word
                low, high, one, two = first, first, _ZERO, _ZERO
            while low < first:
                gone = _residue(words[low, BEHIND])
                one = _sum(one, PRIME - _product(gone, powers[0, high - low - 1]))
                two = _sum(two, PRIME - _product(gone, powers[1, high - low - 1]))
                low += 1
            while high <= last:
                new = _residue(words[high, BEHIND])
                one, two = _sum(_product(one, bases[0]), new), _sum(_product(two, bases[1]), new)
                high += 1
            if used == len(rows):
                hashes, rows, found = _doubled_pairs(hashes), _doubled(rows), _doubled_pairs(found)
            change = _sum(_residue(words[first, ALONE]), PRIME - _residue(words[first, BEHIND]))
            hashes[used, 0] = _sum(one, _product(change, powers[0, last - first]))
            hashes[used, 1] = _sum(two, _product(change, powers[1, last - first]))
            rows[used] = row
            found[used, 0], found[used, 1] = places[first, BEGIN], places[last, END]
            used += 1
    return hashes[:used], rows[:used], found[:used]
