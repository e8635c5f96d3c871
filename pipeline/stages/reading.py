"""Stages from a source to decided documents: read and edit a unit, measure a piece, decide it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filters.kernels.characters import characters
from filters.rule import decide
from filters.signal import measure
from pipeline.document import REJECTS, SCHEMA, Reject, rejects_batch
from pipeline.earlier import sketching
from pipeline.edit import edit
from pipeline.ledger import STATE
from pipeline.numbering import PIECES_PER_UNIT
from pipeline.plugins import GIVEN
from pipeline.read import Unit, read
from pipeline.stages.work import Message, Messages, Piece, Work, whole

PIECE_ROWS = 8192
PIECE_BYTES = 16 << 20

DOCUMENTS = SCHEMA.append(pa.field("edits", pa.list_(pa.string()))).append(pa.field("characters_read", pa.int32()))
"""A document after its edits: with the notes of the edits that changed it, and its length before them."""


def name_listed(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Yield what a list of inputs names, each under its number."""
    for one, description in work.store.read_json(messages[0].decode()):
        yield one, json.dumps(description).encode()


def read_unit(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Read and edit one unit; yield its pieces. The first piece names the unit's rejects."""
    unit = Unit.from_json(messages[0].decode())
    edits = work.plan.corpus(unit.corpus).edits
    key = work.key("read", work.plan.unit_key(unit), edits, PIECE_ROWS, PIECE_BYTES)
    if not work.store.exists(f"{key}.json"):
        work.store.write_json(f"{key}.json", _read(work, unit, edits, key))
    for index, entry in enumerate(work.store.read_json(f"{key}.json")):
        piece = Piece(number * PIECES_PER_UNIT + index, unit.corpus, **entry)
        work.progress("read", piece.rows, piece.source_bytes)
        yield piece.number, piece.pack()


def _read(work: Work, unit: Unit, edits: tuple[str, ...], key: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    waiting: list[pa.RecordBatch] = []

    def flush() -> None:
        table = pa.Table.from_batches(waiting, DOCUMENTS)
        name = f"{key}-{len(entries):04}.columns"
        work.store.write_table(name, table)
        size = pc.sum(pc.binary_length(table.column("text"))).as_py() or 0
        entries.append({"rows": table.num_rows, "text_bytes": size, "files": {"documents": name}})
        waiting.clear()

    for item in read(unit):
        if isinstance(item, Reject):
            rejects.append(item)
            continue
        waiting.append(_edited(work, item, edits))
        rows, size = sum(b.num_rows for b in waiting), sum(b.column("text").nbytes for b in waiting)
        if rows >= PIECE_ROWS or size >= PIECE_BYTES:
            flush()
    if waiting or not entries:
        flush()
    if len(entries) > PIECES_PER_UNIT:
        raise ValueError(f"{unit.path}: more than {PIECES_PER_UNIT} pieces in one unit of work")
    table = pa.Table.from_batches([rejects_batch(rejects)], REJECTS)
    sources = [work.plan.name_of(source) for source in table.column("source").to_pylist()]
    table = table.set_column(1, REJECTS.field("source"), pa.array(sources, pa.string()))
    work.store.write_table(f"{key}-rejects.parquet", table)
    entries[0]["files"] = {**entries[0]["files"], "rejects": f"{key}-rejects.parquet"}
    entries[0] |= {"source_bytes": unit.size, "rejected": table.num_rows}
    return entries


def _edited(work: Work, batch: pa.RecordBatch, edits: tuple[str, ...]) -> pa.RecordBatch:
    length = pa.array(characters(batch.column("text")))
    edited, notes = edit(batch, edits)
    sources = edited.column("source").dictionary_encode()
    names = pa.array([work.plan.name_of(source) for source in sources.dictionary.to_pylist()], pa.string())
    columns = {**dict(zip(edited.schema.names, edited.columns, strict=True)), "source": names.take(sources.indices)}
    columns |= {"edits": notes, "characters_read": length}
    return pa.RecordBatch.from_arrays([columns[f.name].cast(f.type) for f in DOCUMENTS], schema=DOCUMENTS)


def measure_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Compute every column that the rules of the piece's corpus, the deduplication and the report need."""
    piece = Messages.unpack(messages).piece
    signals = work.plan.signals(piece.corpus)
    name = (
        work.key(
            "measured",
            piece.files["documents"],
            [s.name for s in signals],
            work.plan.plugin_digest,
            sketching(work.plan.recipe),
        )
        + ".columns"
    )
    if not work.store.exists(name):
        given = sorted({column for signal in signals for column in signal.reads if column in GIVEN})
        table = work.columns(piece, "documents", given)
        schema = pa.schema([table.schema.field(column) for column in given])
        batch = pa.RecordBatch.from_arrays([whole(table, column) for column in given], schema=schema)
        work.store.write_table(name, pa.Table.from_batches([measure(batch, signals)]))
    work.progress("measure", piece.rows, piece.text_bytes)
    yield number, piece.having(measured=name).pack()


def decide_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Evaluate every rule of the corpus on every document of the piece."""
    piece = Messages.unpack(messages).piece
    rules = work.plan.rules(piece.corpus)
    name = work.key("decided", piece.files["measured"], [rule.key() for rule in rules])
    if not work.store.exists(f"{name}-state.columns"):
        wanted = sorted({rule.column for rule in rules})
        tables = [
            work.columns(piece, stage, [c for c in wanted if (c in GIVEN) == (stage == "documents")])
            for stage in ("documents", "measured")
        ]
        arrays = {c: whole(t, c) for t in tables for c in t.column_names}
        if arrays:
            columns = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
            passed, reason = decide(columns, rules)
        else:
            passed, reason = pa.RecordBatch.from_arrays([], names=[]), pa.nulls(piece.rows, pa.string())
        if passed.num_columns:
            work.store.write_table(f"{name}.columns", pa.Table.from_batches([passed]))
        empty = [pa.nulls(piece.rows, f.type) for f in STATE if f.name != "reason"]
        work.store.write_table(f"{name}-state.columns", pa.Table.from_arrays([reason, *empty], schema=STATE))
    files = {"decided": f"{name}.columns"} if rules else {}
    yield number, piece.having(**files, state=f"{name}-state.columns").pack()
