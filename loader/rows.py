"""Rows of tokens, read from memory-mapped shards.

A row holds whole documents or pieces of long ones, packed by best fit. Each token of the corpora is a target exactly
once an epoch; its input is the token before it in its document, and before the first stands END_OF_TEXT. Which
documents a token may see is said by numbers per row.

Shapes: B rows, T tokens of a row, D documents, P pieces, W rows in all.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np
from numba import njit

from loader.infill import MARKS, infill
from loader.packing import Packing, pack
from pipeline.shards import Shards

IGNORED = -1  # as a target: nothing is to be learned here


@dataclass(frozen=True)
class Batch:
    """Rows of tokens, int32 [B, T] each. Where a row is not full, targets are IGNORED."""

    inputs_BT: np.ndarray
    targets_BT: np.ndarray
    documents_BT: np.ndarray  # numbers the documents within each row

    def __getitem__(self, rows: slice) -> Batch:
        return Batch(self.inputs_BT[rows], self.targets_BT[rows], self.documents_BT[rows])

    def __len__(self) -> int:
        return len(self.inputs_BT)

    @property
    def tokens(self) -> int:
        """How many targets there are to learn."""
        return int((self.targets_BT != IGNORED).sum())


@dataclass(frozen=True)
class Piece:
    """A stretch of a document within a row: where it came from, and which of the document's tokens it holds."""

    corpus: str
    id: str
    source: str
    url: str | None
    document: int  # counted over all shards
    length: int  # of the whole document, in tokens
    start: int
    tokens: int
    infilled: bool  # its middle comes last, with MARKS marks


