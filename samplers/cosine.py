"""Cosines that do not depend on the batch: fast by BLAS where that is enough, exact where a decision hangs on one.

A matrix product's last bits change with its shape and the number of threads. So products only propose; what is near the
decision is computed again in float64, one pair at a time, in one order.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT

DOUBT = 1e-4
"""How far a float32 product of unit vectors may stray from the exact cosine; it strays by under 1e-6."""


def checked(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors as contiguous float32; raise ValueError unless they are a finite matrix."""
    if vectors.ndim != 2:
        raise ValueError(f"vectors must be a matrix [rows, dimensions], not of shape {vectors.shape}")
    vectors = np.ascontiguousarray(vectors, np.float32)
    faulty = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(faulty):
        raise ValueError(f"{len(faulty)} of {len(vectors)} vectors are not finite, first in row {faulty[0]}")
    return vectors


@njit(**JIT)
def exact(a: np.ndarray, b: np.ndarray) -> float:
    """Return the dot product of two float32 vectors, summed in float64; exact(a, b) is exact(b, a)."""
    even = odd = 0.0  # two sums, so that additions need not wait for each other
    size = len(a)
    for i in range(0, size - 1, 2):
        even += np.float64(a[i]) * np.float64(b[i])
        odd += np.float64(a[i + 1]) * np.float64(b[i + 1])
    if size & 1:
        even += np.float64(a[size - 1]) * np.float64(b[size - 1])
    return even + odd
