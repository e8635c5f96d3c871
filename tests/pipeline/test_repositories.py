"""Sketches of repositories: merging them in any order is the same, and they tell the similarity that sets have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stages import repositories
from pipeline.stages.repositories import Repository, similarity


def of(numbers: set[int]) -> Repository:
    shingles = np.array(sorted(numbers), np.uint64)[: repositories.SKETCH]
    return Repository("r", min(numbers, default=9), len(numbers), np.array([min(numbers, default=9)]), shingles)


@given(st.lists(st.sets(st.integers(0, 60), min_size=1), min_size=1, max_size=5), st.integers(1, 80), st.randoms())
@settings(deadline=None)
def test_parts_in_any_order_are_the_sketch_of_the_whole(parts, size, chance):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repositories, "SKETCH", size)
        shuffled = chance.sample(parts, len(parts))
        merged = of(shuffled[0])
        for part in shuffled[1:]:
            merged = merged.merged(of(part))
        assert merged.shingles.tolist() == sorted(set().union(*parts))[:size]
        assert merged.characters == sum(map(len, parts))
        assert merged.lanes.tolist() == [min(map(min, parts))]


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_whole_sets_have_their_exact_similarity(one, other):
    expected = len(one & other) / len(one | other) if one | other else 0.0
    assert similarity(of(one).shingles, of(other).shingles) == expected


def test_sets_cut_short_err_as_theory_says(monkeypatch):
    monkeypatch.setattr(repositories, "SKETCH", 1000)
    random = np.random.default_rng(4)
    errors = []
    for exact in (0.5, 0.8, 0.95) * 40:
        shared = round(6000 * 2 * exact / (1 + exact))
        numbers = random.choice(1 << 40, 12_000 - shared, replace=False)
        one, other = np.sort(numbers[:6000]).astype(np.uint64), np.sort(numbers[6000 - shared :]).astype(np.uint64)
        found = similarity(one[:1000], other[:1000])
        errors.append((found - shared / (12_000 - shared)) / np.sqrt(exact * (1 - exact) / 1000))
    assert abs(np.mean(errors)) < 0.4
    assert 0.7 < np.std(errors) < 1.3
