"""Walk candidates in their order and find for each the most similar one that was kept before it.

Candidates meet where a band hash is equal; only the exact similarity of their shingle sets decides.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.intrinsics import set_bits

CANDIDATES = 1024
"""Of the kept members that share one band hash, this many are compared with a new one: those kept last.

A hash that more distinct documents share is that of boilerplate, not of a text; without a bound such a hash would cost
the square of their number. What is removed is verified all the same, and what is kept stays kept when walked again.
"""

PARITY_WORDS = 32
"""64-bit words of a member's parities: bit b is the parity of how many of its shingles have b as their low bits.

Two sets differ in at least as many shingles as their parities differ in bits. That shows most candidates to be unlike
without a look at their shingles: 10,000 pages that are half alike take 0.3 CPU-seconds instead of 12.
"""

_MIX, _HALF, _ONE = np.uint64(0x9E3779B97F4A7C15), np.uint64(32), np.uint64(1)


@njit(**JIT)
def count_shared(numbers: np.ndarray, one: int, one_end: int, other: int, other_end: int, least: int) -> int:
    """Return how many numbers two sorted runs share; -1 as soon as they cannot share `least` any more."""
    shared = 0
    one_spare, other_spare = one_end - one - least, other_end - other - least
    while one_spare >= 0 and other_spare >= 0:
        if one == one_end or other == other_end:
            return shared if shared >= least else -1
        left, right = numbers[one], numbers[other]
        if left == right:
            shared += 1
            one += 1
            other += 1
        elif left < right:
            one += 1
            one_spare -= 1
        else:
            other += 1
            other_spare -= 1
    return -1


@njit(**JIT)
def note_parities(numbers: np.ndarray, parities: np.ndarray) -> None:
    """Write the parities of a set of numbers, uint64 [PARITY_WORDS]."""
    parities[:] = 0
    for number in numbers:
        bit = number & np.uint64(64 * PARITY_WORDS - 1)
        parities[bit >> np.uint64(6)] ^= _ONE << (bit & np.uint64(63))


@njit(**JIT)
def similarity(
    numbers: np.ndarray, offsets: np.ndarray, parities: np.ndarray, one: int, other: int, bar: float
) -> float:
    """Return the Jaccard similarity of two rows' sorted sets if it is at least `bar`, else -1."""
    size, other_size = offsets[one + 1] - offsets[one], offsets[other + 1] - offsets[other]
    least = np.int64(bar / (1.0 + bar) * (size + other_size))  # rounded down: what this lets pass is measured below
    differing = 0
    for word in range(PARITY_WORDS):
        differing += set_bits(parities[one, word] ^ parities[other, word])
    if differing > size + other_size - 2 * least:
        return -1.0
    shared = count_shared(numbers, offsets[one], offsets[one + 1], offsets[other], offsets[other + 1], least)
    if shared < 0:
        return -1.0
    found = shared / (size + other_size - shared)
    return found if found >= bar else -1.0


@njit(**JIT)
def walk(
    order: np.ndarray,
    first: np.ndarray,
    fixed: np.ndarray,
    bands: np.ndarray,
    offsets: np.ndarray,
    shingles: np.ndarray,
    threshold: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (survivor int64 [rows], similarity float64 [rows]) for rows walked in `order`; survivor -1: kept.

    Rows that are `fixed` (int8 [rows]) are kept without being compared; they come first in the order. `first` int64 [rows]
    is the row of the same content that comes first in the order; the others share its fate, and if that is to be kept, it
    is their survivor. Rows without shingles are kept.
    """
    rows, count = bands.shape
    survivor, best_of = np.full(rows, -1, np.int64), np.ones(rows, np.float64)
    rank, seen_by = np.empty(rows, np.int64), np.full(rows, -1, np.int64)
    size = 1
    while size < 2 * rows * count:
        size *= 2
    mask = np.uint64(size - 1)
    keys, heads = np.zeros(size, np.uint64), np.full(size, -1, np.int64)  # band hash → entry of the member kept last
    before = np.full(rows * count, -1, np.int64)  # entry (row * count + band) → entry of the one kept before it
    slots = np.empty(count, np.uint64)
    parities = np.empty((rows, PARITY_WORDS), np.uint64)
    for position in range(rows):
        row = order[position]
        rank[row] = position
        if first[row] != row:
            if fixed[row]:
                continue
            survivor[row] = first[row] if survivor[first[row]] < 0 else survivor[first[row]]
            best_of[row] = best_of[first[row]]
            continue
        if offsets[row] == offsets[row + 1]:
            continue
        note_parities(shingles[offsets[row] : offsets[row + 1]], parities[row])
        best, bar = np.int64(-1), threshold
        for band in range(count):
            key = bands[row, band]
            slot = ((key * _MIX) >> _HALF) & mask
            while heads[slot] >= 0 and keys[slot] != key:
                slot = (slot + _ONE) & mask
            slots[band] = slot
            entry, left = heads[slot], 0 if fixed[row] else CANDIDATES
            while entry >= 0 and left > 0:
                candidate = entry // count
                entry, left = before[entry], left - 1
                if seen_by[candidate] == row:
                    continue
                seen_by[candidate] = row
                found = similarity(shingles, offsets, parities, row, candidate, bar)
                if found > bar or (found == bar and (best < 0 or rank[candidate] < rank[best])):
                    best, bar = candidate, found
        if best >= 0:
            survivor[row], best_of[row] = best, bar
            continue
        for band in range(count):
            entry = row * count + band
            slot = slots[band]
            while heads[slot] >= 0 and keys[slot] != bands[row, band]:
                slot = (slot + _ONE) & mask  # another band of this row has taken the free slot meanwhile
            before[entry] = heads[slot]
            keys[slot], heads[slot] = bands[row, band], entry
    return survivor, best_of
