"""Spherical k-means: centroids of unit vectors, and the centroid nearest to each.

Clusters only bound the work of `semantic`: two documents are compared if they share one. What decides is the cosine
there.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit

from filters.kernels.buffers import JIT
from samplers.cosine import DOUBT, checked, exact
from samplers.draw import draw

ROUNDS = 20
"""Rounds of k-means at most; it ends sooner where no vector moves."""
ROWS_PER_CENTROID = 64
"""Vectors looked at per centroid. Clusters only bound the work: of 50,000 real documents in 256 clusters, four times as many
vectors found 669 duplicates and not 663, in more than twice the time (faiss takes between 39 and 256)."""

_BLOCK = 4096  # rows of one matrix product


def fit(vectors: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Return the centroids: float32 [clusters, dimensions], unit length.

    They depend on the set of vectors alone, not on order or repetition. Where more than ROWS_PER_CENTROID * `clusters`
    vectors are distinct, those are looked at that the seed draws; where fewer than `clusters` are, each is a centroid.
    Zero vectors are left out; there may be no centroid at all. First centroids: k-means++ (Arthur and Vassilvitskii
    2007).
    """
    if clusters < 1:
        raise ValueError(f"clusters must be at least 1, not {clusters}")
    vectors = _distinct(checked(vectors))
    bound = ROWS_PER_CENTROID * clusters
    if len(vectors) > bound:
        drawn = draw(seed, pa.array([f"row {row}" for row in range(len(vectors))]))
        vectors = vectors[np.sort(np.argsort(drawn, kind="stable")[:bound])]
    if len(vectors) <= clusters:
        return _unit(vectors.astype(np.float64))
    centroids = _spread(vectors, clusters, seed)
    before = np.full(len(vectors), -1, np.int32)
    for _ in range(ROUNDS):
        nearest, cosine = assign(vectors, centroids)
        if np.array_equal(nearest, before):
            break
        before = nearest
        sums, members = _sums(vectors, nearest, len(centroids))
        # a centroid that lost its members takes the vector that is served worst
        lonely = np.flatnonzero((members == 0) | (np.abs(sums).max(1) == 0))
        sums[lonely] = vectors[np.argsort(cosine, kind="stable")[: len(lonely)]]
        centroids = _unit(sums)
    return centroids


def assign(vectors: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (nearest centroid int32 [rows], cosine to it float32 [rows]); of equally near ones the first.

    A zero vector has no cluster: −1, with cosine 0. A row's result depends on that row and the centroids alone.
    """
    vectors, centroids = checked(vectors), checked(centroids)
    nearest, cosine = np.full(len(vectors), -1, np.int32), np.zeros(len(vectors), np.float32)
    if len(centroids):
        for start in range(0, len(vectors), _BLOCK):
            rows = slice(start, start + _BLOCK)
            _nearest(vectors[rows], centroids, vectors[rows] @ centroids.T, nearest[rows], cosine[rows])
    return nearest, cosine


@njit(**JIT)
def _nearest(
    vectors: np.ndarray, centroids: np.ndarray, products: np.ndarray, nearest: np.ndarray, cosine: np.ndarray
) -> None:
    for row in range(len(vectors)):
        if not vectors[row].any():
            continue
        least = products[row].max() - np.float32(DOUBT)
        best = -2.0
        for cluster in range(len(centroids)):
            if products[row, cluster] >= least:
                exactly = exact(vectors[row], centroids[cluster])
                if exactly > best:
                    best, nearest[row] = exactly, cluster
        cosine[row] = best


def _distinct(vectors: np.ndarray) -> np.ndarray:
    """Return each vector other than zero once, in the order of their bytes."""
    vectors = vectors[vectors.any(1)] + np.float32(0)  # −0 becomes 0
    if not vectors.size:
        return vectors
    rows = vectors.view(np.dtype((np.void, vectors.shape[1] * vectors.itemsize))).ravel()
    _, first = np.unique(rows, return_index=True)
    return np.asarray(vectors[first])


def _spread(vectors: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Return first centroids: each drawn with odds that grow with the distance to those before it."""
    drawn = draw(seed, pa.array([f"centroid {number}" for number in range(clusters)]))
    chosen = [int(drawn[0] * len(vectors))]
    distance = np.full(len(vectors), np.inf)
    for number in range(1, clusters):
        np.minimum(distance, _distances(vectors, chosen[-1]), out=distance)
        ladder = np.cumsum(distance)
        chosen.append(int(min(np.searchsorted(ladder, drawn[number] * ladder[-1], side="right"), len(vectors) - 1)))
    return _unit(vectors[chosen].astype(np.float64))


@njit(**JIT)
def _distances(vectors: np.ndarray, chosen: int) -> np.ndarray:
    """Return half the squared distance of each unit vector to the chosen one, exactly 0 for itself."""
    distances = np.empty(len(vectors))
    for row in range(len(vectors)):
        distances[row] = max(0.0, 1.0 - exact(vectors[row], vectors[chosen])) if row != chosen else 0.0
    return distances


@njit(**JIT)
def _sums(vectors: np.ndarray, nearest: np.ndarray, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (sum of each cluster's vectors float64 [clusters, dimensions], members int64 [clusters])."""
    sums, members = np.zeros((clusters, vectors.shape[1])), np.zeros(clusters, np.int64)
    for row in range(len(vectors)):
        cluster = nearest[row]
        members[cluster] += 1
        for i in range(vectors.shape[1]):
            sums[cluster, i] += np.float64(vectors[row, i])
    return sums, members


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.sqrt(np.square(vectors).sum(1, keepdims=True))).astype(np.float32)
