"""Stages that cut repeated text out of documents, across all corpora.

Marks of everything that could repeat meet in coarse buckets; what is seen too often is claimed, under 128-bit hashes, by
every document that has it; claims meet in buckets again, and all but the first ones are cut. A file in parts has, for
each kind of repeat that the recipe names, a part for each bucket.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from filters.kernels.repeats import seen_more_than
from filters.repeats import Marked, claim, mark
from pipeline.ledger import REPEATED_TEXT
from pipeline.repeats import claims_batch, cut, decide
from pipeline.stages.parts import buckets, read_part, write_parts
from pipeline.stages.sections import read_section, send_sections
from pipeline.stages.sketched import preference
from pipeline.stages.state import drop, removed_batch
from pipeline.stages.work import Message, Messages, Piece, Work, pack, pack_rows, whole
from pipeline.store import digest

_PLACE = np.dtype([("row", "<u4"), ("start", "<u4"), ("end", "<u4")])
"""Where a mark is: in which of the documents that were alive, and at which of its bytes."""


def mark_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Write the marks of the text of a piece's living documents, by bucket, and where they are; yield the file to all."""
    piece = Messages.unpack(messages).piece
    rows = work.alive(piece)
    name = _marks(work, piece, rows)
    if not work.store.exists(name):
        spread = buckets(work)
        hashes = [b""] * spread * len(work.plan.repeats)
        places = hashes.copy()
        text = work.text(piece, rows)
        for kind in _kinds(work, piece):
            marks = mark(text, work.plan.repeats[kind], work.plan.hashing)
            where = np.empty(len(marks.rows), _PLACE)
            where["row"], where["start"], where["end"] = marks.rows, marks.places[:, 0], marks.places[:, 1]
            for bucket, mine in _by_bucket(marks.hashes, spread):
                hashes[kind * spread + bucket] = marks.hashes[mine].tobytes()
                places[kind * spread + bucket] = where[mine].tobytes()
        write_parts(work.store, f"{name}-places", places)
        write_parts(work.store, name, hashes)
    yield 0, pack({"number": number, "file": name})


def _kinds(work: Work, piece: Piece) -> list[int]:
    """Return the numbers of what counts as a repeat in a piece's corpus."""
    return [kind for kind, one in enumerate(work.plan.repeats) if not one.corpora or piece.corpus in one.corpora]


def _marks(work: Work, piece: Piece, rows: np.ndarray) -> str:
    kinds = [asdict(one) for one in work.plan.repeats]
    seed, spread = work.plan.recipe.seed, buckets(work)
    return work.key("marks", seed, piece.corpus, piece.files["documents"], digest(rows.tobytes()), kinds, spread)