class Rows:
    """Documents packed into rows; `read` gives rows by number, whatever their order."""

    def __init__(
        self,
        shards: Shards,
        shard_D: np.ndarray,
        document_D: np.ndarray,
        row_length: int,
        skipped_D: np.ndarray,
        infilled_D: np.ndarray,
    ) -> None:
        """Pack documents. Those that are `skipped_D` leave their place in the rows empty: all else stays where it is.

        `infilled_D` is 0 for documents that are read as they are, and any other number to draw cuts from, uint64.
        """
        self._shards, self._row_length = shards, row_length
        offsets = [shards.offsets(number) for number in range(len(shards.infos))]
        starts = np.empty(len(shard_D), np.int64)
        lengths = np.empty(len(shard_D), np.int64)
        for number, ends in enumerate(offsets):
            here = shard_D == number
            starts[here] = ends[document_D[here]]
            lengths[here] = ends[document_D[here] + 1] - ends[document_D[here]]
        # what is to be filled in is cut beforehand, so that a part and its marks fit in a row
        room = row_length - MARKS
        parts_D = np.where(infilled_D > 0, -(-lengths // max(1, room)), 1)
        document_Q = np.repeat(np.arange(len(lengths)), parts_D)
        start_Q = (np.arange(len(document_Q)) - np.repeat(np.cumsum(parts_D) - parts_D, parts_D)) * room
        length_Q = lengths[document_Q]
        marked_Q = infilled_D[document_Q] > 0
        length_Q[marked_Q] = np.minimum(length_Q - start_Q, room)[marked_Q] + MARKS
        packing: Packing = pack(length_Q, row_length)
        packed_P = document_Q[packing.document_P]
        here_P = ~skipped_D[packed_P]
        self._rows_W1 = np.concatenate([[0], np.cumsum(here_P)])[packing.rows_W1]
        packed_P = packed_P[here_P]
        self._shard_P = shard_D[packed_P].astype(np.int32)
        self._document_P = document_D[packed_P]
        self._start_P = (start_Q[packing.document_P] + packing.start_P)[here_P]
        self._first_P = starts[packed_P] + self._start_P
        self._length_P = packing.length_P[here_P]
        self._infilled_P = infilled_D[packed_P]

    def __len__(self) -> int:
        return len(self._rows_W1) - 1

    @property
    def tokens(self) -> int:
        return int(self._length_P.sum())

    def read(self, rows_B: np.ndarray, epochs_B: np.ndarray) -> Batch:
        """Return the rows numbered `rows_B`; the epoch of each says how documents are cut to be filled in."""
        marks = np.array(self._shards.infilling or (0,) * MARKS, np.int32)
        into = Batch(*(np.empty((len(rows_B), self._row_length), np.int32) for _ in range(3)))
        for shard in self._shards_of(rows_B):
            _copy(
                self._shards.tokens(shard),
                shard,
                self._shard_P,
                self._first_P,
                self._start_P,
                self._length_P,
                self._infilled_P,
                self._rows_W1,
                rows_B,
                epochs_B,
                self._shards.end_of_text,
                marks,
                into.inputs_BT,
                into.targets_BT,
                into.documents_BT,
            )
        return into

    def _shards_of(self, rows_B: np.ndarray) -> list[int]:
        """Return the shards that these rows have pieces of."""
        count = len(self._shards.infos)
        if count == 1:
            return [0]
        return [int(shard) for shard in np.flatnonzero(_present(count, self._shard_P, self._rows_W1, rows_B))]

    def documents(self, rows_B: np.ndarray) -> np.ndarray:
        """Return the document of each token of these rows, counted over all shards, int64 [B, T]; -1 where none is."""
        before_S = np.cumsum([0, *(info.documents for info in self._shards.infos)])
        found_BT = np.full((len(rows_B), self._row_length), -1)
        for place, row in enumerate(rows_B):
            pieces = slice(self._rows_W1[row], self._rows_W1[row + 1])
            numbers = before_S[self._shard_P[pieces]] + self._document_P[pieces]
            filled = np.repeat(numbers, self._length_P[pieces])
            found_BT[place, : len(filled)] = filled
        return found_BT

    def pieces(self, row: int) -> Iterator[Piece]:
        """Yield what row number `row` is made of."""
        for piece in range(self._rows_W1[row], self._rows_W1[row + 1]):
            shard, place = int(self._shard_P[piece]), int(self._document_P[piece])
            document = self._shards.documents(shard).slice(place, 1)
            about = document.select(["corpus", "id", "source", "url"]).to_pylist()[0]
            number = sum(info.documents for info in self._shards.infos[:shard]) + place
            length, infilled = document.column("tokens")[0].as_py(), bool(self._infilled_P[piece])
            start, tokens = int(self._start_P[piece]), int(self._length_P[piece]) - MARKS * infilled
            yield Piece(**about, document=number, length=length, start=start, tokens=tokens, infilled=infilled)

    def holding(self, documents: np.ndarray) -> np.ndarray:
        """Return the numbers of the rows that hold any of these documents, which are counted over all shards."""
        before_S = np.cumsum([0, *(info.documents for info in self._shards.infos)])
        pieces = np.flatnonzero(np.isin(before_S[self._shard_P] + self._document_P, documents))
        return np.unique(np.searchsorted(self._rows_W1, pieces, side="right") - 1)


def joined(parts: list[Rows]) -> Rows:
    """Return the rows of all parts, which read the same shards, numbered on from part to part."""
    whole = copy(parts[0])
    ends = np.cumsum([0, *(part._rows_W1[-1] for part in parts)])
    shifted = [part._rows_W1[1:] + end for part, end in zip(parts, ends, strict=False)]
    whole._rows_W1 = np.concatenate([[0], *shifted])
    for name in ("_shard_P", "_document_P", "_start_P", "_first_P", "_length_P", "_infilled_P"):
        setattr(whole, name, np.concatenate([getattr(part, name) for part in parts]))
    return whole


@njit(cache=True)
def _present(count: int, shard_P: np.ndarray, rows_W1: np.ndarray, rows_B: np.ndarray) -> np.ndarray:
    found = np.zeros(count, np.bool_)
    for row in rows_B:
        for piece in range(rows_W1[row], rows_W1[row + 1]):
            found[shard_P[piece]] = True
    return found


@njit(cache=True)
def _copy(
    tokens: np.ndarray,
    shard: int,
    shard_P: np.ndarray,
    first_P: np.ndarray,
    start_P: np.ndarray,
    length_P: np.ndarray,
    infilled_P: np.ndarray,
    rows_W1: np.ndarray,
    rows_B: np.ndarray,
    epochs_B: np.ndarray,
    end_of_text: int,
    marks: np.ndarray,
    inputs_BT: np.ndarray,
    targets_BT: np.ndarray,
    documents_BT: np.ndarray,
) -> None:
    """Copy this shard's pieces of the rows asked for, and mark what no piece fills."""
    for at in range(len(rows_B)):
        row, place = rows_B[at], 0
        for piece in range(rows_W1[row], rows_W1[row + 1]):
            length = length_P[piece]
            if shard_P[piece] == shard:
                # slices walked from 0 let the compiler copy many tokens at a time
                read = tokens[first_P[piece] : first_P[piece] + length]
                inputs = inputs_BT[at, place : place + length]
                targets = targets_BT[at, place : place + length]
                documents = documents_BT[at, place : place + length]
                if infilled_P[piece]:
                    whole = read[: length - MARKS]
                    infill(whole, infilled_P[piece], epochs_B[at], start_P[piece], end_of_text, marks, targets)
                    inputs[1:] = targets[:-1]
                    documents[:] = piece - rows_W1[row]
                else:
                    for number in range(length):
                        targets[number] = read[number]
                        documents[number] = piece - rows_W1[row]
                    for number in range(length - 1):
                        inputs[number + 1] = read[number]
                inputs[0] = tokens[first_P[piece] - 1] if start_P[piece] else end_of_text
            place += length
        inputs_BT[at, place:] = end_of_text
        targets_BT[at, place:] = IGNORED
        documents_BT[at, place:] = rows_W1[row + 1] - rows_W1[row]
