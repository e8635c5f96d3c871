"""What has become of each document of a piece so far: one small table per stage that drops, each made from the last.

`reason` is null while the document is alive. `survivor…` and `similarity` say what it duplicates, `copies` how many
documents a survivor stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ledger import STATE
from pipeline.stages.work import Piece, Work, pack_rows
from pipeline.store import digest

REMOVED = pa.schema([pa.field("row", pa.int64()), *STATE])
"""Rows that a stage drops, as messages carry them."""


def removed_batch(rows: np.ndarray, **columns: Any) -> pa.RecordBatch:
    """Return rows that a stage drops, or knows something new of; columns that are not named are null."""
    arrays = [pa.array(rows, pa.int64())]
    for field in STATE:
        value = columns.pop(field.name, None)
        array = pa.nulls(len(rows)) if value is None else value if isinstance(value, pa.Array) else pa.array(value)
        arrays.append(array.cast(field.type))
    if columns:
        raise TypeError(f"no such columns: {', '.join(columns)}")
    return pa.RecordBatch.from_arrays(arrays, schema=REMOVED)


def drop(work: Work, piece: Piece, stage: str, removed: Sequence[pa.Table]) -> Piece:
    """Return the piece with a state in which the `removed` rows are dropped, writing its file if it is new.

    Rows whose reason is null are not dropped: their other columns are new. What is known of `copies` stays known.
    """
    tables = [table for table in removed if table.num_rows]
    if not tables:
        return piece
    table = pa.concat_tables(tables).sort_by("row").combine_chunks()
    name = work.key(stage, piece.files["state"], digest(*map(pack_rows, table.to_batches()))) + ".columns"
    if not work.store.exists(name):
        old = work.columns(piece, "state", STATE.names)
        rows = table.column("row").to_numpy()
        index = np.arange(piece.rows)
        index[rows] = piece.rows + np.arange(len(rows))
        both = pa.concat_tables([old, table.select(STATE.names)]).combine_chunks()
        new = both.take(pa.array(index))
        copies = pc.coalesce(new.column("copies"), old.column("copies"))
        work.store.write_table(name, new.set_column(STATE.get_field_index("copies"), STATE.field("copies"), copies))
    return piece.having(state=name)
