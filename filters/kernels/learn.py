"""Learning byte-pair merges from counted words: the most frequent pair of neighbours is merged, again and again.

What is kept: the symbols of every word; how often each pair occurs; and a heap of pairs, each with the words to look at
when it is merged. An entry of the heap whose count has fallen since goes back with the count that is true now. Of equally
frequent pairs the one of smaller ids is merged first. So a merge costs what it changes, not what there is.
"""

from __future__ import annotations

import heapq

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT

_EMPTY = np.int64(-1)
_SPREAD = np.int64(0x1E3779B97F4A7C15)
_PRIME = np.int64(0x100000001B3)


@njit(inline="always", **JIT)
def _slot(keys: np.ndarray, key: np.int64) -> np.int64:
    """Return the slot of a key in a table of a power of two slots: where it is, or the empty one where it belongs."""
    mask = np.int64(len(keys) - 1)
    slot = ((key * _SPREAD) >> np.int64(32)) & mask
    while keys[slot] != _EMPTY and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@njit(**JIT)
def _doubled(array: np.ndarray) -> np.ndarray:
    longer = np.empty(2 * len(array), array.dtype)
    longer[: len(array)] = array
    return longer


@njit(**JIT)
def _token(slots: np.ndarray, offsets: np.ndarray, data: np.ndarray, start: int, stop: int) -> int:
    """Return the slot of the token spelled data[start:stop]: slots[slot] is its id, or -1 if there is none yet."""
    value = np.int64(-3750763034362895579)
    for at in range(start, stop):
        value = (value ^ np.int64(data[at])) * _PRIME
    mask = len(slots) - 1
    slot = int((value ^ (value >> np.int64(29))) & np.int64(mask))
    while slots[slot] >= 0:
        first, last = offsets[slots[slot]], offsets[slots[slot] + 1]
        if last - first == stop - start:
            same = True
            for i in range(stop - start):
                if data[first + i] != data[start + i]:
                    same = False
                    break
            if same:
                return slot
        slot = (slot + 1) & mask
    return slot


