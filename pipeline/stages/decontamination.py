"""The stage that finds items of evaluation sets in documents, and drops the documents that hold one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.evaluation import known_items
from pipeline.stages.state import drop, removed_batch
from pipeline.stages.work import Message, Messages, Work


def decontaminate_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Look for evaluation items in every document of a piece, dropped by a rule or not; drop those that hold one."""
    piece = Messages.unpack(messages).piece
    items = work.plan.evaluation_items
    name = work.key("contamination", piece.files["documents"], items) + ".columns"
    if not work.store.exists(name):
        found = known_items(work.store.root, items).find(work.text(piece))
        work.store.write_table(name, pa.table({"contamination": found}))
    piece = piece.having(contamination=name)
    holds = np.asarray(work.columns(piece, "contamination", ["contamination"]).column(0).is_valid())
    rows = np.intersect1d(work.alive(piece), np.flatnonzero(holds))
    removed = pa.Table.from_batches([removed_batch(rows, reason=["contaminated"] * len(rows))])
    work.progress("decontaminate", piece.rows, piece.text_bytes)
    yield number, drop(work, piece, "decontaminated", [removed]).pack()
