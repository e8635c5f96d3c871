"""Fit documents into rows of one length: best fit, longest first, nothing cut away.

A document longer than a row is cut into whole rows and a rest; nothing is dropped. Pieces of one length are placed
together, so the cost is that of counting, not of a search per document.

Shapes: D documents, P pieces, W rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit


@dataclass(frozen=True)
class Packing:
    """Pieces of documents, laid into rows: row w holds pieces[rows_W1[w]:rows_W1[w + 1]], in that order."""

    rows_W1: np.ndarray  # int64 [rows + 1]
    document_P: np.ndarray  # int64: which of the documents given
    start_P: np.ndarray  # int64: the piece's first token within its document
    length_P: np.ndarray  # int32

    def __len__(self) -> int:
        return len(self.rows_W1) - 1


def pack(lengths_D: np.ndarray, row_length: int) -> Packing:
    """Lay documents of these lengths into rows of `row_length` tokens, by best fit with the longest first.

    Documents without tokens are in no row. Equal input gives equal rows; the order of rows is that of their longest
    piece, to be shuffled by the reader.
    """
    if row_length < 1:
        raise ValueError(f"a row needs at least one token, not {row_length}")
    lengths_D = np.ascontiguousarray(lengths_D, np.int64)
    document_P, start_P, length_P = _cut(lengths_D, row_length)
    row_P, rows = _best_fit(length_P, row_length)
    order, rows_W1 = _by_row(row_P, rows)
    return Packing(rows_W1, document_P[order], start_P[order], length_P[order])


@njit(cache=True)
def _cut(lengths_D: np.ndarray, row_length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut documents into pieces of at most a row, and sort the pieces by length, longest first, stably."""
    ends = np.zeros(row_length + 2, np.int64)  # pieces per length, then where each length's pieces start
    for length in lengths_D:
        ends[row_length] += length // row_length
        if length % row_length:
            ends[length % row_length] += 1
    total = ends.sum()
    place = 0
    for length in range(row_length, 0, -1):
        place, ends[length] = place + ends[length], place
    document_P, start_P = np.empty(total, np.int64), np.empty(total, np.int64)
    length_P = np.empty(total, np.int32)
    for document in range(len(lengths_D)):
        start = 0
        while start < lengths_D[document]:
            length = min(row_length, lengths_D[document] - start)
            place = ends[length]
            ends[length] += 1
            document_P[place], start_P[place], length_P[place] = document, start, length
            start += length
    return document_P, start_P, length_P


@njit(cache=True)
def _best_fit(length_P: np.ndarray, row_length: int) -> tuple[np.ndarray, int]:
    """Return the row of each piece, pieces given longest first, and the number of rows.

    Rows with the same room left form a stack. A piece goes to a row of the least room that holds it; since that row
    then has even less room, the next piece of the same length goes there too, as long as it fits.
    """
    row_P = np.empty(len(length_P), np.int32)
    top = np.full(row_length + 1, -1, np.int64)  # per room: the last row with it
    below = np.empty(len(length_P), np.int64)  # per row: the next in its stack
    rows = 0
    place = 0
    while place < len(length_P):
        length = length_P[place]
        end = place
        while end < len(length_P) and length_P[end] == length:
            end += 1
        room = length
        while place < end:
            while room < row_length and top[room] < 0:
                room += 1
            if top[room] >= 0:
                row = top[room]
                top[room] = below[row]
                left = room
            else:
                row, left = rows, row_length
                rows += 1
            while place < end and left >= length:
                row_P[place] = row
                left -= length
                place += 1
            below[row] = top[left]
            top[left] = row
    return row_P, rows


@njit(cache=True)
def _by_row(row_P: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pieces row by row, and where each row's pieces start."""
    rows_W1 = np.zeros(rows + 1, np.int64)
    for row in row_P:
        rows_W1[row + 1] += 1
    for row in range(rows):
        rows_W1[row + 1] += rows_W1[row]
    next_W = rows_W1[:-1].copy()
    order = np.empty(len(row_P), np.int64)
    for piece in range(len(row_P)):
        order[next_W[row_P[piece]]] = piece
        next_W[row_P[piece]] += 1
    return order, rows_W1
