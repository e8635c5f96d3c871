"""A draw is uniform, and belongs to the document alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplers.draw import draw

SEEDS = st.integers(0, 2**64 - 1)


def numbered(count: int) -> pa.Array:
    return pa.array([f"crawl-{number:05d}" for number in range(count)])


@settings(deadline=None)
@given(SEEDS, st.lists(st.text(), max_size=20), st.data())
def test_neither_batch_nor_order_matters(seed: int, ids: list[str], data: st.DataObject) -> None:
    whole = draw(seed, pa.array(ids, pa.string()))
    order = data.draw(st.permutations(range(len(ids))))
    shuffled = draw(seed, pa.array([ids[i] for i in order], pa.string()))
    assert shuffled.tolist() == whole[list(order)].tolist()
    at = data.draw(st.integers(0, len(ids)))
    array = pa.array(ids, pa.large_string())
    assert [*draw(seed, array[:at]), *draw(seed, array[at:])] == whole.tolist()


@settings(deadline=None)
@given(SEEDS, st.text(), st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_a_salt_tells_equal_ids_apart(seed: int, name: str, one: bytes, other: bytes) -> None:
    ids, salt = pa.array([name, name]), pa.array([one, other], pa.binary(16))
    first, second = draw(seed, ids, salt)
    assert (first == second) == (one == other)


@pytest.mark.parametrize("seed", [0, 1, 2, 7, 2**63])
def test_draws_are_uniform(seed: int) -> None:
    drawn = np.sort(draw(seed, numbered(100_000)))
    assert drawn[0] >= 0
    assert drawn[-1] < 1
    # Kolmogorov and Smirnov: beyond this distance lies one uniform sample in a million
    distance = np.abs(drawn - (np.arange(len(drawn)) + 0.5) / len(drawn)).max()
    assert distance < np.sqrt(np.log(2e6) / (2 * len(drawn)))


def test_draws_of_two_seeds_and_of_neighbours_know_nothing_of_each_other() -> None:
    ids = numbered(100_000)
    first, second = draw(1, ids), draw(2, ids)
    counts, _, _ = np.histogram2d(first, second, bins=16)
    expected = len(ids) / counts.size
    # chi-square of 255 degrees of freedom: 5 deviations above its mean
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 5 * np.sqrt(2 * 255)
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 5 / np.sqrt(len(ids))


def test_draws_stay_what_they_are() -> None:
    """A run of last year must give the same shards today: these are XXH3-64's upper 53 bits, seed 7."""
    assert draw(7, pa.array(["", "개념", "crawl-00#17"])).tolist() == EXPECTED


EXPECTED = [0.5673046426951326, 0.08127908652866278, 0.9618067172540813]


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_beyond_64_bits_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=r"from 0 to 2\*\*64 - 1"):
        draw(seed, numbered(1))


def test_nulls_and_wrong_salts_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 ids are null"):
        draw(1, pa.array(["a", None]))
    with pytest.raises(TypeError, match="not int64"):
        draw(1, pa.array([1]))
    with pytest.raises(ValueError, match="2 for 1 ids"):
        draw(1, pa.array(["a"]), pa.array([b"x" * 16] * 2, pa.binary(16)))
