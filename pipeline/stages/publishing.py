"""The last stages: finish each piece (its part of documents and ledger), and publish the run, its manifest last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import manifest
from pipeline.document import SCHEMA
from pipeline.earlier import INDEX, index_schema
from pipeline.examples import choose, merge
from pipeline.ledger import LATER, ledger_part, ledger_schema, numeric_columns
from pipeline.shards import ShardInfo, index_files
from pipeline.stages.state import drop, removed_batch
from pipeline.stages.tokenising import counted_tokens
from pipeline.stages.work import Message, Messages, Piece, Work, pack, whole
from pipeline.statistics import Tally, tally
from pipeline.tokens import Tokenizer

KEPT_SCHEMA = pa.schema([*SCHEMA, pa.field("language", pa.string()), pa.field("tokens", pa.int32())])

FINISHED_FROM = ("documents", "measured", "decided", "contamination", "state", "repeats", "clusters", "tokens")
"""The stages whose files make a piece's part of the ledger."""


def finish_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Apply the mixture's cut and write the piece's kept documents, its part of the ledger, and their tally."""
    together = Messages.unpack(messages)
    piece = together.piece
    for value in together.values:
        piece = _cut(work, piece, work.store.read_json(value["cuts"])[piece.corpus])
    schema = ledger_schema(work.plan)
    depends = [piece.files.get(s, "") for s in FINISHED_FROM]
    name = work.key("finished", depends, schema.names)
    if not work.store.exists(f"{name}.json"):
        ledger = ledger_part(schema, piece.rows, _columns(work, piece))
        kept = ledger.column("reason").is_null()
        given = work.store.read_table(piece.files["documents"], SCHEMA.names)
        documents = given.append_column("language", ledger.column("language")).append_column(
            "tokens", ledger.column("tokens")
        )
        documents = documents.filter(kept).select(KEPT_SCHEMA.names).cast(KEPT_SCHEMA)
        work.store.write_table(f"{name}-documents.parquet", documents)
        work.store.write_table(f"{name}-ledger.parquet", ledger)
        if work.plan.deduplicates:
            work.store.write_table(f"{name}-index.parquet", _index(work, piece, ledger))
        written = work.store.read_table(f"{name}-ledger.parquet")
        bounds = {rule.name: rule.column for rule in work.plan.rules(piece.corpus)}
        rules = {piece.corpus: list(bounds)}
        by_source = [piece.corpus] if work.plan.corpus(piece.corpus).read.format not in ("text", "code") else []
        drawn = work.columns(piece, "tokens", ["draw"]).column("draw").to_numpy()
        work.store.write_json(f"{name}-examples.json", choose(written, drawn, work.text(piece), bounds))
        work.store.write_json(f"{name}.json", asdict(tally(written, rules, numeric_columns(work.plan), by_source)))
    work.progress("finish", piece.rows, piece.text_bytes)
    yield number, piece.having(finished=name).pack()


def _index(work: Work, piece: Piece, ledger: pa.Table) -> pa.Table:
    """Return what later runs must know of the documents that deduplication kept: see `pipeline.earlier`."""
    reason = ledger.column("reason")
    compared = pc.or_(reason.is_null(), pc.is_in(reason, pa.array(LATER)))
    rows = np.flatnonzero(np.asarray(compared))
    before = whole(work.store.read_table(piece.files["deduplicated"], ["text"]), "text")
    elsewhere = np.asarray(reason.is_null())
    if piece.files["deduplicated"] != piece.files["documents"]:
        elsewhere &= np.asarray(pc.equal(before, work.text(piece)))
    columns = {"text": pc.if_else(pa.array(elsewhere), pa.scalar(None, pa.large_string()), before)}
    columns |= {name: whole(ledger, name) for name in ("id", "source", "characters")}
    measured = work.store.read_table(piece.files["measured"], None)
    for name in ("content_hash", "bands"):
        hashed = name in measured.column_names
        columns[name] = whole(measured, name) if hashed else pa.nulls(piece.rows, INDEX.field(name).type)
    schema = index_schema(work.plan.recipe)
    return pa.table([columns[field.name].take(pa.array(rows)) for field in schema], schema=schema)


def _cut(work: Work, piece: Piece, cut: float) -> Piece:
    rows, _, draws = counted_tokens(work, piece)
    rows = rows[draws >= cut]
    removed = removed_batch(rows, reason=["mixture"] * len(rows))
    return drop(work, piece, "mixed", [pa.Table.from_batches([removed])])


def _columns(work: Work, piece: Piece) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for stage in ("documents", "measured", "decided", "contamination", "state", "repeats", "tokens"):
        if stage in piece.files:
            names = None if stage != "documents" else [*SCHEMA.names[:-2], "edits", "characters_read"]
            table = work.store.read_table(piece.files[stage], names)
            columns |= {name: table.column(name) for name in table.column_names}
    if "clusters" in piece.files:
        assigned = pa.ipc.open_stream(work.store.read(piece.files["clusters"])).read_next_batch()
        for name in ("cluster", "cluster_cosine"):
            columns[name] = _scattered(piece.rows, assigned.column("row"), assigned.column(name))
    return columns


def _scattered(rows: int, at: pa.Array, values: pa.Array) -> pa.Array:
    """Return an array of `rows` values: `values` where `at` says, null elsewhere."""
    index = np.full(rows, -1, np.int64)
    index[np.asarray(at)] = np.arange(len(at))
    return values.take(pa.array(index, mask=index < 0))


def _do(results: Iterator[None]) -> None:
    for _ in results:
        pass


def publish(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Put every part under its public name, check the accounting identity, and write the manifest last.

    When more records were rejected than the budget allows, everything is published but the manifest, which says so
    under another name: a folder without `manifest.json` is not a finished run.
    """
    together = Messages.unpack(messages)
    store = work.store
    store.remove(manifest.NAME)
    store.remove(manifest.OVER_BUDGET)
    pieces = together.pieces
    files: dict[str, str] = {}
    for part, piece in enumerate(pieces):
        for folder in ("documents", "ledger", *(["index"] if work.plan.deduplicates else [])):
            files[f"{folder}/part-{part:05}.parquet"] = f"{piece.files['finished']}-{folder}.parquet"
    for part, piece in enumerate(p for p in pieces if "rejects" in p.files):
        files[f"rejects/part-{part:05}.parquet"] = piece.files["rejects"]
    shards = sorted((value for value in together.values if "shard" in value), key=lambda value: value["shard"])
    infos = [ShardInfo(**value["info"]) for value in shards]
    for value, info in zip(shards, infos, strict=True):
        files[f"shards/{info.file}"] = value["file"]
    total = Tally.total(store.each(store.read_json, [f"{piece.files['finished']}.json" for piece in pieces]))
    rejected: dict[str, int] = dict.fromkeys(work.plan.recipe.corpora, 0)
    for piece in pieces:
        rejected[piece.corpus] += piece.rejected
    tokenizer = work.store.read(pieces[0].files["tokenizer"])
    about = {"recipe": work.plan.recipe.to_json(), "run": work.plan.key}
    written = index_files(infos, tokenizer, Tokenizer.from_json(tokenizer).end_of_text, about)
    for folder in ("documents", "index", "ledger", "rejects", "shards"):
        wanted = {*files, *(f"shards/{name}" for name in written)}
        stale = [name for name in store.names(folder) if name not in wanted]
        _do(store.each(store.remove, stale))
    _do(store.each(lambda public: store.link(files[public], public), files))
    for name, data in written.items():
        store.write(f"shards/{name}", data)
    found = manifest.counted(store, sorted(files))
    examples = store.each(store.read_json, [f"{piece.files['finished']}-examples.json" for piece in pieces])
    store.write_json("examples.json", merge(examples))
    read = sum(piece.rows for piece in pieces)
    outcome = manifest.make(work.plan, total, rejected, infos, found, read)
    over = manifest.share_rejected(outcome) > work.plan.recipe.budget.rejects
    store.write_json(manifest.OVER_BUDGET if over else manifest.NAME, outcome)
    work.progress("publish", read, 0)
    yield 0, pack({"published": manifest.NAME})
