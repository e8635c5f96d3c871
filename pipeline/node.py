"""The number by which a run knows a row: its piece in the high half, its row in the piece in the low half."""

from __future__ import annotations

import numpy as np

ROW_BITS = 32


def nodes_of(piece: int, rows: np.ndarray) -> np.ndarray:
    """Return the nodes, int64, of rows of a piece."""
    return (np.int64(piece) << ROW_BITS) | rows.astype(np.int64)


def piece_and_row(nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return nodes >> ROW_BITS, nodes & ((1 << ROW_BITS) - 1)
