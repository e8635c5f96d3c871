"""Byte-pair encoding: a piece of text becomes token ids by merging neighbours, the lowest rank first.

Three ways to the same ids, the cheapest first: the piece is itself a token; the piece was met before in this call; its
pairs are merged, by scanning while it is short and through a heap when it is long (so that a run of a million letters
costs n log n). Where two equal pairs compete, the left one is merged first.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.pieces import piece_end

SHORT = 64
"""Bytes up to which a piece is merged by scanning."""

_SLOTS = 1 << 17
_NONE = np.int64(1 << 62)
_EMPTY = np.int64(-1)
_PRIME = np.int64(0x100000001B3)
_SPREAD = np.int64(0x1E3779B97F4A7C15)


class Tables(NamedTuple):
    """A byte-pair vocabulary as arrays. A pair's key is left << 32 | right, its value rank << 32 | merged id."""

    byte_ids: np.ndarray  # int32 [256]: the id of each byte
    byte_pairs: np.ndarray  # int64 [256, 256]: the value of each pair of bytes, _NONE where they are not merged
    pairs: np.ndarray  # int64 [a power of two, 2]: key and value beside each other, open addressing, key -1 where empty
    token_slots: np.ndarray  # int32 [a power of two]: ids of tokens by the hash of their bytes, -1 where empty
    token_offsets: np.ndarray  # int64 [tokens + 1]: token i is token_bytes[o[i]:o[i + 1]]
    token_bytes: np.ndarray  # uint8


@njit(inline="always", **JIT)
def _hash(data: np.ndarray, start: int, stop: int) -> np.int64:
    value = np.int64(-3750763034362895579)
    for at in range(start, stop):
        value = (value ^ np.int64(data[at])) * _PRIME
    return value ^ (value >> np.int64(29))


@njit(inline="always", **JIT)
def _same(one: np.ndarray, start: int, other: np.ndarray, other_start: int, size: int) -> bool:
    for at in range(size):  # noqa: SIM110 (numba compiles no generators)
        if one[start + at] != other[other_start + at]:
            return False
    return True


@njit(inline="always", **JIT)
def _pair(tables: Tables, left: int, right: int) -> np.int64:
    """Return rank << 32 | id of the merge of two ids, or _NONE."""
    key = (np.int64(left) << np.int64(32)) | np.int64(right)
    mask = np.int64(len(tables.pairs) - 1)
    slot = ((key * _SPREAD) >> np.int64(40)) & mask
    while tables.pairs[slot, 0] != _EMPTY:
        if tables.pairs[slot, 0] == key:
            return tables.pairs[slot, 1]
        slot = (slot + 1) & mask
    return _NONE


@njit(inline="always", **JIT)
def _token(tables: Tables, data: np.ndarray, start: int, stop: int, value: np.int64) -> np.int64:
    """Return the id of the token whose bytes these are (`value` is their hash), or -1."""
    mask = np.int64(len(tables.token_slots) - 1)
    slot = value & mask
    while tables.token_slots[slot] >= 0:
        token = np.int64(tables.token_slots[slot])
        first = tables.token_offsets[token]
        if tables.token_offsets[token + 1] - first == stop - start and _same(
            data, start, tables.token_bytes, first, stop - start
        ):
            return token
        slot = (slot + 1) & mask
    return np.int64(-1)


@njit(**JIT)
def merge_short(
    tables: Tables, data: np.ndarray, start: int, stop: int, out: np.ndarray, at: int, scratch: np.ndarray
) -> int:
    """Write the ids of a piece of at most SHORT bytes to out[at:]; return how many they are.

    `scratch` is int64 [2, SHORT], of any content: an allocation for every piece would cost as much as its merges.
    """
    count = stop - start
    symbols, pairs = scratch[0], scratch[1]
    for i in range(count):
        symbols[i] = tables.byte_ids[data[start + i]]
    for i in range(count - 1):
        pairs[i] = tables.byte_pairs[data[start + i], data[start + i + 1]]
    while count > 1:
        best, where = _NONE, 0
        for i in range(count - 1):
            if pairs[i] < best:
                best, where = pairs[i], i
        if best == _NONE:
            break
        symbols[where] = best & np.int64(0x7FFFFFFF)
        count -= 1
        for i in range(where + 1, count):
            symbols[i] = symbols[i + 1]
            pairs[i] = pairs[i + 1]
        if where > 0:
            pairs[where - 1] = _pair(tables, symbols[where - 1], symbols[where])
        if where < count - 1:
            pairs[where] = _pair(tables, symbols[where], symbols[where + 1])
    for i in range(count):
        out[at + i] = symbols[i]
    return count