@njit(**JIT)
def learn(
    symbols: np.ndarray,
    starts: np.ndarray,
    counts: np.ndarray,
    offsets: np.ndarray,
    data: np.ndarray,
    known: int,
    size: int,
) -> np.ndarray:
    """Return the merges, int64 [merges, 3]: left id, right id, id of what they become, in the order they were learnt.

    Word i is symbols[starts[i]:starts[i + 1]], ids of single bytes (overwritten), and occurs counts[i] times. The first
    `known` of `size` tokens are given: token t is spelled data[offsets[t]:offsets[t + 1]]; room for the others is the
    caller's: `offsets` is int64 [size + 1]. A merge that spells a token there is gives that token.
    """
    slots = np.full(1 << max(4, int(np.ceil(np.log2(2 * size + 2)))), -1, np.int64)
    for token in range(known):
        slots[_token(slots, offsets, data, offsets[token], offsets[token + 1])] = token
    lengths = np.diff(starts)
    keys = np.full(1 << 16, _EMPTY, np.int64)  # a pair's key is left << 32 | right
    pair_at = np.zeros(1 << 16, np.int64)
    pair_key, pair_count = np.zeros(1 << 15, np.int64), np.zeros(1 << 15, np.int64)
    pair_step, pair_head = np.zeros(1 << 15, np.int64), np.zeros(1 << 15, np.int64)  # words of the step, as a list
    node_word, node_next = np.zeros(1 << 16, np.int64), np.zeros(1 << 16, np.int64)
    pairs = nodes = 0
    touched = np.zeros(1 << 10, np.int64)
    heap = [(np.int64(0), np.int64(0), np.int64(0))]
    heap.clear()
    merges = np.zeros((max(1, size), 3), np.int64)
    learnt, step = 0, 0
    changed = np.zeros((1 << 10, 2), np.int64)  # of one word: key of a pair, and +1 or -1
    left = right = merged = np.int64(-1)
    while True:
        # the first step counts every pair of every word; each later one merges a pair in the words that may hold it
        step += 1
        many_touched = 0
        if step == 1:
            word, head = np.int64(0), np.int64(-1)
        else:
            head = np.int64(-1)
            found = False
            while len(heap):
                minus, key, head = heapq.heappop(heap)
                count = pair_count[pair_at[_slot(keys, key)]]
                if -minus != count:
                    heapq.heappush(heap, (-count, key, head))
                    continue
                found = count >= 1
                break
            if not found or known >= size:
                break
            left, right = key >> np.int64(32), key & np.int64(0xFFFFFFFF)
            start = offsets[known]
            one, other = offsets[left + 1] - offsets[left], offsets[right + 1] - offsets[right]
            while len(data) < start + one + other:
                data = _doubled(data)
            for i in range(one):
                data[start + i] = data[offsets[left] + i]
            for i in range(other):
                data[start + one + i] = data[offsets[right] + i]
            slot = _token(slots, offsets, data, start, start + one + other)
            if slots[slot] < 0:
                slots[slot] = known
                known += 1
                offsets[known] = start + one + other
            merged = slots[slot]
            if learnt == len(merges):
                more = np.zeros((2 * learnt, 3), np.int64)
                more[:learnt] = merges
                merges = more
            merges[learnt, 0], merges[learnt, 1], merges[learnt, 2] = left, right, merged
            learnt += 1
            word = node_word[head] if head >= 0 else np.int64(len(counts))
        while word < len(counts):
            start, length = starts[word], lengths[word]
            while len(changed) < 4 * length + 4:
                changed = np.zeros((2 * len(changed), 2), np.int64)
            many = 0
            if step == 1:
                for i in range(length - 1):
                    changed[many, 0] = (np.int64(symbols[start + i]) << np.int64(32)) | np.int64(symbols[start + i + 1])
                    changed[many, 1] = 1
                    many += 1
            else:
                read = write = start
                end = start + length
                while read < end:
                    if read + 1 < end and symbols[read] == left and symbols[read + 1] == right:
                        if write > start:
                            before = np.int64(symbols[write - 1]) << np.int64(32)
                            changed[many, 0], changed[many, 1] = before | left, -1
                            changed[many + 1, 0], changed[many + 1, 1] = before | merged, 1
                            many += 2
                        if read + 2 < end:
                            after = np.int64(symbols[read + 2])
                            changed[many, 0], changed[many, 1] = (right << np.int64(32)) | after, -1
                            changed[many + 1, 0], changed[many + 1, 1] = (merged << np.int64(32)) | after, 1
                            many += 2
                        symbols[write] = merged
                        read += 2
                    else:
                        symbols[write] = symbols[read]
                        read += 1
                    write += 1
                lengths[word] = write - start
            for i in range(many):
                slot = _slot(keys, changed[i, 0])
                if keys[slot] == _EMPTY:
                    if pairs == len(pair_key):
                        pair_key, pair_count = _doubled(pair_key), _doubled(pair_count)
                        pair_step, pair_head = _doubled(pair_step), _doubled(pair_head)
                        keys, pair_at = np.full(4 * pairs, _EMPTY, np.int64), np.zeros(4 * pairs, np.int64)
                        for pair in range(pairs):
                            slot = _slot(keys, pair_key[pair])
                            keys[slot], pair_at[slot] = pair_key[pair], pair
                        slot = _slot(keys, changed[i, 0])
                    keys[slot], pair_at[slot], pair_key[pairs] = changed[i, 0], pairs, changed[i, 0]
                    pair_count[pairs], pair_step[pairs] = 0, 0
                    pairs += 1
                pair = pair_at[slot]
                pair_count[pair] += changed[i, 1] * counts[word]
                if changed[i, 1] < 0:
                    continue
                if pair_step[pair] != step:
                    if many_touched == len(touched):
                        touched = _doubled(touched)
                    touched[many_touched] = pair
                    many_touched += 1
                    pair_step[pair], pair_head[pair] = step, -1
                if pair_head[pair] < 0 or node_word[pair_head[pair]] != word:
                    if nodes == len(node_word):
                        node_word, node_next = _doubled(node_word), _doubled(node_next)
                    node_word[nodes], node_next[nodes] = word, pair_head[pair]
                    pair_head[pair] = nodes
                    nodes += 1
            if step == 1:
                word += 1
            else:
                head = node_next[head]
                word = node_word[head] if head >= 0 else np.int64(len(counts))
        for i in range(many_touched):
            pair = touched[i]
            if pair_count[pair] > 0:
                heapq.heappush(heap, (-pair_count[pair], pair_key[pair], pair_head[pair]))
    return merges[:learnt]
