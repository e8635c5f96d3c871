"""Connected components of links between numbered documents: one union-find, fed twice with all links.

A bit per document says whether it has a link; the first pass sets them. A document's place is the number of set bits
before its own, so the parents of the second pass are one array of 32-bit places: per linked document 4 bytes, and 1/4
byte per document of the run, linked or not. Which document is the root depends on no order: it is the smallest.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.intrinsics import set_bits, trailing_zeros

_ONE, _SIX, _LOW = np.uint64(1), np.uint64(6), np.uint64(63)
_MOST = (1 << 31) - 1


@njit(**JIT)
def _mark(ends: np.ndarray, bits: np.ndarray) -> None:
    for end in ends:
        place = np.uint64(end)
        bits[place >> _SIX] |= _ONE << (place & _LOW)


@njit(**JIT)
def _count(bits: np.ndarray, before: np.ndarray) -> int:
    """Write how many bits are set before each word; return how many are set in all."""
    total = 0
    for word in range(len(bits)):
        before[word] = total
        total += set_bits(bits[word])
    return total


@njit(inline="always", **JIT)
def _place(document: int, bits: np.ndarray, before: np.ndarray) -> int:
    at = np.uint64(document)
    return before[at >> _SIX] + set_bits(bits[at >> _SIX] & ((_ONE << (at & _LOW)) - _ONE))


@njit(**JIT)
def _root(place: int, parent: np.ndarray) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


@njit(**JIT)
def _join(links: np.ndarray, bits: np.ndarray, before: np.ndarray, parent: np.ndarray) -> None:
    for link in range(len(links)):
        one = _root(_place(links[link, 0], bits, before), parent)
        other = _root(_place(links[link, 1], bits, before), parent)
        if one < other:
            parent[other] = one
        else:
            parent[one] = other


@njit(**JIT)
def _within(
    start: int, stop: int, bits: np.ndarray, before: np.ndarray, parent: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    first = _place(start, bits, before)
    count = _place(stop, bits, before) - first
    rows, roots = np.empty(count, np.int64), np.empty(count, np.int64)
    used = 0
    document = start
    while document < stop:
        at = np.uint64(document)
        rest = bits[at >> _SIX] >> (at & _LOW)
        if rest == 0:
            document += 64 - (document & 63)
            continue
        document += trailing_zeros(rest)
        if document >= stop:
            break
        rows[used], roots[used] = document - start, _root(first + used, parent)
        used += 1
        document += 1
    return rows, roots


class Components:
    """The components of links between the documents 0 … `documents` - 1: first `mark` all links, then `join` them."""

    def __init__(self, documents: int) -> None:
        self._bits = np.zeros(documents // 64 + 1, np.uint64)
        self._before = np.empty(0, np.int64)
        self._parent = np.empty(0, np.int32)

    @property
    def bytes(self) -> int:
        """The memory that is held."""
        return self._bits.nbytes + self._before.nbytes + self._parent.nbytes

    def mark(self, links: np.ndarray) -> None:
        """Note both ends of each link, int64 [links, 2]."""
        _mark(np.ascontiguousarray(links).reshape(-1), self._bits)

    def join(self, links: np.ndarray) -> None:
        """Join both ends of each link, int64 [links, 2]. Every link has been marked; none is marked after this."""
        if not len(self._before):
            self._before = np.empty(len(self._bits), np.int64)
            linked = _count(self._bits, self._before)
            if linked > _MOST:
                raise OverflowError(f"{linked:,} documents have a hash in common with another: {_MOST:,} is the most")
            self._parent = np.arange(linked, dtype=np.int32)
        _join(np.ascontiguousarray(links), self._bits, self._before, self._parent)

    def within(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (linked documents of start … stop - 1, counted from `start`; the number of each one's component)."""
        if not len(self._before):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return _within(start, stop, self._bits, self._before, self._parent)
