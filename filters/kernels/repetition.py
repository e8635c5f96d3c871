"""How much of a text repeats: its lines, its paragraphs, and its n-grams of words.

Lines, paragraphs and n-grams are compared by 64-bit hashes. An n-gram can occur twice only where both (n - 1)-grams in
it do, so from n = 3 on only those positions are looked at: few in most texts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.intrinsics import fold, load64
from filters.kernels.shingles import longest
from filters.kernels.words import BEGIN, CHARACTERS, END, cut_words

TOP, DUPLICATE = (2, 3, 4), (5, 6, 7, 8, 9, 10)
"""Words in an n-gram whose most frequent one is measured, and in one whose repetitions are (Gopher's table A1)."""

TEXT_CHARACTERS, LINES, DUPLICATE_LINES, DUPLICATE_LINE_CHARACTERS = range(4)
PARAGRAPHS, DUPLICATE_PARAGRAPHS, DUPLICATE_PARAGRAPH_CHARACTERS, GRAMS = range(4, 8)
"""Rows of what `count` returns; from GRAMS on the characters in n-grams for n = 2 … 10."""

_LAST_TOP, _LAST = TOP[-1], DUPLICATE[-1]
_NEWLINE, _HEAD, _CONTINUATION = np.uint8(0x0A), np.uint8(0xC0), np.uint8(0x80)
_START, _MULTIPLIER = np.uint64(0xD1B54A32D192ED03), np.uint64(0xAEF17502108EF2D9)
_ROLL, _SPREAD = np.uint64(0x8CB92BA72F3D8DD7), np.uint64(0x9E3779B97F4A7C15)
_ALL, _HALF = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(32)


@njit(**JIT)
def _hash(data: np.ndarray, begin: int, end: int) -> np.uint64:
    """Hash data[begin:end]; up to 7 bytes behind it are read."""
    address, length = data.ctypes.data + begin, end - begin
    state = _START ^ np.uint64(length)
    while length > 8:
        state = fold(state ^ load64(address), _MULTIPLIER)
        address += 8
        length -= 8
    rest = np.uint64(0)
    if length > 0:
        rest = load64(address) & (_ALL >> np.uint64(64 - 8 * length))
    return fold(state ^ rest, _MULTIPLIER)


@njit(inline="always", **JIT)
def _slot(keys: np.ndarray, stamps: np.ndarray, stamp: int, mask: int, key: int) -> Any:
    """Return the slot that holds `key` in the table of this stamp, or the free one where it belongs."""
    slot = np.int64((np.uint64(key) * _SPREAD) >> _HALF) & mask
    while stamps[slot] == stamp and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@njit(inline="always", **JIT)
def _is_new(keys: np.ndarray, stamps: np.ndarray, stamp: int, mask: int, key: int) -> bool:
    """Tell whether the table of this stamp has no such key yet; it has afterwards."""
    slot = _slot(keys, stamps, stamp, mask, key)
    if stamps[slot] == stamp:
        return False
    stamps[slot], keys[slot] = stamp, key
    return True


@njit(**JIT)
def _mask(entries: int) -> int:
    """Return the mask of a table at most half full."""
    size = 16
    while size < 2 * entries:
        size *= 2
    return size - 1


@njit(**JIT)
def _count_lines(
    data: np.ndarray, start: int, stop: int, keys: np.ndarray, stamps: np.ndarray, stamp: int, counts: np.ndarray
) -> None:
    """Count lines and paragraphs and those that equal an earlier one.

    Both share a table: the hash of a paragraph is that of no line, not even of its only one.
    """
    feeds = 0
    for at in range(start, stop):
        feeds += data[at] == _NEWLINE
    mask = _mask(2 * feeds + 2)
    begin, length = start, 0
    paragraph, paragraph_length, characters = _START, 0, 0
    at = start
    while at <= stop:
        byte = data[at] if at < stop else _NEWLINE
        if byte != _NEWLINE:
            length += (byte & _HEAD) != _CONTINUATION
            at += 1
            continue
        if length > 0:
            line = _hash(data, begin, at)
            counts[LINES] += 1
            if not _is_new(keys, stamps, stamp, mask, line):
                counts[DUPLICATE_LINES] += 1
                counts[DUPLICATE_LINE_CHARACTERS] += length
            paragraph = fold(paragraph ^ line, _MULTIPLIER)
            paragraph_length += length + (paragraph_length > 0)  # the line feed between two lines counts
        if paragraph_length > 0 and (length == 0 or at == stop):
            counts[PARAGRAPHS] += 1
            if not _is_new(keys, stamps, stamp, mask, paragraph):
                counts[DUPLICATE_PARAGRAPHS] += 1
                counts[DUPLICATE_PARAGRAPH_CHARACTERS] += paragraph_length
            paragraph, paragraph_length = _START, 0
        characters += length + (at < stop)
        begin, length = at + 1, 0
        at += 1
    counts[TEXT_CHARACTERS] = characters


@njit(**JIT)
def _count_grams(
    words: int,
    hashes: np.ndarray,
    ends: np.ndarray,
    keys: np.ndarray,
    stamps: np.ndarray,
    stamp: int,
    grams: np.ndarray,
    places: np.ndarray,
    slots: np.ndarray,
    times: np.ndarray,
    visited: np.ndarray,
    counts: np.ndarray,
) -> int:
    """Measure the n-grams of `words` words for n = 2 … 10; return the last stamp used.

    `ends[w]` is the number of characters in the first w words. `grams[w]` becomes the hash of the n-gram that starts at
    w, `places` the ascending positions where an n-gram may repeat, `slots` its slot in the table, `times` how often it
    occurs.
    """
    candidates = words
    for word in range(words):
        grams[word], places[word] = hashes[word], word
    for n in range(2, _LAST + 1):
        # Of the positions where an (n - 1)-gram repeats, those whose right neighbour is one too; a word always is.
        left = 0
        for index in range(candidates - 1):
            place = places[index]
            if places[index + 1] == place + 1:
                grams[place] = grams[place] * _ROLL + hashes[place + n - 1]
                places[left] = place
                left += 1
        mask = _mask(left)
        stamp += 1
        for index in range(left):
            key = grams[places[index]]
            slot = _slot(keys, stamps, stamp, mask, key)
            if stamps[slot] != stamp:
                stamps[slot], keys[slot], times[slot] = stamp, key, 0
            times[slot] += 1
            slots[index] = slot
        if n <= _LAST_TOP:
            most, characters = 1, 0
            for index in range(left):
                if times[slots[index]] > most:
                    most = times[slots[index]]
                    characters = ends[places[index] + n] - ends[places[index]] + n - 1
            counts[GRAMS + n - 2] = most * characters
        else:
            free = 0  # the first word behind the last repetition counted
            for index in range(left):
                place, slot = places[index], slots[index]
                if place < free or times[slot] < 2:
                    continue
                if visited[slot] == stamp:
                    counts[GRAMS + n - 2] += ends[place + n] - ends[place]
                    free = place + n
                visited[slot] = stamp
        candidates = 0
        for index in range(left):
            if times[slots[index]] > 1:
                places[candidates] = places[index]
                candidates += 1
        if candidates < 2:
            break
    return stamp


@njit(**JIT)
def count(offsets: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return int64 [16, rows]: what the rows' names say.

    A line is what stands between line feeds, a paragraph between two or more of them, if that is anything; one is a
    duplicate if it equals an earlier one of its text. The most frequent n-gram, of equals the first, counts as often as
    it occurs, with single spaces between its words, if it occurs twice. Duplicate n-grams are found from left to right:
    one that equals an earlier one counts, without spaces, and the search goes on behind it.
    """
    rows = len(offsets) - 1
    counts = np.zeros((rows, GRAMS + _LAST - 1), np.int64)
    room = longest(offsets) + 1
    roles, byte_places, table = np.empty(room, np.uint16), np.empty(room, np.int64), np.empty((room, 4), np.int64)
    hashes, grams = np.empty(room, np.uint64), np.empty(room, np.uint64)
    ends, places, slots = np.zeros(room + 1, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    size = _mask(2 * room + 2) + 1
    keys, stamps, times = np.empty(size, np.uint64), np.zeros(size, np.int64), np.empty(size, np.int64)
    visited = np.zeros(size, np.int64)
    stamp = 0
    for row in range(rows):
        start, stop = offsets[row], offsets[row + 1]
        _count_lines(data, start, stop, keys, stamps, stamp + 1, counts[row])
        words = cut_words(data, start, stop, roles, byte_places, table)
        for index in range(words):
            hashes[index] = _hash(data, table[index, BEGIN], table[index, END])
            ends[index + 1] = ends[index] + table[index, CHARACTERS]
        stamp = _count_grams(
            words, hashes, ends, keys, stamps, stamp + 1, grams, places, slots, times, visited, counts[row]
        )
    return counts.T