def _by_bucket(hashes: np.ndarray, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (bucket, which of the hashes are in it, in order) for each bucket that has some."""
    bucket = (hashes % np.uint64(count)).astype(np.uint16)
    order = np.argsort(bucket, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(bucket, minlength=count))])
    for number, (start, stop) in enumerate(pairwise(bounds)):
        if stop > start:
            yield number, order[start:stop]


def count_bucket(work: Work, bucket: int, messages: list[bytes]) -> Iterator[Message]:
    """Tell each piece which of its marks in a bucket are there more often than what they mark may be: a bit for each."""
    (listing,) = (value["listing"] for value in Messages.unpack(messages).values)

    def make() -> Iterator[tuple[int, bytes]]:
        entries = work.store.read_json(listing)
        bits: list[list[np.ndarray]] = [[] for _ in entries]
        for kind, repeat in enumerate(work.plan.repeats):
            part = kind * buckets(work) + bucket
            marks = [np.frombuffer(read_part(work.store, entry["file"], part), np.uint64) for entry in entries]
            bounds = np.cumsum([0, *map(len, marks)])
            often = seen_more_than(np.concatenate(marks), repeat.occurrences)
            for own, (start, stop) in zip(bits, pairwise(bounds), strict=True):
                own.append(np.packbits(often[start:stop]))
        for entry, own in zip(entries, bits, strict=True):
            if any(one.any() for one in own):
                yield entry["number"], b"".join(one.tobytes() for one in own)

    allowed = [repeat.occurrences for repeat in work.plan.repeats]
    yield from send_sections(work, work.key("often", listing, bucket, allowed), make, bucket=bucket)


def claim_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Write what a piece has of repeated text, document by document, in parts for the buckets; yield the file to all."""
    together = Messages.unpack(messages)
    if not together.values:
        return
    piece, rows, spread = together.piece, work.alive(together.piece), buckets(work)
    often = sorted(together.values, key=lambda value: int(value["bucket"]))
    preferred, priority = preference(work, piece, rows), work.plan.priority(piece.corpus)
    name = work.key("claims", _marks(work, piece, rows), piece.files["measured"], often, priority)
    name += digest(preferred.tobytes())
    if not work.store.exists(name):
        parts = [b""] * spread * len(work.plan.repeats)
        text, documents = work.text(piece, rows), _documents(work, piece, rows, preferred, priority)
        for kind, marks in _repeated(work, piece, rows, often):
            claimed = claim(text, work.plan.repeats[kind], marks, work.plan.hashing)
            for bucket, mine in _by_bucket(claimed.hashes[:, 0], spread):
                parts[kind * spread + bucket] = pack_rows(
                    claims_batch(documents, Marked(*(column[mine] for column in claimed)))
                )
        write_parts(work.store, name, parts)
    yield 0, pack({"number": number, "file": name})


def _repeated(work: Work, piece: Piece, rows: np.ndarray, often: list[dict[str, Any]]) -> Iterator[tuple[int, Marked]]:
    """Yield (kind, its marks that were seen too often: where they are, in the order of the text)."""
    name, spread = f"{_marks(work, piece, rows)}-places", buckets(work)
    chosen: list[list[np.ndarray]] = [[] for _ in work.plan.repeats]
    for value in often:
        bits, at = np.frombuffer(read_section(work, value), np.uint8), 0
        for kind, own in enumerate(chosen):
            where = np.frombuffer(read_part(work.store, name, kind * spread + value["bucket"]), _PLACE)
            size = (len(where) + 7) // 8
            own.append(where[np.unpackbits(bits[at : at + size], count=len(where)).astype(bool)])
            at += size
    for kind, own in enumerate(chosen):
        where = np.concatenate(own)
        where = where[np.lexsort((where["start"], where["row"]))]
        places = np.column_stack([where["start"], where["end"]]).astype(np.int64)
        if len(where):
            yield kind, Marked(np.zeros(0, np.uint64), where["row"].astype(np.int64), places)


def _documents(work: Work, piece: Piece, rows: np.ndarray, preferred: np.ndarray, priority: int) -> pa.RecordBatch:
    """Return the columns of CLAIMS but the claims, for rows of a piece."""
    take = pa.array(rows)
    measured = work.columns(piece, "measured", ["characters", "content_hash"]).take(take)
    given = work.columns(piece, "documents", ["id", "source"]).take(take)
    columns = {
        "node": pa.array(piece.nodes(rows)),
        "preference": pa.array(preferred),
        "priority": pa.array(np.full(len(rows), priority, np.int32)),
        "characters": whole(measured, "characters").cast(pa.int64()),
        "content": whole(measured, "content_hash"),
        "id": whole(given, "id"),
        "source": whole(given, "source"),
    }
    return pa.RecordBatch.from_pydict(columns)


def decide_bucket(work: Work, bucket: int, messages: list[bytes]) -> Iterator[Message]:
    """Decide whose repeats in a bucket stay; yield to each piece the section of what goes from its documents."""
    (listing,) = (value["listing"] for value in Messages.unpack(messages).values)
    for kind, repeat in enumerate(work.plan.repeats):
        yield from _decide(work, listing, kind, kind * buckets(work) + bucket, repeat.occurrences)


def _decide(work: Work, listing: str, kind: int, part: int, allowed: int) -> Iterator[Message]:
    def make() -> Iterator[tuple[int, bytes]]:
        data = (read_part(work.store, entry["file"], part) for entry in work.store.read_json(listing))
        for piece, gone in decide([_batch(one) for one in data if one], allowed):
            yield piece, pack_rows(gone)

    yield from send_sections(work, work.key("later", listing, part, allowed), make, part=part, kind=kind)


def _batch(data: bytes) -> pa.RecordBatch:
    return pa.ipc.open_stream(data).read_next_batch()


def cut_repeats(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Give a piece the texts without their repeats, what was cut, and the state in which emptied documents are dropped."""
    together = Messages.unpack(messages)
    piece = together.piece
    if together.values:
        piece = _cut(work, piece, sorted(together.values, key=lambda value: int(value["part"])))
    work.progress("repeats", piece.rows, piece.text_bytes)
    yield number, piece.pack()


def _cut(work: Work, piece: Piece, later: list[dict[str, Any]]) -> Piece:
    rows = work.alive(piece)
    name = work.key("cut", piece.files["documents"], digest(rows.tobytes()), later)
    if not work.store.exists(f"{name}-spans.columns"):
        gone = [(work.plan.repeats[value["kind"]].unit, _batch(read_section(work, value))) for value in later]
        documents = work.store.read_table(piece.files["documents"])
        shorter = cut(whole(documents, "text"), gone)
        column = documents.schema.get_field_index("text")
        documents = documents.set_column(column, documents.schema.field(column), shorter.text)
        work.store.write_table(f"{name}-documents.columns", documents)
        nothing = pa.array(np.isin(np.arange(piece.rows), shorter.nothing_left))
        work.store.write_table(f"{name}-spans.columns", shorter.spans.append_column("nothing_left", nothing))
    piece = piece.having(documents=f"{name}-documents.columns", repeats=f"{name}-spans.columns")
    emptied = np.flatnonzero(np.asarray(whole(work.columns(piece, "repeats", ["nothing_left"]), "nothing_left")))
    removed = removed_batch(emptied, reason=[REPEATED_TEXT] * len(emptied))
    return drop(work, piece, "emptied", [pa.Table.from_batches([removed])])
