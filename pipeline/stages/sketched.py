"""What hashes come from: the documents of a piece that are alive, or a part of the index of an earlier run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import pyarrow as pa

from pipeline.earlier import Part
from pipeline.stages.work import Piece, Work, whole

NEVER = float("inf")


class Sketched(Protocol):
    """Documents with their hashes, in rows; `version` changes when a hash does."""

    number: int
    fixed: bool
    version: list[object]

    @property
    def run(self) -> str | None: ...

    def rows(self) -> np.ndarray: ...

    def columns(self, names: list[str], rows: np.ndarray) -> pa.Table: ...

    def text(self) -> pa.Array:
        """Return the texts of all rows."""
        ...


class OfPiece:
    """The documents of a piece that nothing has dropped so far."""

    fixed, run = False, None

    def __init__(self, work: Work, piece: Piece) -> None:
        self._work, self._piece = work, piece
        self.number = piece.number
        self.version: list[object] = [piece.files["measured"], piece.files["state"]]

    def rows(self) -> np.ndarray:
        return self._work.alive(self._piece)

    def columns(self, names: list[str], rows: np.ndarray) -> pa.Table:
        found: dict[str, pa.Array] = {}
        given = [name for name in names if name in ("id", "source", "date")]
        measured = [name for name in names if name not in given]
        for stage, some in (("documents", given), ("measured", measured)):
            if some:
                table = self._work.columns(self._piece, stage, some).take(pa.array(rows))
                found |= {name: whole(table, name) for name in some}
        return pa.table(found)

    def text(self) -> pa.Array:
        return self._work.text(self._piece)


class OfIndex:
    """The documents of a part of an earlier run's index: they stay, whatever comes."""

    fixed = True

    def __init__(self, number: int, part: Part) -> None:
        self._part = part
        self.number, self.run = number, part.run
        self.version: list[object] = [part.key, part.name]

    def rows(self) -> np.ndarray:
        return np.arange(self._part.rows)

    def columns(self, names: list[str], rows: np.ndarray) -> pa.Table:
        return self._part.read(names).take(pa.array(rows))

    def text(self) -> pa.Array:
        return self._part.text()


def preference(work: Work, piece: Piece, rows: np.ndarray) -> np.ndarray:
    """Return float64 numbers of which the smallest stays, as the recipe's `keep` says; what has no value comes last."""
    assert work.plan.recipe.deduplicate is not None
    keep = work.plan.recipe.deduplicate.keep
    documents = OfPiece(work, piece)
    if keep.by == "priority":
        return np.zeros(len(rows))
    if keep.by == "newest":
        dates = whole(documents.columns(["date"], rows), "date").to_pylist()
        return np.array([_age(date) for date in dates], np.float64)
    column = keep.column if keep.column is not None else "characters"
    values = whole(documents.columns([column], rows), column).cast(pa.float64())
    return np.nan_to_num(-np.asarray(values.fill_null(float("nan"))), nan=NEVER, posinf=NEVER, neginf=-NEVER)


def _age(date: str | None) -> float:
    """Return minus the seconds since 1970 of a date as ISO 8601 writes it; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(date or "")
    except ValueError:
        return NEVER
    return -(moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
