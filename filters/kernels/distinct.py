"""The distinct ones of some hashes, sorted.

Places are unsigned here, for numba would look at each signed one whether it counts from the end.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT

_ONE = np.uint64(1)
_SPREAD_MOST = 1 << 12
_MOVES = 8
"""Places by which a hash moves, on average, before it is better to sort otherwise."""


@njit(**JIT)
def sort_distinct(numbers: np.ndarray, count: int, out: np.ndarray) -> int:
    """Write the distinct ones of `count` hashes to `out`, sorted; return how many.

    Hashes are spread evenly: dealt out by their high bits, about one comes to a part, and each is near its place then.
    """
    spread, bits = 8, np.uint64(64 - 3)
    while spread < count and spread < _SPREAD_MOST:
        spread, bits = 2 * spread, bits - _ONE
    ends = np.zeros(spread + 1, np.uint32)
    for index in range(count):
        ends[(numbers[index] >> bits) + _ONE] += np.uint32(1)
    end = np.uint32(0)
    for part in range(spread):
        end += ends[part]
        ends[part] = end
    for index in range(count):
        part = numbers[index] >> bits
        out[np.uint64(ends[part])] = numbers[index]
        ends[part] += np.uint32(1)
    return _distinct(out, count) if _insert(out, count) else _sort_otherwise(out, count)


@njit(inline="always", **JIT)
def _insert(out: np.ndarray, count: int) -> bool:
    """Sort hashes that are near their places; False, leaving them in disorder, as soon as they are not."""
    most, moved, largest = np.uint64(_MOVES * count), np.uint64(0), np.uint64(0)
    for index in range(count):
        number = out[index]
        if number >= largest:
            largest = number
            continue
        place = np.uint64(index)
        while place > 0 and out[place - _ONE] > number:
            out[place] = out[place - _ONE]
            place -= _ONE
        out[place] = number
        moved += np.uint64(index) - place
        if moved > most:
            return False
    return True


@njit(**JIT)
def _sort_otherwise(out: np.ndarray, count: int) -> int:
    out[:count].sort()
    return _distinct(out, count)


@njit(inline="always", **JIT)
def _distinct(out: np.ndarray, count: int) -> int:
    """Keep each of `count` sorted hashes once; return how many there are."""
    used, last = np.uint64(min(count, 1)), out[0] if count else _ONE
    for index in range(1, count):
        here = out[index]
        out[used] = here
        used += np.uint64(here != last)
        last = here
    return int(np.int64(used))
