"""Connected components of links between numbered documents: one union-find over arrays, fed link by link.

Only documents that have a link are stored, in the order of their arrival; a hash table of 32-bit places finds them. The
root of a component is its smallest node, whatever the order in which links come.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT

_MIX, _HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
_MOST = (1 << 31) - 1


@njit(**JIT)
def _slot(node: int, nodes: np.ndarray, table: np.ndarray) -> np.uint64:
    """Return where the table names `node`, or the free slot that it would take."""
    mask = np.uint64(len(table) - 1)
    slot = ((np.uint64(node) * _MIX) >> _HALF) & mask
    while table[slot] >= 0 and nodes[table[slot]] != node:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(**JIT)
def _root(place: int, parent: np.ndarray) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


@njit(**JIT)
def _join(ends: np.ndarray, nodes: np.ndarray, parent: np.ndarray, table: np.ndarray, used: int) -> int:
    """Join the two ends of every link, int64 [links, 2]; return how many nodes are known now."""
    places = np.zeros(2, np.int64)
    for link in range(len(ends)):
        for end in range(2):
            slot = _slot(ends[link, end], nodes, table)
            if table[slot] < 0:
                nodes[used], parent[used], table[slot] = ends[link, end], used, used
                used += 1
            places[end] = _root(np.int64(table[slot]), parent)
        if nodes[places[0]] < nodes[places[1]]:
            parent[places[1]] = places[0]
        else:
            parent[places[0]] = places[1]
    return used


@njit(**JIT)
def _enter(nodes: np.ndarray, used: int, table: np.ndarray) -> None:
    for place in range(used):
        table[_slot(nodes[place], nodes, table)] = place


@njit(**JIT)
def _name_roots(places: np.ndarray, nodes: np.ndarray, parent: np.ndarray) -> None:
    """Put the root's node where the place of a node was."""
    for index in range(len(places)):
        places[index] = nodes[_root(places[index], parent)]


class Components:
    """The components of the links added so far. Up to 32 bytes per linked document, results and all; none for others."""

    def __init__(self) -> None:
        self._nodes, self._parent = np.empty(0, np.int64), np.empty(0, np.int32)
        self._table = np.full(1, -1, np.int32)
        self._used = 0

    def add(self, ends: np.ndarray) -> None:
        """Join the two ends of each link, int64 [links, 2]. A link from a node to itself makes the node known."""
        self._make_room(2 * len(ends))
        self._used = _join(ends, self._nodes, self._parent, self._table, self._used)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (nodes int64 sorted, the smallest node of each one's component int64). Adds nothing after that."""
        del self._table
        nodes = self._nodes[: self._used]
        roots = np.argsort(nodes)
        _name_roots(roots, nodes, self._parent)
        del self._nodes, self._parent
        nodes.sort()
        return nodes, roots

    def _make_room(self, more: int) -> None:
        least = self._used + more
        if least <= len(self._nodes):
            return
        if least > _MOST:
            raise OverflowError(
                f"{self._used:,} linked documents are known and {more:,} may come: {_MOST:,} is the most"
            )
        room = min(_MOST, max(least, len(self._nodes) * 5 // 4))
        larger = 4 * room > 3 * len(self._table)
        if larger:
            self._table = np.empty(0, np.int32)  # gone before its successor comes
        self._nodes = _extended(self._nodes, self._used, room)
        self._parent = _extended(self._parent, self._used, room)
        if larger:
            self._table = np.full(1 << (4 * room // 3).bit_length(), -1, np.int32)
            _enter(self._nodes, self._used, self._table)


def _extended(array: np.ndarray, used: int, room: int) -> np.ndarray:
    larger = np.empty(room, array.dtype)
    larger[:used] = array[:used]
    return larger
