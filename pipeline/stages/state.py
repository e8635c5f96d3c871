"""What has become of each document of a piece so far: one small table per stage that drops, each made from the last.

`reason` is null while the document is alive. `survivor…` and `similarity` say what it duplicates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.ledger import STATE
from pipeline.stages.work import Piece, Work

REMOVED = pa.schema([pa.field("row", pa.int64()), *STATE])
"""Rows that a stage drops, as messages carry them."""


def removed_batch(
    rows: np.ndarray,
    reasons: Sequence[str] | np.ndarray,
    survivors: pa.Array,
    sources: pa.Array,
    similarity: np.ndarray,
) -> pa.RecordBatch:
    arrays = [pa.array(rows, pa.int64()), pa.array(reasons, pa.string()), survivors, sources]
    arrays.append(pa.array(similarity, pa.float32()))
    return pa.RecordBatch.from_arrays(
        [array.cast(f.type) for array, f in zip(arrays, REMOVED, strict=True)], schema=REMOVED
    )


def drop(work: Work, piece: Piece, stage: str, removed: Sequence[pa.Table]) -> Piece:
    """Return the piece with a state in which the `removed` rows are dropped, writing its file if it is new."""
    tables = [table for table in removed if table.num_rows]
    if not tables:
        return piece
    table = pa.concat_tables(tables).sort_by("row").combine_chunks()
    name = work.key(stage, piece.files["state"], *(table.column(c).to_pylist() for c in REMOVED.names)) + ".parquet"
    if not work.store.exists(name):
        old = work.columns(piece, "state", STATE.names)
        rows = table.column("row").to_numpy()
        index = np.arange(piece.rows)
        index[rows] = piece.rows + np.arange(len(rows))
        both = pa.concat_tables([old, table.select(STATE.names)]).combine_chunks()
        work.store.write_table(name, both.take(pa.array(index)))
    return piece.having(state=name)
