"""What is there more often than it may be: counting hashes, choosing who keeps, and cutting spans out of texts."""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT

_MIX, _HALF, _ONE = np.uint64(0x9E3779B97F4A7C15), np.uint64(32), np.uint64(1)
_CONTINUATION, _TOP_BITS = np.uint8(0x80), np.uint8(0xC0)


@njit(**JIT)
def _table_size(entries: int) -> int:
    size = 8
    while size < 2 * entries:
        size *= 2
    return size


@njit(**JIT)
def seen_more_than(hashes: np.ndarray, allowed: int) -> np.ndarray:
    """Return for each hash whether it is there more than `allowed` times. 16 to 32 bytes per hash are held."""
    size = _table_size(len(hashes))
    mask = np.uint64(size - 1)
    first, counts = np.full(size, -1, np.int32), np.zeros(size, np.int32)
    slots = np.empty(len(hashes), np.int32)
    for index in range(len(hashes)):
        slot = ((hashes[index] * _MIX) >> _HALF) & mask
        while first[slot] >= 0 and hashes[first[slot]] != hashes[index]:
            slot = (slot + _ONE) & mask
        if first[slot] < 0:
            first[slot] = index
        counts[slot] += 1
        slots[index] = slot
    result = np.empty(len(hashes), np.bool_)
    for index in range(len(hashes)):
        result[index] = counts[slots[index]] > allowed
    return result


@njit(**JIT)
def keepers(order: np.ndarray, bounds: np.ndarray, hashes: np.ndarray, allowed: int) -> np.ndarray:
    """Return int64: for each claim the document that keeps what it would have, -1 if the claim itself may stay.

    Document d has the claims bounds[d]:bounds[d + 1] on the hashes uint64 [claims, 2], in the order of its text. The
    documents come in `order`; the first `allowed` claims on a hash stay, and the document of the first of all keeps it.
    """
    size = _table_size(len(hashes))
    mask = np.uint64(size - 1)
    first, owners, counts = np.full(size, -1, np.int32), np.empty(size, np.int32), np.zeros(size, np.int32)
    found = np.full(len(hashes), -1, np.int64)
    for document in order:
        for claim in range(bounds[document], bounds[document + 1]):
            high, low = hashes[claim, 0], hashes[claim, 1]
            slot = (((high ^ low) * _MIX) >> _HALF) & mask
            while first[slot] >= 0 and not (hashes[first[slot], 0] == high and hashes[first[slot], 1] == low):
                slot = (slot + _ONE) & mask
            if first[slot] < 0:
                first[slot], owners[slot] = claim, document
            if counts[slot] < allowed:
                counts[slot] += 1
            else:
                found[claim] = owners[slot]
    return found


@njit(**JIT)
def join(rows: np.ndarray, starts: np.ndarray, ends: np.ndarray, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join spans, sorted by row and start, to ones that do not overlap: (int64 [spans, 3] of row, start, end; who).

    Spans that touch and have the same `who` become one; what two share belongs to the one that starts first.
    """
    joined, whose = np.empty((len(rows), 3), np.int64), np.empty(len(rows), np.int64)
    used = 0
    for index in range(len(rows)):
        row, start, end = rows[index], starts[index], ends[index]
        if used > 0 and joined[used - 1, 0] == row and joined[used - 1, 2] >= start:
            start = joined[used - 1, 2]
            if end <= start:
                continue
            if whose[used - 1] == who[index]:
                joined[used - 1, 2] = end
                continue
        joined[used, 0], joined[used, 1], joined[used, 2] = row, start, end
        whose[used] = who[index]
        used += 1
    return joined[:used], whose[:used]


@njit(**JIT)
def in_characters(offsets: np.ndarray, data: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Return spans of bytes, [row, start, end] in order, as spans of characters."""
    found = spans.copy()
    row = at = characters = np.int64(0)
    for index in range(len(spans)):
        if index == 0 or spans[index, 0] != row:
            row, characters = spans[index, 0], np.int64(0)
            at = offsets[row]
        for side in range(1, 3):
            stop = offsets[row] + spans[index, side]
            while at < stop:
                characters += (data[at] & _TOP_BITS) != _CONTINUATION
                at += 1
            found[index, side] = characters
    return found


@njit(**JIT)
def cut(offsets: np.ndarray, data: np.ndarray, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (offsets int64, data uint8) of the texts without the given spans of bytes, [row, start, end] in order."""
    rows = len(offsets) - 1
    bounds = np.zeros(rows + 1, np.int64)
    out = np.empty(offsets[rows] - offsets[0], np.uint8)
    used, span = 0, 0
    for row in range(rows):
        at = offsets[row]
        while span < len(spans) and spans[span, 0] == row:
            stop = offsets[row] + spans[span, 1]
            out[used : used + stop - at] = data[at:stop]
            used += stop - at
            at = offsets[row] + spans[span, 2]
            span += 1
        out[used : used + offsets[row + 1] - at] = data[at : offsets[row + 1]]
        used += offsets[row + 1] - at
        bounds[row + 1] = used
    return bounds, out[:used]
