"""Rows of equal hash, whatever their order: each row with the first of its run."""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT

_MIX, _HALF, _ONE = np.uint64(0x9E3779B97F4A7C15), np.uint64(32), np.uint64(1)


@njit(**JIT)
def pairs_of_equal(hashes: np.ndarray, documents: np.ndarray, fresh: int) -> np.ndarray:
    """Return int64 [pairs, 2]: the smallest document (int64) of each hash (uint64), with every other that has it.

    Hashes that no document from `fresh` on has are passed over.
    """
    count, room = len(hashes), 16
    while room < 2 * count:
        room *= 2
    mask = np.uint64(room - 1)
    table = np.full(room, -1, np.int32)  # the row of a hash that came first
    one_of = np.empty(count, np.int32)
    first, last = documents.copy(), documents.copy()
    for row in range(count):
        key = hashes[row]
        place = ((key * _MIX) >> _HALF) & mask
        while table[place] >= 0 and hashes[table[place]] != key:
            place = (place + _ONE) & mask
        if table[place] < 0:
            table[place] = row
        one = one_of[row] = table[place]
        first[one], last[one] = min(first[one], documents[row]), max(last[one], documents[row])
    found = 0
    for row in range(count):
        one = one_of[row]
        found += last[one] >= fresh and documents[row] != first[one]
    pairs = np.empty((found, 2), np.int64)
    found = 0
    for row in range(count):
        one = one_of[row]
        if last[one] >= fresh and documents[row] != first[one]:
            pairs[found, 0], pairs[found, 1] = first[one], documents[row]
            found += 1
    return pairs


@njit(**JIT)
def deal(hashes: np.ndarray, rows: np.ndarray, buckets: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deal rows out by their hashes (uint64 [n]), modulo `buckets`, in the order that they have.

    Return (bounds int64 [buckets + 1], hashes, rows): bucket b has those from bounds[b] to bounds[b + 1].
    """
    count, bounds = np.uint64(buckets), np.zeros(buckets + 1, np.int64)
    for index in range(len(hashes)):
        bounds[hashes[index] % count + _ONE] += 1
    for bucket in range(buckets):
        bounds[bucket + 1] += bounds[bucket]
    ends = bounds[:-1].copy()
    dealt, of = np.empty_like(hashes), np.empty_like(rows)
    for index in range(len(hashes)):
        bucket = hashes[index] % count
        place = np.uint64(ends[bucket])
        dealt[place], of[place] = hashes[index], rows[index]
        ends[bucket] += 1
    return bounds, dealt, of
