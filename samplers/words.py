"""Words of a text, looked up in a vocabulary, and letter groups of the words that are not in it.

A text is lower-cased, its accents are dropped, and it is cut at white space and around punctuation and Han characters,
as BERT's tokenizer does it; only Hangul stays in syllables. A word of the vocabulary is its number. Any other word is
read as overlapping groups of code points, each hashed to 64 bits: threes in alphabets, with the word's beginning and
end marked, so that inflected forms share most of theirs; twos in scripts whose signs are syllables or words. Han
characters are words each, so there the pairs reach over the cuts, as long as nothing lies between. A sign that repeats
more than twice (ㅋㅋㅋㅋㅋ, aaaaa) is read twice, or a laugh would outweigh the sentence before it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.unicode import decode

ITSELF, ISOLATED, SPACE, DROPPED = 0, -1, -2, -3
"""What becomes of a code point: kept, cut off on both sides, a cut, nothing. Above 0: replaced, see `Characters`."""

CHARACTERS = 16_000
"""Code points of a text that are read, from its beginning: enough that texts are not alike for a licence at their head."""
WIDEST = 16
"""Bytes that one code point becomes at most; `distil` checks its table for it."""

_SYLLABLES = 0x2E80  # from here on lie Han, kana, Hangul syllables; alphabets beyond are few and old
_EDGE = 0  # the beginning or end of a word, where a neighbour would be


class Characters(NamedTuple):
    """What becomes of each code point: a two-stage table; an entry above 0 is offset * 256 + bytes in `data`."""

    block_of: np.ndarray  # uint16 [4352]: the block of 256 code points
    blocks: np.ndarray  # int32 [blocks * 256]
    data: np.ndarray  # uint8; a blank is a cut


class Vocabulary(NamedTuple):
    """Words by their hash, open-addressed."""

    hashes: np.ndarray  # uint64 [power of two]; 0 is an empty slot
    numbers: np.ndarray  # int32 [power of two]


class Scratch(NamedTuple):
    """Room for one text, allocated once per batch, and the word being read."""

    word: np.ndarray  # uint8
    known: np.ndarray  # int32: numbers of known words
    groups: np.ndarray  # uint64: hashed groups of the others


def scratch() -> Scratch:
    size = CHARACTERS * WIDEST
    # a word has one group more than code points at most
    return Scratch(np.empty(size, np.uint8), np.empty(size, np.int32), np.empty(2 * size, np.uint64))


def vocabulary(offsets: np.ndarray, data: np.ndarray) -> Vocabulary:
    """Index the words data[offsets[i]:offsets[i + 1]] by number i; raise ValueError should two share a hash."""
    slots = 1 << (4 * len(offsets)).bit_length()
    found = Vocabulary(np.zeros(slots, np.uint64), np.full(slots, -1, np.int32))
    clash = _index(offsets, data, found)
    if clash >= 0:
        raise ValueError(f"word {clash} of the vocabulary has the hash of another")
    return found


@njit(inline="always", **JIT)
def mixed(value: Any) -> Any:
    """Spread 64 bits over 64 bits (the finalizer of splitmix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(**JIT)
def _slot(words: Vocabulary, data: np.ndarray, start: int, end: int) -> tuple[Any, Any]:
    """Return (the hash of the word data[start:end], the slot where it is or would be)."""
    value = np.uint64(0xCBF29CE484222325)
    for at in range(start, end):
        value = (value ^ np.uint64(data[at])) * np.uint64(0x100000001B3)  # FNV-1a
    value = mixed(value) | np.uint64(1)
    mask = np.uint64(len(words.hashes) - 1)
    slot = value >> np.uint64(32) & mask
    while words.hashes[slot] != 0 and words.hashes[slot] != value:
        slot = (slot + np.uint64(1)) & mask
    return value, slot


@njit(**JIT)
def _index(offsets: np.ndarray, data: np.ndarray, words: Vocabulary) -> int:
    for number in range(len(offsets) - 1):
        value, slot = _slot(words, data, offsets[number], offsets[number + 1])
        if words.hashes[slot] != 0:
            return number
        words.hashes[slot], words.numbers[slot] = value, number
    return -1


@njit(inline="always", **JIT)
def group(first: Any, second: Any, third: Any) -> Any:
    """Return the hash of three code points, or of two behind an edge."""
    return mixed(
        (np.uint64(first) << np.uint64(42) | np.uint64(second) << np.uint64(21) | np.uint64(third)) + np.uint64(1)
    )


@njit(**JIT)
def _end_word(
    words: Vocabulary, room: Scratch, length: int, known: int, groups: int, touching: int
) -> tuple[int, int, int]:
    """Look up the word in room.word, if there is one; return (known, groups, touching) as they are then.

    `touching` is the last sign of an unknown word in a syllabic script which nothing parts from what comes next, else
    0.
    """
    if length == 0:
        return known, groups, touching
    _, slot = _slot(words, room.word, 0, length)
    if words.hashes[slot] != 0:
        room.known[known] = words.numbers[slot]
        return known + 1, groups, _EDGE
    earlier, before = _EDGE, touching
    at = 0
    while at < length:
        point, size = decode(room.word, at)
        at += size
        if point == before and point == earlier:
            continue
        if point >= _SYLLABLES:
            room.groups[groups] = group(_EDGE, before, point)
            groups += 1
        elif before != _EDGE:
            room.groups[groups] = group(earlier, before, point)
            groups += 1
        earlier, before = before, point
    if before >= _SYLLABLES:
        return known, groups, before
    room.groups[groups] = group(earlier, before, _EDGE)
    return known, groups + 1, _EDGE


@njit(**JIT)
def cut(
    data: np.ndarray, start: int, end: int, characters: Characters, words: Vocabulary, room: Scratch
) -> tuple[int, int]:
    """Cut the text data[start:end]; return how many (known words, groups) were written to `room`."""
    known = groups = length = read = touching = 0
    at = start
    while at < end and read < CHARACTERS:
        point, size = decode(data, at)
        entry = characters.blocks[np.int64(characters.block_of[point >> 8]) << 8 | (point & 0xFF)]
        source, low = data, at
        at += size
        read += 1
        if entry == DROPPED:
            continue
        if entry == SPACE:
            known, groups, touching = _end_word(words, room, length, known, groups, touching)
            length = touching = 0
            continue
        if entry > 0:
            source, low, size = characters.data, entry >> 8, entry & 0xFF
        elif entry == ISOLATED:
            known, groups, touching = _end_word(words, room, length, known, groups, touching)
            length = 0
        for byte in range(low, low + size):
            if source[byte] == 32:
                known, groups, touching = _end_word(words, room, length, known, groups, touching)
                length = 0
            else:
                room.word[length] = source[byte]
                length += 1
        if entry == ISOLATED:
            known, groups, touching = _end_word(words, room, length, known, groups, touching)
            length = 0
    known, groups, _ = _end_word(words, room, length, known, groups, touching)
    return known, groups
