"""The last stages: finish each piece, publish groups of them, and then the run, its manifest last.

What all pieces have to say is added up in groups first, side by side; the last stage adds up groups. Parts are named by the
number of their piece: a group needs to know of no other.
"""

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
from pipeline.examples import Examples, choose, merge
from pipeline.ledger import LATER, ledger_part, ledger_schema, numeric_columns
from pipeline.lookup import ROW_GROUP, entries, merged
from pipeline.numbering import group_of, part_name
from pipeline.shard import ShardInfo
from pipeline.shards import index_files
from pipeline.stages.room import lookup_name
from pipeline.stages.state import drop, removed_batch
from pipeline.stages.tokenising import counted_tokens
from pipeline.stages.work import Message, Messages, Piece, Work, pack, whole
from pipeline.statistics import Nested, Tally, add, tally
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


def group_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Yield a finished piece to its group; what else it gets says that there is room for it in the run folder."""
    yield group_of(number), Messages.unpack(messages).piece.pack()


def publish_group(work: Work, group: int, messages: list[bytes]) -> Iterator[Message]:
    """Put the parts of a group of finished pieces under their public names; write what they add up to, and yield it."""
    pieces = Messages.unpack(messages).pieces
    store = work.store
    name = work.key("published", [[piece.number, piece.files["finished"], piece.rejected] for piece in pieces])
    lookup = lookup_name(group)
    files: dict[str, str] = {lookup: f"{name}-lookup.parquet"}
    for piece in pieces:
        for folder in ("documents", "ledger", *(["index"] if work.plan.deduplicates else [])):
            files[part_name(folder, piece.number)] = f"{piece.files['finished']}-{folder}.parquet"
        if "rejects" in piece.files:
            files[part_name("rejects", piece.number)] = piece.files["rejects"]
    if not store.exists(f"{name}.json"):
        ledgers = [f"{piece.files['finished']}-ledger.parquet" for piece in pieces]
        names = store.each(lambda ledger: store.read_table(ledger, ["id", "url"]), ledgers)
        found = (entries(p.number, t.column("id"), t.column("url")) for p, t in zip(pieces, names, strict=True))
        store.write_table(files[lookup], merged(found), row_group=ROW_GROUP)
        tallies, examples = (
            store.each(store.read_json, [f"{piece.files['finished']}{kind}.json" for piece in pieces])
            for kind in ("", "-examples")
        )
        rejected: dict[str, int] = {}
        for piece in pieces:
            rejected[piece.corpus] = rejected.get(piece.corpus, 0) + piece.rejected
        sums = {
            "tally": asdict(Tally.total(tallies)),
            "examples": merge(examples),
            "rejected": rejected,
            "read": sum(piece.rows for piece in pieces),
        }
        store.write_json(f"{name}.json", sums)
    _do(store.each(lambda public: store.link(files[public], public), files))
    rows = manifest.counted(store, sorted(files))
    yield 0, pack({"group": group, "file": f"{name}.json", "rows": rows, "tokenizer": pieces[0].files["tokenizer"]})


def _do(results: Iterator[None]) -> None:
    for _ in results:
        pass


def publish(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Add up the groups, check the accounting identity, and write the manifest last.

    When more records were rejected than the budget allows, everything is published but the manifest, which says so
    under another name: a folder without `manifest.json` is not a finished run.
    """
    values = Messages.unpack(messages).values
    groups = sorted((value for value in values if "group" in value), key=lambda value: int(value["group"]))
    shards = sorted((value for value in values if "shard" in value), key=lambda value: int(value["shard"]))
    store = work.store
    tokenizer = store.read(groups[0]["tokenizer"])
    infos = [ShardInfo(**value["info"]) for value in shards]
    about = {"recipe": work.plan.recipe.to_json(), "run": work.plan.key}
    for name, data in index_files(infos, tokenizer, Tokenizer.from_json(tokenizer).end_of_text, about).items():
        store.write(f"shards/{name}", data)
    total, read = Tally(), 0
    rejected: Nested = dict.fromkeys(work.plan.recipe.corpora, 0)
    rows: Nested = {}
    examples: Examples = {}
    for group in groups:
        sums = store.read_json(group["file"])
        total += Tally(**sums["tally"])
        read += sums["read"]
        rejected, rows = add(rejected, sums["rejected"]), add(rows, group["rows"])
        examples = merge([examples, sums["examples"]])
    store.write_json("examples.json", examples)
    outcome = manifest.make(work.plan, total, rejected, infos, rows, read)
    over = manifest.share_rejected(outcome) > work.plan.recipe.budget.rejects
    store.write_json(manifest.OVER_BUDGET if over else manifest.NAME, outcome)
    work.progress("publish", read, 0)
    yield 0, pack({"published": manifest.NAME})
