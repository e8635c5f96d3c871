"""Stages that remove exact and near duplicates, across all corpora.

Hashes meet in coarse buckets; equal hashes are linked to the first of their run; links make components; the members
of a component come together, with their shingle sets, in one worker, which decides (`pipeline.dedup.walk`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from filters.sketch import shingles
from pipeline.dedup import Members, components, hash_rows, links, walk
from pipeline.stages.state import drop, removed_batch
from pipeline.stages.work import Message, Messages, Piece, Work, pack, pack_rows, piece_and_row, whole
from pipeline.store import digest

BUCKET_BYTES = 64 << 20
"""Source bytes for which one more bucket is opened: a bucket's rows fit one worker easily."""

MEMBER = pa.schema([pa.field("row", pa.int64()), pa.field("component", pa.int64())])


def buckets(work: Work) -> int:
    """Return into how many buckets hashes and components are spread: by size, so that none grows with the corpus."""
    size = sum(unit.size for unit in work.plan.units)
    return int(max(8, min(1 << 16, size // BUCKET_BYTES)))


def hash_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Yield (bucket, rows of hash and node) for the documents of a piece that are alive."""
    piece = Messages.unpack(messages).piece
    rows = work.alive(piece)
    columns = work.columns(piece, "measured", _hash_columns(work)).take(pa.array(rows))
    content = whole(columns, "content_hash")
    bands = whole(columns, "bands") if work.plan.near is not None else None
    yield from hash_rows(piece.nodes(rows), content, bands, buckets(work))


def link_bucket(work: Work, bucket: int, messages: list[bytes]) -> Iterator[Message]:
    """Yield the links between documents of one bucket whose hashes are equal."""
    for link in links(messages):
        yield 0, link


def connect(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Find the components of all links; yield to each piece which of its rows are in which component."""
    nodes, roots = components(messages)
    pieces, rows = piece_and_row(nodes)
    starts = np.flatnonzero(np.diff(pieces, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(pieces)], strict=True):
        batch = pa.RecordBatch.from_arrays([pa.array(rows[start:stop]), pa.array(roots[start:stop])], schema=MEMBER)
        yield int(pieces[start]), pack_rows(batch)


def gather_members(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Write what the walk must know of the members in a piece; yield the file to the buckets of their components."""
    together = Messages.unpack(messages)
    if not together.tables:
        return
    piece = together.piece
    table = pa.concat_tables(together.tables).sort_by("row").combine_chunks()
    rows, roots = table.column("row").to_numpy(), table.column("component").to_numpy()
    names = digest(rows.tobytes(), roots.tobytes())
    for bucket in np.unique(_bucket_of(roots, buckets(work))):
        name = (
            work.key("members", piece.files["measured"], names, int(bucket), work.plan.priority(piece.corpus))
            + ".arrow"
        )
        if not work.store.exists(name):
            mine = _bucket_of(roots, buckets(work)) == bucket
            work.store.write(name, pack_rows(_members(work, piece, rows[mine], roots[mine])))
        yield int(bucket), pack({"file": name})


def _bucket_of(roots: np.ndarray, count: int) -> np.ndarray:
    mixed = roots.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(40)) % np.uint64(count)


def _members(work: Work, piece: Piece, rows: np.ndarray, roots: np.ndarray) -> pa.RecordBatch:
    take = pa.array(rows)
    columns = work.columns(piece, "measured", ["characters", *_hash_columns(work)]).take(take)
    names = work.columns(piece, "documents", ["id", "source"]).take(take)
    content = np.frombuffer(b"".join(whole(columns, "content_hash").to_pylist()), np.uint8).reshape(len(rows), 16)
    if work.plan.near is not None:
        bands = np.zeros((len(rows), 14), np.uint64)
        column = whole(columns, "bands")
        known = np.asarray(column.is_valid())
        packed = b"".join(column.drop_null().to_pylist())
        bands[known] = np.frombuffer(packed, np.uint64).reshape(-1, 14)
        offsets, hashes = shingles(work.text(piece, rows))
    else:
        bands = np.zeros((len(rows), 0), np.uint64)
        offsets, hashes = np.zeros(len(rows) + 1, np.int64), np.zeros(0, np.uint64)
    members = Members(
        component=roots,
        node=piece.nodes(rows),
        priority=np.full(len(rows), work.plan.priority(piece.corpus), np.int32),
        characters=whole(columns, "characters").to_numpy().astype(np.int64),
        content=content,
        bands=bands,
        shingle_offsets=offsets,
        shingles=hashes,
    )
    batch = members.to_batch()
    for name in ("id", "source"):
        batch = batch.append_column(name, whole(names, name))
    return batch


def walk_bucket(work: Work, bucket: int, messages: list[bytes]) -> Iterator[Message]:
    """Decide which members of a bucket's components are duplicates; yield to each piece its removed rows."""
    batches = [
        pa.ipc.open_stream(work.store.read(v["file"])).read_next_batch() for v in Messages.unpack(messages).values
    ]
    members = Members.concat([Members.from_batch(batch) for batch in batches])
    removed = walk(members, work.plan.near)
    if not len(removed.node):
        return
    every = pa.Table.from_batches([batch.select(["node", "id", "source"]) for batch in batches]).combine_chunks()
    order = np.argsort(every.column("node").to_numpy(), kind="stable")
    found = order[np.searchsorted(every.column("node").to_numpy(), removed.survivor, sorter=order)]
    survivors = every.take(pa.array(found))
    reasons = np.where(removed.exact, "exact_duplicate", "near_duplicate")
    pieces, rows = piece_and_row(removed.node)
    for number in np.unique(pieces):
        mine = np.flatnonzero(pieces == number)
        names = survivors.take(pa.array(mine))
        batch = removed_batch(
            rows[mine], reasons[mine], whole(names, "id"), whole(names, "source"), removed.similarity[mine]
        )
        yield int(number), pack_rows(batch)


def drop_duplicates(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Give a piece the state in which its duplicates are dropped."""
    together = Messages.unpack(messages)
    piece = drop(work, together.piece, "duplicates", together.tables)
    work.progress("deduplicate", piece.rows, piece.text_bytes)
    yield number, piece.pack()


def _hash_columns(work: Work) -> list[str]:
    return ["content_hash", "bands"] if work.plan.near is not None else ["content_hash"]
