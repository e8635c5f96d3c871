"""The kernel sorts as numpy does, also what is not spread as hashes are."""

from __future__ import annotations

import numpy as np
import pytest

from filters.kernels.distinct import sort_distinct


def distinct(numbers: np.ndarray) -> list[int]:
    out = np.empty(len(numbers), np.uint64)
    return out[: sort_distinct(numbers, len(numbers), out)].tolist()


@pytest.mark.parametrize("bits", [64, 40, 6, 1])
def test_any_numbers_come_out_sorted_and_once(bits):
    chance = np.random.default_rng(bits)
    for count in (0, 1, 2, 3, 31, 32, 33, 556, 5000, 20_000):
        numbers = (
            chance.integers(0, 1 << bits, count, np.uint64, endpoint=False)
            if bits < 64
            else chance.integers(0, (1 << 64) - 1, count, np.uint64, endpoint=True)
        )
        assert distinct(numbers) == np.unique(numbers).tolist()


def test_numbers_that_all_fall_into_one_part_do_not_cost_their_square():
    numbers = np.repeat(np.arange(200_000, dtype=np.uint64)[::-1], 2)  # half an hour, were each moved to its place
    assert distinct(numbers) == list(range(200_000))
