"""MinHash signatures of shingle hashes, and the hashes of their bands.

One pass serves all lanes (one permutation hashing: Li, Owen, Zhang 2012): the high bits of a shingle's hash say to which of
PLACES it belongs, the first of which are lanes, and the smallest low half is a lane's value. A lane to which no shingle belongs
takes the minimum over all of them under a permutation of its own, `multiplier * x + increment mod 2^32`. So two sets agree in a
lane with probability J, of whatever size they are: either some shingle of their union belongs to the lane, and the smallest is
in both with probability J; or none does, and both use that permutation. (Values of the two kinds meet by chance only, 2^-32.)
The error is that of textbook MinHash or less: a root mean square of sqrt(J (1 - J) / LANES).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.intrinsics import fold
from filters.kernels.shingles import Hashing, hash_words, longest, roll, room_for_words

GROUPS, ROWS = 14, 8
"""FineWeb's parameters (Penedo et al. 2024, section 3.4): similarity s shares a band with 1 - (1 - s^8)^14."""
LANES = GROUPS * ROWS
BANDS = 2 * GROUPS
"""Neighbouring lanes make a band, and lanes that lie GROUPS apart make another: what meets in none of the first 14 may
meet in one of the others, so that of pairs at 0.8 only 1 % are missed, not 8 %, and all are verified anyway."""

PLACES = 128
"""The power of two that LANES fit in: to which place a hash belongs is said by its bits, without a multiplication."""

_HALF, _PLACE = np.uint64(32), np.uint64(64 - 7)
_NOTHING = np.uint32(0xFFFFFFFF)  # no shingle belongs to the lane
_PI = (0x243F6A8885A308D3, 0x13198A2E03707345)
"""Where the lanes' constants come from: the fraction of π. The key is in the shingles' hashes already."""


def _constants(state: int, count: int) -> np.ndarray:
    """Return `count` 32-bit numbers of the splitmix64 sequence that starts at `state`."""
    numbers = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % (1 << 64)
        mixed = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % (1 << 64)
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % (1 << 64)
        numbers.append((mixed ^ (mixed >> 31)) >> 32)
    return np.array(numbers, np.uint32)


MULTIPLIER = _constants(_PI[0], LANES) | np.uint32(1)
INCREMENT = _constants(_PI[1], LANES)


@njit(**JIT)
def minima(shingles: np.ndarray, count: int, places: np.ndarray, lanes: np.ndarray) -> None:
    """Write the value of every lane over `count` > 0 shingles; `places` is room for uint32 [PLACES]."""
    places[:] = _NOTHING
    for index in range(count):
        place = shingles[index] >> _PLACE
        places[place] = min(places[place], np.uint32(shingles[index]))
    missing = 0
    for lane in range(LANES):
        lanes[lane] = places[lane]
        missing += places[lane] == _NOTHING
    if missing == 0:
        return
    empty = places  # of no more use: from here on a list of the lanes that are empty, and the last of them once more
    found = 0
    for lane in range(LANES):
        empty[found] = lane
        found += lanes[lane] == _NOTHING
    empty[found] = empty[found - 1]
    for at in range(0, found, 2):  # two at a time: to read the shingles takes longer than to multiply them
        one, other = empty[at], empty[at + 1]
        low, other_low = _NOTHING, _NOTHING
        for index in range(count):
            number = np.uint32(shingles[index])
            low = min(low, np.uint32(MULTIPLIER[one] * number + INCREMENT[one]))
            other_low = min(other_low, np.uint32(MULTIPLIER[other] * number + INCREMENT[other]))
        lanes[one], lanes[other] = low, other_low


@njit(**JIT)
def hash_bands(lanes: np.ndarray, how: Hashing, out: np.ndarray) -> None:
    """Write one hash per band of ROWS lanes; the number of the band is mixed in, so bands never meet each other."""
    for band in range(BANDS):
        state = how.start ^ np.uint64(band)
        lane, step = (band * ROWS, 1) if band < GROUPS else (band - GROUPS, GROUPS)
        for _ in range(ROWS // 2):
            state = fold(state ^ (np.uint64(lanes[lane]) << _HALF | np.uint64(lanes[lane + step])), how.multiplier)
            lane += 2 * step
        out[band] = state


@njit(**JIT)
def signatures(offsets: np.ndarray, data: np.ndarray, how: Hashing) -> tuple[np.ndarray, np.ndarray]:
    """Return (lanes uint32 [rows, LANES], shingles int64 [rows]: how many, repeated ones too).

    A row without a shingle has lanes of 0.
    """
    rows, most = len(offsets) - 1, longest(offsets)
    words = np.empty(room_for_words(most, how), np.uint64)
    lowered = np.zeros(most * 3 // 2 + 8, np.uint8)
    places = np.empty(PLACES, np.uint32)
    lanes, counts = np.zeros((rows, LANES), np.uint32), np.zeros(rows, np.int64)
    for row in range(rows):
        counts[row] = roll(words, hash_words(data, offsets[row], offsets[row + 1], how, lowered, words), how)
        if counts[row] > 0:
            minima(words, counts[row], places, lanes[row])
    return lanes, counts


@njit(**JIT)
def bands(lanes: np.ndarray, how: Hashing) -> np.ndarray:
    """Return uint64 [rows, BANDS] for lanes uint32 [rows, LANES]."""
    out = np.empty((len(lanes), BANDS), np.uint64)
    for row in range(len(lanes)):
        hash_bands(lanes[row], how, out[row])
    return out
