"""Walk candidates in their order and find for each the most similar one that was kept before it.

Candidates meet where a band hash is equal; only the exact similarity of their shingle sets decides.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.intrinsics import load64, set_bits

CANDIDATES = 1024
"""Kept members with which a new one is compared: first those that share its rarest band hash, of each those kept last.

A hash that more distinct documents share is that of boilerplate, not of a text; without a bound such a hash would cost
the square of their number. What is removed is verified all the same, and what is kept stays kept when walked again.
"""

COUNTED = 16
"""Of those, so many have their shingles compared, first the ones that parities show to be most alike.

Those decide, but where pages of one template are all about as alike as the threshold: 10,000 such pages cost twenty times
what others do when all their shingles are compared, and twice as much so.
"""
LONG, COUNTED_OF_LONG = 1 << 14, 512
"""Parities of sets of more shingles than this tell little, as a text of 100 KB has: so many are compared with such a one."""

PARITY_WORDS = 64
"""64-bit words of a member's parities: bit b is the parity of how many of its shingles have b as their low bits.

Two sets differ in at least as many shingles as their parities differ in bits. That shows most candidates to be unlike
without a look at their shingles: 10,000 pages that are half alike take 0.3 CPU-seconds instead of 12.
"""

_MIX, _HALF, _ONE = np.uint64(0x9E3779B97F4A7C15), np.uint64(32), np.uint64(1)


@njit(**JIT)
def count_shared(one: int, one_end: int, other: int, other_end: int, least: int) -> int:
    """Return how many numbers two sorted runs of uint64, given by the addresses of begin and end, share.

    -1 as soon as they cannot share `least` any more.
    """
    shared = 0
    one_spare, other_spare = (one_end - one) // 8 - least, (other_end - other) // 8 - least
    while one_spare >= 0 and other_spare >= 0:
        if one == one_end or other == other_end:
            return shared if shared >= least else -1
        left, right = load64(one), load64(other)
        if left == right:
            shared += 1
            one += 8
            other += 8
        elif left < right:
            one += 8
            one_spare -= 1
        else:
            other += 8
            other_spare -= 1
    return -1


@njit(**JIT)
def note_parities(address: int, size: int, parities: np.ndarray) -> None:
    """Write the parities of the `size` numbers at `address`, uint64 [PARITY_WORDS]."""
    parities[:] = 0
    for place in range(size):
        bit = load64(address + 8 * place) & np.uint64(64 * PARITY_WORDS - 1)
        parities[bit >> np.uint64(6)] ^= _ONE << (bit & np.uint64(63))


@njit(**JIT)
def most_alike(size: np.ndarray, parities: np.ndarray, one: int, other: int) -> float:
    """Return what the Jaccard similarity of two rows' sets is at most, as their parities show."""
    differing = 0
    for word in range(PARITY_WORDS):
        differing += set_bits(parities[one, word] ^ parities[other, word])
    both = size[one] + size[other]
    shared = min((both - differing) >> 1, size[one], size[other])
    return shared / (both - shared)


@njit(**JIT)
def similarity(address: np.ndarray, size: np.ndarray, one: int, other: int, bar: float) -> float:
    """Return the Jaccard similarity of two rows' sorted sets if it is at least `bar`, else -1."""
    both = size[one] + size[other]
    least = np.int64(bar / (1.0 + bar) * both)  # rounded down: what this lets pass is measured below
    shared = count_shared(
        address[one], address[one] + 8 * size[one], address[other], address[other] + 8 * size[other], least
    )
    if shared < 0:
        return -1.0
    found = shared / (both - shared)
    return found if found >= bar else -1.0


@njit(**JIT)
def walk(
    first: np.ndarray,
    fixed: np.ndarray,
    bands: np.ndarray,
    address: np.ndarray,
    size: np.ndarray,
    threshold: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (survivor int64 [rows], similarity float64 [rows]) for rows in the order of the walk; survivor -1: kept.

    `first` int64 [rows] is the row of the same content that comes first; the others share its fate, and if that is to be
    kept, it is their survivor. Rows that are `fixed` (int8 [rows]) are kept without being compared; they come first. The
    shingles of a row are the `size` sorted uint64 numbers at `address`; a row without any is kept.
    """
    rows, count = bands.shape
    survivor, best_of = np.full(rows, -1, np.int64), np.ones(rows, np.float64)
    seen_by = np.full(rows, -1, np.int32)
    room = 1
    while room < 2 * rows * count:
        room *= 2
    mask = np.uint64(room - 1)
    keys, heads = np.zeros(room, np.uint64), np.full(room, -1, np.int32)  # band hash → the member kept last
    sharing = np.zeros(room, np.int32)  # kept members that have it
    before = np.full((count, rows), -1, np.int32)  # band, member → the one of the same hash that was kept before it
    slots, turn = np.empty(count, np.uint64), np.empty(count, np.int64)
    parities = np.empty((rows, PARITY_WORDS), np.uint64)
    hopeful, at_most = np.empty(CANDIDATES, np.int64), np.empty(CANDIDATES, np.float64)
    for row in range(rows):
        if first[row] != row:
            if fixed[row]:
                continue
            survivor[row] = first[row] if survivor[first[row]] < 0 else survivor[first[row]]
            best_of[row] = best_of[first[row]]
            continue
        if size[row] == 0:
            continue
        note_parities(address[row], size[row], parities[row])
        best, bar = np.int64(-1), threshold
        for band in range(count):
            key = bands[row, band]
            slot = ((key * _MIX) >> _HALF) & mask
            while heads[slot] >= 0 and keys[slot] != key:
                slot = (slot + _ONE) & mask
            slots[band] = slot
            place = band
            while place > 0 and sharing[slots[turn[place - 1]]] > sharing[slot]:
                turn[place] = turn[place - 1]
                place -= 1
            turn[place] = band
        left, hopes = 0 if fixed[row] else CANDIDATES, 0
        for place in range(count):
            band = int(turn[place])
            following = heads[slots[band]]
            while following >= 0 and left > 0:
                candidate, following = following, before[band, following]
                if seen_by[candidate] == row:
                    continue
                seen_by[candidate] = row
                left -= 1
                hopeful[hopes], at_most[hopes] = candidate, most_alike(size, parities, row, candidate)
                if at_most[hopes] >= threshold:
                    hopes += 1
        for _ in range(min(hopes, COUNTED if size[row] <= LONG else COUNTED_OF_LONG)):
            hope = np.argmax(at_most[:hopes])
            candidate = hopeful[hope]
            if at_most[hope] < bar:
                break
            found = similarity(address, size, row, candidate, bar)
            if found > bar or (found == bar and (best < 0 or candidate < best)):
                best, bar = candidate, found
            hopes -= 1
            hopeful[hope], at_most[hope] = hopeful[hopes], at_most[hopes]
        if best >= 0:
            survivor[row], best_of[row] = best, bar
            continue
        for band in range(count):
            slot = slots[band]
            while heads[slot] >= 0 and keys[slot] != bands[row, band]:
                slot = (slot + _ONE) & mask  # another band of this row has taken the free slot meanwhile
            before[band, row] = heads[slot]
            keys[slot], heads[slot] = bands[row, band], row
            sharing[slot] += 1
    return survivor, best_of
