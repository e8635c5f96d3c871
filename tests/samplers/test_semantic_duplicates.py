"""Semantic duplicates: what is removed is near its own survivor, and what is kept removes nothing more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplers import semantic
from samplers.semantic import duplicates


def some(seed: int, rows: int, dimensions: int = 8) -> np.ndarray:
    """Return unit vectors in a few tight bunches, some of them equal, some zero."""
    chance = np.random.default_rng(seed)
    bunches = chance.normal(size=(max(1, rows // 6), dimensions))
    vectors = bunches[chance.integers(0, len(bunches), rows)] + 0.2 * chance.normal(size=(rows, dimensions))
    vectors[chance.random(rows) < 0.2] = bunches[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[chance.random(rows) < 0.1] = 0
    return vectors.astype(np.float32)


def naive(vectors: np.ndarray, order: np.ndarray, similarity: float) -> dict[int, tuple[int, float]]:
    kept: list[int] = []
    removed = {}
    for row in order.tolist():
        a = vectors[row].astype(np.float64)
        best, nearest = 0.0, -1
        for other in kept:
            b = vectors[other].astype(np.float64)
            lengths = np.linalg.norm(a) * np.linalg.norm(b)
            cosine = float(a @ b) / lengths if lengths else 0.0
            if cosine >= similarity and cosine > best + 1e-12:
                best, nearest = cosine, other
        if nearest < 0:
            kept.append(row)
        else:
            removed[row] = (nearest, best)
    return removed


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(0, 60), st.sampled_from([0.3, 0.7, 0.9, 0.99]), st.sampled_from([1, 3, 1024]))
def test_the_blocked_walk_is_the_naive_walk(seed: int, rows: int, similarity: float, block: int) -> None:
    vectors = some(seed, rows)
    order = np.random.default_rng(seed + 1).permutation(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic, "BLOCK", block)
        removed, survivors, cosines = duplicates(vectors, order, similarity)
    expected = naive(vectors, order, similarity)
    assert set(removed.tolist()) == set(expected)
    for row, survivor, cosine in zip(removed.tolist(), survivors.tolist(), cosines.tolist(), strict=True):
        assert cosine == pytest.approx(expected[row][1], abs=1e-9)
        # rows that are equal to rounding may stand for each other
        assert np.allclose(vectors[survivor], vectors[expected[row][0]], atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 300), st.sampled_from([0.5, 0.9, 1.0]))
def test_what_is_removed_is_near_a_survivor_and_what_is_kept_is_a_fixed_point(
    seed: int, rows: int, similarity: float
) -> None:
    vectors, order = some(seed, rows), np.arange(rows)
    removed, survivors, cosines = duplicates(vectors, order, similarity)
    kept = np.setdiff1d(order, removed)
    assert len(removed) + len(kept) == rows
    assert np.isin(survivors, kept).all()
    assert (survivors < removed).all()
    assert (cosines >= similarity).all()
    assert np.allclose((vectors[removed] * vectors[survivors]).sum(1), cosines, atol=1e-6)
    assert len(duplicates(vectors[kept], np.arange(len(kept)), similarity)[0]) == 0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 200))
def test_where_rows_are_stored_does_not_matter(seed: int, rows: int) -> None:
    vectors = some(seed, rows)
    moved = np.random.default_rng(seed).permutation(rows)  # row i of the whole is at place[i] of the moved
    place = np.argsort(moved)
    one = duplicates(vectors, np.arange(rows), 0.8)
    other = duplicates(vectors[moved], place, 0.8)
    assert (place[one[0]].tolist(), place[one[1]].tolist(), one[2].tolist()) == tuple(part.tolist() for part in other)


def test_a_chain_does_not_fall_over() -> None:
    """Each vector is 10° from the next: neighbours are near, what is kept is 20° apart."""
    angles = np.deg2rad(10.0 * np.arange(30))
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    removed, survivors, _ = duplicates(vectors, np.arange(30), float(np.cos(np.deg2rad(11))))
    assert removed.tolist() == list(range(1, 30, 2))
    assert np.abs(removed - survivors).tolist() == [1] * 15


def test_equal_rows_leave_the_first_and_zero_rows_are_left_alone() -> None:
    vectors = np.zeros((6, 256), np.float32)
    vectors[:4] = np.random.default_rng(0).normal(size=256)
    removed, survivors, cosines = duplicates(vectors, np.array([5, 2, 0, 1, 3, 4]), 1.0)
    assert (removed.tolist(), survivors.tolist(), cosines.tolist()) == ([0, 1, 3], [2, 2, 2], [1.0, 1.0, 1.0])


@pytest.mark.parametrize("rows", [0, 1])
def test_one_document_or_none_has_no_duplicates(rows: int) -> None:
    assert [len(part) for part in duplicates(np.ones((rows, 4), np.float32) / 2, np.arange(rows), 0.9)] == [0, 0, 0]


def test_wrong_arguments_are_refused() -> None:
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match="permutation of the 3 rows"):
        duplicates(vectors, np.array([0, 1, 1]), 0.9)
    with pytest.raises(ValueError, match="above 0 and at most 1, not 95"):
        duplicates(vectors, np.arange(3), 95)
    vectors[1, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 3 vectors are not finite, first in row 1"):
        duplicates(vectors, np.arange(3), 0.9)
