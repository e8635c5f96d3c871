"""A quotient as a column: null where it is not defined."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def ratio(parts: np.ndarray, wholes: np.ndarray) -> pa.FloatArray:
    """Return parts / wholes as float32, divided in float64; null where the whole is 0."""
    undefined = wholes == 0
    return pa.array(np.divide(parts, np.where(undefined, 1, wholes)).astype(np.float32), mask=undefined)
