"""Laws of the order: every sequence once an epoch, every corpus its share at every moment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.order import interleaved, key_of, shuffled


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_an_epoch_visits_every_place_once(count: int, key: int) -> None:
    assert np.array_equal(np.sort(shuffled(np.arange(count), count, key)), np.arange(count))


@given(
    count=st.integers(1, 10**12), places=st.lists(st.integers(0, 10**12), max_size=20), key=st.integers(0, 2**64 - 1)
)
def test_a_place_falls_where_it_falls_whoever_is_asked_with_it(count: int, places: list[int], key: int) -> None:
    asked = np.array([place % count for place in places], np.int64)
    together = shuffled(asked, count, key)
    assert [int(shuffled(asked[i : i + 1], count, key)[0]) for i in range(len(asked))] == together.tolist()


def test_other_keys_give_other_orders_and_neighbours_part() -> None:
    one, other = (shuffled(np.arange(1000), 1000, key_of(seed, 0)) for seed in (1, 2))
    assert (one == other).mean() < 0.02
    assert (np.abs(np.diff(one)) == 1).mean() < 0.02
    assert abs(np.corrcoef(np.arange(1000), one)[0, 1]) < 0.15


def test_places_outside_are_refused() -> None:
    with pytest.raises(ValueError, match="within 0 to 4"):
        shuffled(np.array([5]), 5, 1)


@settings(max_examples=150, deadline=None)
@given(counts=st.lists(st.integers(1, 120), min_size=1, max_size=9))
def test_every_corpus_has_its_share_at_every_moment_to_within_one(counts: list[int]) -> None:
    places = interleaved(np.array(counts))
    had = np.cumsum(places[:, None] == np.arange(len(counts)), axis=0)
    due = np.arange(1, len(places) + 1)[:, None] * np.array(counts) / sum(counts)
    assert had[-1].tolist() == counts
    assert np.abs(had - due).max() < 1


def test_a_corpus_without_sequences_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        interleaved(np.array([3, 0]))
