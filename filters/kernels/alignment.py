"""Known items in a text, as kernels find them: five words in a row that both have, grown word by word to a stretch.

A stretch grows to both sides while the words agree. Where they differ it goes on behind the nearest place at which they
agree again, up to GAP words changed, left out or put in; so an item that was edited here and there is one stretch. Every
word of an item has a worth; a stretch's evidence is the worth of the words in common, less COST times that of the edits.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.shingles import WIDTH, Hashing, hash_words, is_unspaced, longest, roll
from filters.kernels.unicode import DIGIT, WORD, class_of, decode

GAP, AGREE, COST = 3, 2, 2
"""Words that one edit may touch; words that must agree behind it; what an edited word costs, in words in common."""

WHOLE, HALF, QUARTER = 4, 2, 1
"""A word's worth, in quarters of a word."""
GIVE_UP = 8 * WHOLE
"""How far below its best the evidence of a stretch may fall before it grows no more."""

ROW, BEGIN, END, ITEM, WORDS, EVIDENCE = range(6)
"""Columns of what `find_stretches` returns: positions are words of the text; WORDS are those in common."""


@njit(**JIT)
def word_spans(data: np.ndarray, start: int, stop: int, begins: np.ndarray, ends: np.ndarray, worth: np.ndarray) -> int:
    """Write where every word of data[start:stop] begins and ends, in characters, and its worth; return how many words.

    The words are those of `hash_words`. A number or a single letter is worth a quarter, so is a character of Thai, Lao,
    Khmer or Burmese; one of Han or Kana is worth half a word.
    """
    count, begin, digits, character = 0, -1, True, 0
    at = start
    while at <= stop:
        point, size = np.int64(0), 1  # an end that is no word closes the last one
        if at < stop:
            point, size = decode(data, at)
        kind = class_of(point)
        in_word = kind & WORD != 0
        alone = in_word and is_unspaced(point)
        if begin >= 0 and (alone or not in_word):
            begins[count], ends[count] = begin, character
            worth[count] = QUARTER if digits or character - begin == 1 else WHOLE
            count, begin = count + 1, -1
        if alone:
            begins[count], ends[count] = character, character + 1
            worth[count] = QUARTER if point < 0x1800 or 0xA9E0 <= point < 0xAA80 else HALF
            count += 1
        elif in_word:
            if begin < 0:
                begin, digits = character, True
            digits = digits and kind & DIGIT != 0
        character += 1
        at += size
    return count


@njit(**JIT)
def fill_bits(hashes: np.ndarray, bits: np.ndarray) -> None:
    """Set for every hash the bit that its high half names; `bits` is a power of two long."""
    for index in range(len(hashes)):
        place = (hashes[index] >> np.uint64(32)) & np.uint64(64 * len(bits) - 1)
        bits[place >> np.uint64(6)] |= np.uint64(1) << (place & np.uint64(63))


@njit(**JIT)
def fill_table(hashes: np.ndarray, table: np.ndarray) -> None:
    """Put the place of every hash into an open-addressed table, a power of two long and all -1 before."""
    mask = len(table) - 1
    for index in range(len(hashes)):
        slot = np.int64(hashes[index] & np.uint64(mask))
        while table[slot] >= 0:
            slot = (slot + 1) & mask
        table[slot] = index


