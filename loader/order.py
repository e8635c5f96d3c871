"""In which order training goes through its sequences: pure functions of a seed and one counter.

`shuffled` is a keyed bijection, so an epoch visits every sequence once, in an order nobody stores, from any place on.
`interleaved` merges the corpora so evenly that at every moment each has had its share, to within one sequence.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

ROUNDS = 4


@lru_cache(maxsize=4096)
def key_of(*parts: int | str) -> int:
    """Return 64 bits that depend on every part: the key of one shuffle."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8, person=b"corpusmill-order")
    return int.from_bytes(digest.digest(), "little")


def shuffled(places: np.ndarray, count: int, key: int) -> np.ndarray:
    """Return where `places` (int64, each below `count`) fall in the order of `key`: a bijection of range(count).

    A Feistel network on the least even number of bits that holds `count`, walked on until it is within the range:
    one to four steps on average.
    """
    places = np.ascontiguousarray(places, np.int64)
    if count < 1 or (len(places) and not 0 <= places.min() <= places.max() < count):
        raise ValueError(f"places must lie within 0 to {count - 1}")
    return np.asarray(_all_walked(places, np.uint64(count), salts_of(key)))


@lru_cache(maxsize=4096)
def salts_of(key: int) -> np.ndarray:
    """Return the numbers that make the rounds of a key's network differ, uint64 [ROUNDS]."""
    return np.array([(key + number * 0x9E3779B97F4A7C15) % (1 << 64) for number in range(ROUNDS)], np.uint64)


@njit(cache=True)
def _all_walked(places: np.ndarray, count: np.uint64, salts: np.ndarray) -> np.ndarray:
    result = np.empty_like(places)
    for place in range(len(places)):
        result[place] = walked(places[place], count, salts)
    return result


@njit(cache=True)
def walked(place: int, count: np.uint64, salts: np.ndarray) -> np.uint64:
    """Return where one place falls among `count`: the kernel of `shuffled`."""
    half = np.uint64(1)
    while (np.uint64(1) << (half + half)) < count:
        half += np.uint64(1)
    mask = (np.uint64(1) << half) - np.uint64(1)
    x = np.uint64(place)
    while True:
        left, right = x >> half, x & mask
        for salt in salts:
            left, right = right, left ^ (mix(right + salt) & mask)
        x = (left << half) | right
        if x < count:
            return x


@njit(cache=True)
def mix(x: np.uint64) -> np.uint64:
    """Stir 64 bits well (the finaliser of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def interleaved(counts: np.ndarray) -> np.ndarray:
    """Return which corpus each place of an epoch belongs to, int16 [sum of counts].

    Corpus c comes counts[c] times. Within the first n places it has come n * counts[c] / sum times, give or take less
    than one, for every n at once: Tijdeman's solution of the chairman assignment problem (Discrete Mathematics, 1980).
    """
    counts = np.asarray(counts, np.int64)
    if len(counts) == 0 or counts.min() < 1:
        raise ValueError(f"every corpus needs at least one sequence, not {counts.tolist()}")
    return np.asarray(_interleaved(counts, int(counts.sum())))


@dataclass(frozen=True)
class Stretch:
    """Places from `start` on at which the same corpora take turns: `place_S`, a period, again and again."""

    start: int
    place_S: np.ndarray  # int16: whose turn it is
    rank_S: np.ndarray  # int64: how many turns of the period that corpus has had before
    turns_C: np.ndarray  # of each corpus in a period
    had_C: np.ndarray  # turns of each corpus before `start`


def mixed(turns_C: np.ndarray, most_C: np.ndarray) -> tuple[list[Stretch], int]:
    """Return the stretches in which corpora take turns in these proportions, and the place at which all are exhausted.

    A corpus that has had its `most_C` turns leaves; where its next turn would be, the others begin a new stretch.
    """
    turns_C, had_C = turns_C.copy(), np.zeros(len(turns_C), np.int64)
    stretches, start = [], 0
    while turns_C.any():
        left = np.flatnonzero(turns_C)
        place_S = left.astype(np.int16)[interleaved(turns_C[left])]
        rank_S = np.empty(len(place_S), np.int64)
        ends = []
        for corpus in left:
            own = np.flatnonzero(place_S == corpus)
            rank_S[own] = np.arange(len(own))
            periods, rest = divmod(int(most_C[corpus] - had_C[corpus]), len(own))
            ends.append(periods * len(place_S) + int(own[rest]))
        stretches.append(Stretch(start, place_S, rank_S, turns_C.copy(), had_C.copy()))
        periods, rest = divmod(min(ends), len(place_S))
        had_C += periods * turns_C + np.bincount(place_S[:rest], minlength=len(had_C))
        turns_C[had_C >= most_C] = 0
        start += min(ends)
    return stretches, start


@njit(cache=True)
def _interleaved(counts: np.ndarray, total: int) -> np.ndarray:
    corpora = len(counts)
    places = np.zeros(total, np.int16)
    had = np.zeros(corpora, np.int64)
    if corpora == 1:
        return places
    # all in integers, scaled by `total * slack`: share * n - had >= 1 / slack makes a corpus eligible
    slack = 2 * corpora - 2
    for place in range(total):
        chosen, earliest = -1, 0.0
        for corpus in range(corpora):
            if slack * (counts[corpus] * (place + 1) - had[corpus] * total) >= total:
                deadline = (had[corpus] + 1 - 1 / slack) / counts[corpus]
                if chosen < 0 or deadline < earliest:
                    chosen, earliest = corpus, deadline
        places[place] = chosen
        had[chosen] += 1
    return places
