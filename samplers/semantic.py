"""Semantic duplicates inside one cluster, after SemDeDup (Abbas et al. 2023), but safe against chains.

Rows are walked best first, and a row is removed only for a row that was kept: of a, b and c, each similar to the next,
a and c stay. So every removed row is as similar as was asked to its own survivor, and what is kept removes nothing
more.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from samplers.cosine import DOUBT, checked, exact

BLOCK = 1024
"""Rows compared at once: the walk needs BLOCK² float32 beside the vectors."""


def duplicates(vectors: np.ndarray, order: np.ndarray, similarity: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (removed rows int64, their survivors int64, cosines float64), in the order of the walk.

    `vectors` are of unit length or zero, `order` is a permutation of their rows, best first. A row is removed if its
    cosine to a row kept before it is at least `similarity`, above 0 and at most 1; its survivor is the most similar of
    those, the earlier of equals. A zero vector resembles nothing. Time grows with rows × kept rows.
    """
    if not 0 < similarity <= 1:
        raise ValueError(f"similarity must be above 0 and at most 1, not {similarity}")
    order = np.asarray(order, np.int64)
    if not np.array_equal(np.sort(order), np.arange(len(vectors))):
        raise ValueError(f"order must be a permutation of the {len(vectors)} rows of vectors")
    walked = checked(vectors)[order]
    survivor, cosine = np.full(len(order), -1, np.int64), np.zeros(len(order), np.float64)
    squares = _squares(walked)
    for start in range(0, len(order), BLOCK):
        block = slice(start, min(start + BLOCK, len(order)))
        for before in range(0, start + 1, BLOCK):
            others = walked[before : before + BLOCK]
            _compare(walked, before, start, walked[block] @ others.T, squares, similarity, survivor, cosine)
    removed = np.flatnonzero(survivor >= 0)
    return order[removed], order[survivor[removed]], cosine[removed]


@njit(**JIT)
def _squares(vectors: np.ndarray) -> np.ndarray:
    squares = np.empty(len(vectors))
    for row in range(len(vectors)):
        squares[row] = exact(vectors[row], vectors[row])
    return squares


@njit(**JIT)
def _compare(
    walked: np.ndarray,
    before: int,
    start: int,
    products: np.ndarray,
    squares: np.ndarray,
    similarity: float,
    survivor: np.ndarray,
    cosine: np.ndarray,
) -> None:
    """Remove rows of the block at `start` for kept rows of the block at `before`, which may be the same block."""
    for i in range(len(products)):
        row = start + i
        for j in range(min(products.shape[1], row - before)):
            other = before + j
            if products[i, j] < similarity - DOUBT or survivor[other] >= 0:
                continue
            # lengths are 1 to rounding only; divided by them, equal vectors have the cosine 1
            exactly = min(exact(walked[row], walked[other]) / np.sqrt(squares[row] * squares[other]), 1.0)
            if exactly >= similarity and exactly > cosine[row]:
                cosine[row], survivor[row] = exactly, other
