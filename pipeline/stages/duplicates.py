"""Stages that remove exact and near duplicates, across all corpora and against earlier runs.

Hashes meet in coarse buckets; equal hashes are linked to the first of their run; links make components; the members
of a component come together, with their shingle sets, in one worker, which decides (`pipeline.dedup.walk`). Rows travel
in files in parts, and a message only names them. On the way a document is known by its place among all documents that
were hashed, those of earlier runs first.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from filters.sketch import shingles
from pipeline.components import Components
from pipeline.dedup import LINK, ROW, Members, hash_rows, links, walk, words_of
from pipeline.earlier import Part
from pipeline.node import ROW_BITS, nodes_of, piece_and_row
from pipeline.stages.parts import buckets, map_part, read_part, write_parts
from pipeline.stages.sections import read_section, send_sections
from pipeline.stages.sketched import OfIndex, OfPiece, Sketched, preference
from pipeline.stages.state import drop, removed_batch
from pipeline.stages.work import Message, Messages, Work, pack, pack_rows, whole
from pipeline.store import digest

_MEMBER = np.dtype([("row", "<u4"), ("component", "<i8")])
_LINKS_AT_ONCE = 1 << 20


def hash_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Write the hashes of the documents of a piece that are alive, by bucket; yield the file to all."""
    piece = Messages.unpack(messages).piece
    yield 0, _hash(work, OfPiece(work, piece), piece.rows)


