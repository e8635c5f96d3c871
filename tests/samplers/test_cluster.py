"""Clusters depend on the set of vectors, and a row's cluster on that row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplers.cluster import assign, fit


def unit(seed: int, rows: int, dimensions: int = 16) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 200), st.integers(1, 12))
def test_order_and_repetition_do_not_matter(seed: int, rows: int, clusters: int) -> None:
    vectors = unit(seed, rows)
    chance = np.random.default_rng(seed)
    again = np.concatenate([vectors, vectors[chance.integers(0, rows, 30)]])[chance.permutation(rows + 30)]
    assert fit(vectors, clusters, 7).tobytes() == fit(again, clusters, 7).tobytes()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(0, 200), st.lists(st.integers(0, 200), max_size=4))
def test_parts_are_assigned_as_the_whole(seed: int, rows: int, cuts: list[int]) -> None:
    vectors, centroids = unit(seed, rows), unit(seed + 1, 9)
    whole = assign(vectors, centroids)
    parts = [assign(part, centroids) for part in np.split(vectors, sorted(min(cut, rows) for cut in cuts))]
    for at in range(2):
        assert np.concatenate([part[at] for part in parts]).tobytes() == whole[at].tobytes()


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 50), st.integers(1, 9))
def test_the_nearest_centroid_is_the_naive_one(seed: int, rows: int, clusters: int) -> None:
    vectors, centroids = unit(seed, rows), unit(seed + 1, clusters)
    products = vectors.astype(np.float64) @ centroids.astype(np.float64).T
    nearest, cosine = assign(vectors, centroids)
    assert nearest.tolist() == products.argmax(1).tolist()
    assert np.allclose(cosine, products.max(1), atol=1e-6)


def test_bunches_are_found() -> None:
    centres = np.eye(8, 32, dtype=np.float32)
    vectors = np.repeat(centres, 50, axis=0) + 0.05 * np.random.default_rng(3).normal(size=(400, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest, cosine = assign(vectors, fit(vectors, 8, 1))
    assert [len(set(group)) for group in nearest.reshape(8, 50)] == [1] * 8
    assert len(set(nearest.tolist())) == 8
    assert cosine.min() > 0.9


def test_more_rounds_than_none_serve_the_vectors_better() -> None:
    vectors = unit(5, 1200)
    chosen = vectors[:: len(vectors) // 20][:20]
    assert assign(vectors, fit(vectors, 20, 1))[1].mean() > assign(vectors, chosen)[1].mean() + 0.05


@pytest.mark.parametrize(("rows", "distinct"), [(0, 0), (1, 1), (3, 3), (5, 3)])
def test_there_are_no_more_centroids_than_distinct_vectors(rows: int, distinct: int) -> None:
    vectors = np.eye(3, 4, dtype=np.float32)[np.arange(rows) % 3]
    centroids = fit(vectors, 10, 1)
    assert centroids.shape == (distinct, 4)
    assert np.allclose(np.linalg.norm(centroids, axis=1), 1)
    assert sorted(assign(vectors[:distinct], centroids)[0].tolist()) == list(range(distinct))


def test_zero_vectors_have_no_cluster_and_move_none() -> None:
    vectors = np.concatenate([unit(1, 40), np.zeros((5, 16), np.float32)])
    centroids = fit(vectors, 4, 1)
    assert centroids.tobytes() == fit(vectors[:40], 4, 1).tobytes()
    nearest, cosine = assign(vectors, centroids)
    assert (nearest[40:].tolist(), cosine[40:].tolist()) == ([-1] * 5, [0.0] * 5)
    assert (nearest[:40] >= 0).all()
    assert assign(vectors, np.zeros((0, 16), np.float32))[0].tolist() == [-1] * 45


def test_vectors_that_cancel_each_other_leave_unit_centroids() -> None:
    vectors = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
    assert np.allclose(np.linalg.norm(fit(vectors, 1, 1), axis=1), 1)


def test_the_seed_draws_which_of_many_vectors_are_looked_at() -> None:
    vectors = unit(9, 1500, 4)
    assert fit(vectors, 2, 1).tobytes() == fit(vectors, 2, 1).tobytes()
    assert fit(vectors, 2, 1).tobytes() != fit(vectors, 2, 2).tobytes()


def test_no_clusters_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        fit(unit(1, 3), 0, 1)
