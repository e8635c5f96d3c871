"""Cells stay small enough for one process, whatever the vectors, and are clusters while those are small."""

from __future__ import annotations

import numpy as np
import pytest

from samplers.cells import cut, place
from samplers.cluster import assign, fit

SHARE = 0.25
MOST, CELL = 400, 200


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def corpus(kind: str, rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Return (vectors, draws): spread out, in one dense cluster, or nearly all the same one."""
    chance = np.random.default_rng(7)
    spread = chance.standard_normal((rows, 16))
    if kind == "dense":
        spread = spread * 0.1 + np.eye(16)[0]
    if kind == "same":
        spread[: rows * 3 // 4] = np.eye(16)[1]
    return unit(spread), chance.random(rows)


def cells_of(vectors: np.ndarray, draws: np.ndarray, clusters: int = 3):
    few = np.flatnonzero(draws < SHARE)
    sample = vectors[few[np.argsort(draws[few])]]
    return cut(fit(sample, clusters, 1), sample, SHARE, CELL, MOST)


@pytest.mark.parametrize("kind", ["spread", "dense", "same"])
def test_no_cell_is_much_larger_than_was_asked(kind):
    vectors, draws = corpus(kind)
    cells = cells_of(vectors, draws)
    cluster, _, cell = place(vectors, draws, cells)
    assert np.bincount(cell).max() <= 2 * MOST
    assert len(np.unique(cell)) > 3
    for one in np.unique(cell):  # a cell lies in one cluster
        assert len(np.unique(cluster[cell == one])) == 1


@pytest.mark.parametrize("kind", ["spread", "same"])
def test_where_a_vector_goes_depends_on_it_alone(kind):
    vectors, draws = corpus(kind, 900)
    cells = cells_of(*corpus(kind))
    together = place(vectors, draws, cells)
    apart = [place(vectors[rows], draws[rows], cells) for rows in np.split(np.arange(900), [1, 250, 251])]
    for whole, parts in zip(together, zip(*apart, strict=True), strict=True):
        assert np.array_equal(whole, np.concatenate(parts))


def test_while_clusters_are_small_cells_are_clusters():
    vectors, draws = corpus("spread", 500)
    centres = fit(vectors, 4, 1)
    cells = cut(centres, vectors, 1.0, CELL, MOST)
    cluster, cosine, cell = place(vectors, draws, cells)
    nearest, cosines = assign(vectors, centres)
    assert np.array_equal(cluster, nearest)
    assert np.array_equal(cosine, cosines)
    assert np.array_equal(cell, nearest)


def test_documents_without_words_have_no_cell():
    vectors, draws = corpus("spread", 500)
    cells = cells_of(vectors, draws)
    assert place(np.zeros((3, 16), np.float32), np.zeros(3), cells)[2].tolist() == [-1, -1, -1]
    nothing = cut(fit(np.zeros((0, 16), np.float32), 4, 1), np.zeros((0, 16), np.float32), 1.0, CELL, MOST)
    assert place(vectors, draws, nothing)[2].tolist() == [-1] * 500