def hash_earlier(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Write the hashes of a part of an earlier run's index, by bucket; yield the file to all."""
    part = Part.from_json(messages[0].decode())
    yield 0, _hash(work, OfIndex(number, part), part.rows, part.to_json())


def _hash(work: Work, documents: Sketched, count: int, earlier: str = "") -> bytes:
    rows = documents.rows()
    name = work.key("hashed", documents.version, work.plan.near is not None, buckets(work))
    if not work.store.exists(name):
        columns = documents.columns(_hash_columns(work), rows)
        content = whole(columns, "content_hash")
        bands = whole(columns, "bands") if work.plan.near is not None else None
        bounds, found = hash_rows(rows, content, bands, buckets(work))
        write_parts(work.store, name, [found[i:j].tobytes() for i, j in pairwise(bounds.tolist())])
    return pack({"number": documents.number, "file": name, "rows": count, "earlier": earlier})


def link_bucket(work: Work, bucket: int, messages: list[bytes]) -> Iterator[Message]:
    """Write the links between documents of one bucket whose hashes are equal; yield the file."""
    (listing,) = (value["listing"] for value in Messages.unpack(messages).values)
    name = work.key("links", listing, bucket)
    if not work.store.exists(name):
        entries = work.store.read_json(listing)
        parts = [np.frombuffer(read_part(work.store, entry["file"], bucket), ROW) for entry in entries]
        starts = _starts(entries)
        hashes = np.concatenate([part["hash"] for part in parts])
        documents = np.concatenate([part["row"] + start for part, start in zip(parts, starts[:-1], strict=True)])
        del parts
        fresh = int(starts[sum(1 for entry in entries if entry["earlier"])])
        work.store.write(name, links(hashes, documents, fresh).tobytes())
    yield 0, pack({"links": name, "listing": listing})


def _starts(entries: list[dict[str, Any]]) -> np.ndarray:
    """Return where the documents of each entry of a listing start among all, and their number."""
    return np.cumsum([0, *(entry["rows"] for entry in entries)]).astype(np.int64)


def connect(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Find the components of all links; yield to each piece where to read which of its rows are in which component."""
    values = Messages.unpack(messages).values
    listing = values[0]["listing"]
    names = [value["links"] for value in values]
    yield from send_sections(
        work, work.key("components", listing, names), lambda: _components(work, work.store.read_json(listing), names)
    )


def _components(work: Work, entries: list[dict[str, Any]], names: list[str]) -> Iterator[tuple[int, bytes]]:
    """Yield (piece, which part of an earlier run it is, if so, and which of its rows are in which component)."""
    starts = _starts(entries)
    found = Components(int(starts[-1]))
    for step in (found.mark, found.join):
        for name in names:
            for part in _links(work, name):
                step(part)
    for entry, (start, stop) in zip(entries, pairwise(starts.tolist()), strict=True):
        rows, components = found.within(start, stop)
        if len(rows):
            members = np.empty(len(rows), _MEMBER)
            members["row"], members["component"] = rows, components
            yield entry["number"], entry["earlier"].encode() + b"\n" + members.tobytes()


def _links(work: Work, name: str) -> Iterator[np.ndarray]:
    step, size = 2 * LINK.itemsize * _LINKS_AT_ONCE, work.store.size(name)
    for start in range(0, size, step):
        yield np.frombuffer(work.store.read_range(name, start, min(size, start + step)), LINK).reshape(-1, 2)


def gather_members(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Write what the walk must know of the members in a piece, by bucket of their components; yield the file to all."""
    together = Messages.unpack(messages)
    if not together.values:
        return
    (value,) = together.values
    earlier, _, data = read_section(work, value).partition(b"\n")
    members = np.frombuffer(data, _MEMBER)
    rows, components = members["row"].astype(np.int64), members["component"]
    documents: Sketched
    if earlier:
        documents = OfIndex(number, Part.from_json(earlier.decode()))
        priority, preferred = -1, np.zeros(len(rows))
    else:
        documents = OfPiece(work, together.piece)
        priority, preferred = work.plan.priority(together.piece.corpus), preference(work, together.piece, rows)
    name = work.key(
        "members", number, documents.version, digest(members.tobytes()), priority, digest(preferred.tobytes())
    )
    if not work.store.exists(name):
        bucket = _bucket_of(components, buckets(work))
        order = np.argsort(bucket, kind="stable")
        bounds = np.searchsorted(bucket[order], np.arange(buckets(work) + 1))
        parts, texts = _members(work, documents, rows[order], components[order], priority, preferred[order], bounds)
        write_parts(work.store, f"{name}-shingles", texts)
        write_parts(work.store, name, parts)
    yield 0, pack({"number": number, "file": name})


def _bucket_of(components: np.ndarray, count: int) -> np.ndarray:
    mixed = components.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(40)) % np.uint64(count)


def _members(
    work: Work,
    documents: Sketched,
    rows: np.ndarray,
    components: np.ndarray,
    priority: int,
    preferred: np.ndarray,
    bounds: np.ndarray,
) -> tuple[list[bytes], list[memoryview]]:
    """Return for each bucket its members, packed, and their shingles; `bounds` says where in `rows` each begins.

    The texts of a piece are read once for all buckets.
    """
    columns = documents.columns(["id", "source", "characters", *_hash_columns(work)], rows)
    content = words_of(whole(columns, "content_hash")).view(np.uint8)
    if work.plan.near is not None:
        column = whole(columns, "bands")
        bands = np.where(np.asarray(column.is_valid())[:, None], words_of(column), np.uint64(0))
        offsets, hashes = shingles(documents.text(), work.plan.hashing, rows)
    else:
        bands = np.zeros((len(rows), 0), np.uint64)
        offsets, hashes = np.zeros(len(rows) + 1, np.int64), np.zeros(0, np.uint64)
    starts = offsets[bounds]
    members = Members(
        component=components,
        node=nodes_of(documents.number, rows),
        fixed=np.full(len(rows), documents.fixed, np.int8),
        preference=preferred,
        priority=np.full(len(rows), priority, np.int32),
        characters=whole(columns, "characters").to_numpy().astype(np.int64),
        content=content,
        bands=bands,
        size=np.diff(offsets),
        address=8 * (offsets[:-1] - np.repeat(starts[:-1], np.diff(bounds))),
        held=(),
    )
    batch = members.to_batch()
    for name in ("id", "source"):
        batch = batch.append_column(name, whole(columns, name))
    batch = batch.append_column("run", pa.repeat(pa.scalar(documents.run, pa.string()), len(rows)))
    parts = [pack_rows(batch.slice(i, j - i)) if j > i else b"" for i, j in pairwise(bounds.tolist())]
    return parts, [hashes[i:j].view(np.uint8).data for i, j in pairwise(starts.tolist())]


def walk_bucket(work: Work, bucket: int, messages: list[bytes]) -> Iterator[Message]:
    """Decide which members of a bucket's components are duplicates; yield to each piece where to read what became of it."""
    (listing,) = (value["listing"] for value in Messages.unpack(messages).values)

    def make() -> Iterator[tuple[int, bytes]]:
        batches, parts = [], []
        for entry in work.store.read_json(listing):
            data = read_part(work.store, entry["file"], bucket)
            if data:
                batches.append(pa.ipc.open_stream(data).read_next_batch())
                shingles_of = map_part(work.store, f"{entry['file']}-shingles", bucket)
                parts.append(Members.from_batch(batches[-1], shingles_of))
        names = [batch.select(["node", "id", "source", "run"]) for batch in batches]
        for number, batch in _walked(Members.concat(parts), names, work.plan.near) if parts else ():
            yield number, pack_rows(batch)

    yield from send_sections(work, work.key("walked", listing, bucket, work.plan.near), make)


def _walked(
    members: Members, named: list[pa.RecordBatch], threshold: float | None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield (piece, what became of its rows): of those that go, what they duplicate; of survivors, their copies."""
    removed = walk(members, threshold)
    names = pa.Table.from_batches(named).combine_chunks()
    order = np.argsort(names.column("node").to_numpy(), kind="stable")
    found = order[np.searchsorted(names.column("node").to_numpy(), removed.survivor, sorter=order)]
    of = names.take(pa.array(found))
    gone = removed_batch(
        piece_and_row(removed.node)[1],
        reason=np.where(removed.exact, "exact_duplicate", "near_duplicate"),
        survivor=whole(of, "id"),
        survivor_source=whole(of, "source"),
        survivor_run=whole(of, "run"),
        similarity=removed.similarity,
    )
    survivors, copies = np.unique(removed.survivor, return_counts=True)
    known = removed_batch(piece_and_row(survivors)[1], copies=copies + 1)
    pieces = np.concatenate([removed.node, survivors]) >> ROW_BITS
    order = np.argsort(pieces, kind="stable")
    batch = pa.Table.from_batches([gone, known]).combine_chunks().take(pa.array(order)).to_batches()
    numbers, starts = np.unique(pieces[order], return_index=True)
    for number, (start, stop) in zip(numbers.tolist(), pairwise([*starts.tolist(), len(order)]), strict=True):
        if number >= 0:  # not a part of an earlier run, of which nothing is written anew
            yield number, batch[0].slice(start, stop - start)


def drop_duplicates(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Give a piece the state in which its duplicates are dropped."""
    together = Messages.unpack(messages)
    tables = [pa.ipc.open_stream(read_section(work, value)).read_all() for value in together.values]
    piece = drop(work, together.piece, "duplicates", tables).having(deduplicated=together.piece.files["documents"])
    work.progress("deduplicate", piece.rows, piece.text_bytes)
    yield number, piece.pack()


def _hash_columns(work: Work) -> list[str]:
    return ["content_hash", "bands"] if work.plan.near is not None else ["content_hash"]