@njit(**JIT)
def merge_long(tables: Tables, data: np.ndarray, start: int, stop: int, out: np.ndarray, at: int) -> int:
    """Write the ids of a piece of any length to out[at:]; return how many they are."""
    size = stop - start
    symbols = np.empty(size, np.int32)
    following = np.empty(size, np.int64)
    previous = np.empty(size, np.int64)
    for i in range(size):
        symbols[i] = tables.byte_ids[data[start + i]]
        following[i] = i + 1
        previous[i] = i - 1
    heap = [np.int64(0)]  # rank << 32 | position: the lowest rank first, then the leftmost
    heap.pop()
    for i in range(size - 1):
        pair = _pair(tables, symbols[i], symbols[i + 1])
        if pair != _NONE:
            heap.append((pair >> np.int64(32) << np.int64(32)) | np.int64(i))
    heapq.heapify(heap)
    while len(heap) > 0:
        entry = heapq.heappop(heap)
        here = entry & np.int64(0x7FFFFFFF)
        if symbols[here] < 0 or following[here] == size:
            continue
        right = following[here]
        pair = _pair(tables, symbols[here], symbols[right])
        if pair == _NONE or (pair >> np.int64(32)) != (entry >> np.int64(32)):
            continue  # one of the two has been merged with another since
        symbols[here] = np.int32(pair & np.int64(0x7FFFFFFF))
        symbols[right] = -1
        following[here] = following[right]
        if following[here] < size:
            previous[following[here]] = here
            pair = _pair(tables, symbols[here], symbols[following[here]])
            if pair != _NONE:
                heapq.heappush(heap, (pair >> np.int64(32) << np.int64(32)) | here)
        if previous[here] >= 0:
            pair = _pair(tables, symbols[previous[here]], symbols[here])
            if pair != _NONE:
                heapq.heappush(heap, (pair >> np.int64(32) << np.int64(32)) | previous[here])
    count = 0
    i = 0
    while i < size:
        out[at + count] = symbols[i]
        count += 1
        i = following[i]
    return count


@njit(**JIT)
def reaches_itself(tables: Tables) -> np.ndarray:
    """Return for every token whether merging its own bytes gives that token and nothing else."""
    tokens = len(tables.token_offsets) - 1
    reached = np.zeros(tokens, np.bool_)
    out = np.empty(len(tables.token_bytes) + 1, np.uint32)
    scratch = np.empty((2, SHORT), np.int64)
    for token in range(tokens):
        start, stop = tables.token_offsets[token], tables.token_offsets[token + 1]
        if stop == start:
            continue
        if stop - start <= SHORT:
            count = merge_short(tables, tables.token_bytes, start, stop, out, 0, scratch)
        else:
            count = merge_long(tables, tables.token_bytes, start, stop, out, 0)
        reached[token] = count == 1 and out[0] == token
    return reached


@njit(**JIT)
def fill_pairs(pairs: np.ndarray, lefts: np.ndarray, rights: np.ndarray, merged: np.ndarray) -> None:
    """Enter the merges, in the order of their rank, into an empty table. Of two merges of one pair the later counts."""
    mask = np.int64(len(pairs) - 1)
    for rank in range(len(lefts)):
        key = (np.int64(lefts[rank]) << np.int64(32)) | np.int64(rights[rank])
        slot = ((key * _SPREAD) >> np.int64(40)) & mask
        while pairs[slot, 0] != _EMPTY and pairs[slot, 0] != key:
            slot = (slot + 1) & mask
        pairs[slot, 0] = key
        pairs[slot, 1] = (np.int64(rank) << np.int64(32)) | np.int64(merged[rank])


@njit(**JIT)
def fill_byte_pairs(tables: Tables) -> None:
    """Enter the value of every pair of bytes: most lookups are for these, and here they do not branch."""
    for left in range(256):
        for right in range(256):
            tables.byte_pairs[left, right] = _pair(tables, tables.byte_ids[left], tables.byte_ids[right])


@njit(**JIT)
def fill_tokens(slots: np.ndarray, offsets: np.ndarray, data: np.ndarray, included: np.ndarray) -> None:
    """Enter the included tokens into an empty table of tokens."""
    mask = np.int64(len(slots) - 1)
    for token in range(len(offsets) - 1):
        if included[token] and offsets[token + 1] > offsets[token]:
            slot = _hash(data, offsets[token], offsets[token + 1]) & mask
            while slots[slot] >= 0:
                slot = (slot + 1) & mask
            slots[slot] = token


@njit(**JIT)
def encode(
    tables: Tables, offsets: np.ndarray, data: np.ndarray, kinds: np.ndarray, end_of_text: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (offsets int64 [texts + 1], ids uint32) of the texts, each followed by `end_of_text`."""
    texts = len(offsets) - 1
    ends = np.zeros(texts + 1, np.int64)
    out = np.empty(offsets[texts] - offsets[0] + texts, np.uint32)  # a token has at least one byte
    met = np.zeros((_SLOTS, 4), np.int64)  # pieces met before: start, size; where their ids were written, how many
    scratch = np.empty((2, SHORT), np.int64)
    written = 0
    for text in range(texts):
        at, end = offsets[text], offsets[text + 1]
        while at < end:
            stop = piece_end(data, at, end, kinds)
            size = stop - at
            value = _hash(data, at, stop)
            token = _token(tables, data, at, stop, value)
            if token >= 0:
                out[written] = token
                written += 1
                at = stop
                continue
            slot = (value >> np.int64(8)) & np.int64(_SLOTS - 1)
            if met[slot, 1] == size and _same(data, met[slot, 0], data, at, size):
                first, count = met[slot, 2], met[slot, 3]
                for i in range(count):
                    out[written + i] = out[first + i]
            else:
                if size <= SHORT:
                    count = merge_short(tables, data, at, stop, out, written, scratch)
                else:
                    count = merge_long(tables, data, at, stop, out, written)
                met[slot, 0], met[slot, 1], met[slot, 2], met[slot, 3] = at, size, written, count
            written += count
            at = stop
        out[written] = end_of_text
        written += 1
        ends[text + 1] = written
    return ends, out[:written]