@njit(**JIT)
def _place(hashes: np.ndarray, bits: np.ndarray, table: np.ndarray, wanted: np.uint64) -> int:
    """Return the place of a hash, -1 if it is not there; most that are not are told by one bit."""
    bit = (wanted >> np.uint64(32)) & np.uint64(64 * len(bits) - 1)
    if (bits[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1) == 0:
        return -1
    mask = len(table) - 1
    slot = np.int64(wanted & np.uint64(mask))
    while table[slot] >= 0 and hashes[table[slot]] != wanted:
        slot = (slot + 1) & mask
    return table[slot]


@njit(**JIT)
def _resume(own: np.ndarray, i: int, i_end: int, item: np.ndarray, j: int, j_end: int, step: int) -> tuple[int, int]:
    """Return how many words of the text and of the item the edit at (i, j) takes: (0, 0) if it is no small edit.

    The smallest is taken; of equals first a change, then words put in, then words left out.
    """
    for size in range(1, GAP + 1):
        for choice in range(2 * size + 1):
            put_in = size if choice <= size else choice - size - 1
            left_out = size if choice == 0 or choice > size else choice - 1
            x, y, agree = i + put_in * step, j + left_out * step, 0
            while agree < AGREE and (i_end - x) * step > 0 and (j_end - y) * step > 0 and own[x] == item[y]:
                x, y, agree = x + step, y + step, agree + 1
            if agree == AGREE:
                return put_in, left_out
    return 0, 0


@njit(**JIT)
def _grow(
    own: np.ndarray, i: int, i_end: int, item: np.ndarray, worth: np.ndarray, j: int, j_end: int, step: int
) -> tuple[int, int, int]:
    """Grow from (i, j) in one direction; return (where the best stretch ends in the text, its evidence, its words)."""
    evidence = words = best_evidence = best_words = 0
    best = i
    while True:
        while i != i_end and j != j_end and own[i] == item[j]:
            evidence, words = evidence + worth[j], words + 1
            i, j = i + step, j + step
        if evidence >= best_evidence:
            best, best_evidence, best_words = i, evidence, words
        if i == i_end or j == j_end or evidence < best_evidence - GIVE_UP:
            break
        put_in, left_out = _resume(own, i, i_end, item, j, j_end, step)
        if put_in + left_out == 0:
            break
        evidence -= COST * worth[j] * max(put_in, left_out)
        i, j = i + put_in * step, j + left_out * step
    return best, best_evidence, best_words


@njit(**JIT)
def find_stretches(
    offsets: np.ndarray,
    data: np.ndarray,
    how: Hashing,
    words: np.ndarray,
    worth: np.ndarray,
    starts: np.ndarray,
    needed: np.ndarray,
    item_of: np.ndarray,
    hashes: np.ndarray,
    first: np.ndarray,
    places: np.ndarray,
    bits: np.ndarray,
    table: np.ndarray,
) -> np.ndarray:
    """Return int64 [stretches, 6]: every stretch of a text's words that is as much evidence of an item as it needs.

    Item n is words[starts[n]:starts[n + 1]]; `needed` is the evidence it takes. hashes[k] is that of the five words at
    each of places[first[k]:first[k + 1]]. One item may be found several times, and stretches of several items overlap.
    """
    rows, most = len(offsets) - 1, longest(offsets)
    own, grams = np.empty(most // 2 + 1, np.uint64), np.empty(most // 2 + 1, np.uint64)
    lowered = np.zeros(most * 3 // 2 + 8, np.uint8)
    reached = np.zeros(len(needed), np.int64)  # up to where in the row an item has been followed already
    followed_in = np.full(len(needed), -1, np.int64)
    found, used = np.empty((64, 6), np.int64), 0
    for row in range(rows):
        count = hash_words(data, offsets[row], offsets[row + 1], how, lowered, own)
        grams[:count] = own[:count]
        for at in range(roll(grams, count, how)):
            known = _place(hashes, bits, table, grams[at])
            if known < 0:
                continue
            for index in range(first[known], first[known + 1]):
                there = places[index]
                item = item_of[there]
                if followed_in[item] == row and reached[item] >= at + WIDTH:
                    continue
                end, right, more = _grow(own, at, count, words, worth, there, starts[item + 1], 1)
                begin, left, less = _grow(own, at - 1, -1, words, worth, there - 1, starts[item] - 1, -1)
                followed_in[item], reached[item] = row, end
                if left + right < needed[item]:
                    continue
                if used == len(found):
                    larger = np.empty((2 * used, 6), np.int64)
                    larger[:used] = found
                    found = larger
                found[used, ROW], found[used, BEGIN], found[used, END] = row, begin + 1, end
                found[used, ITEM], found[used, WORDS], found[used, EVIDENCE] = item, more + less, left + right
                used += 1
    return found[:used]
