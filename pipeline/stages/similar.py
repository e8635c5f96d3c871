"""Stages that sample semantically: embed survivors, cluster them, drop what says the same again.

A piece writes its embeddings and, of the documents whose draw is below a limit, a sample. Centres are fitted on the
samples, and cut into cells (`samplers.cells`). Documents travel to the buckets of their cells in files in parts; a bucket
walks its cells one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.stages.limits import limits
from pipeline.stages.parts import read_part, write_parts
from pipeline.stages.sections import read_section, send_sections
from pipeline.stages.state import drop, removed_batch
from pipeline.stages.work import Message, Messages, Piece, Work, pack, pack_rows, piece_and_row, whole
from pipeline.store import digest
from samplers.cells import Cells, cut, place
from samplers.cluster import fit
from samplers.embed import Embedder, resolve
from samplers.semantic import duplicates

CELL_ROWS = 1 << 14
"""Documents that a cell shall have, about, where a cluster is cut."""
MOST_ROWS = 1 << 16
"""Documents of a cell above which it is dealt out."""
BUCKET_ROWS = 1 << 17
"""Documents for which one more bucket is opened: their vectors fit one worker easily."""
LEAST_BUCKETS = 8


@lru_cache(maxsize=1)
def _embedder(name: str) -> Embedder:
    return Embedder(resolve(name))


def embed_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Write the embeddings of a piece's survivors with their draws, and of those that centres are fitted on once more."""
    together = Messages.unpack(messages)
    piece = together.piece
    rows = work.alive(piece)
    semantic = work.plan.recipe.sample.semantic
    assert semantic is not None
    wanted = work.plan.recipe.named(semantic.model)
    model = resolve(wanted).digest
    name = (
        work.key("embedded", piece.files["documents"], digest(rows.tobytes()), model, work.plan.recipe.seed) + ".arrow"
    )
    if not work.store.exists(name):
        vectors = _embedder(wanted).encode(work.text(piece, rows))
        columns = {"row": pa.array(rows), "vector": _flat(vectors), "draw": pa.array(work.draws(piece, rows))}
        work.store.write(name, pack_rows(pa.RecordBatch.from_pydict(columns)))
    files = {"embedded": name}
    share = limits(work, together)["fit"]
    sampled = work.key("sampled", name, share) + ".arrow"
    if not work.store.exists(sampled):
        embedded = _read(work, name)
        few = np.flatnonzero(np.asarray(embedded.column("draw")) < share)
        work.store.write(sampled, pack_rows(embedded.take(pa.array(few)).select(["vector", "draw"])))
    work.progress("embed", len(rows), piece.text_bytes)
    (listed,) = (value["limits"] for value in together.values)
    yield number, piece.having(**files, sampled=sampled, limits=listed).pack()


def _flat(vectors: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), max(1, vectors.shape[1]))


def _read(work: Work, name: str) -> pa.RecordBatch:
    return pa.ipc.open_stream(work.store.read(name)).read_next_batch()


def _vectors(batch: pa.RecordBatch) -> np.ndarray:
    column = batch.column("vector")
    return np.asarray(column.flatten()).reshape(len(column), column.type.list_size)


def offer_vectors(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Yield where the sample of a piece is."""
    piece = Messages.unpack(messages).piece
    yield 0, pack({"number": piece.number, "sampled": piece.files["sampled"], "limits": piece.files["limits"]})


def fit_clusters(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Fit cluster centres on the samples, about FIT_ROWS documents, and cut cells; yield their file to every piece."""
    values = sorted(Messages.unpack(messages).values, key=lambda value: int(value["number"]))
    semantic = work.plan.recipe.sample.semantic
    assert semantic is not None
    share = work.store.read_json(values[0]["limits"])["fit"]
    names = [value["sampled"] for value in values]
    name = work.key("cells", names, share, semantic.clusters, CELL_ROWS, MOST_ROWS, work.plan.recipe.seed) + ".arrow"
    if not work.store.exists(name):
        samples = [batch for batch in work.store.each(lambda sampled: _read(work, sampled), names) if len(batch)]
        draws = np.concatenate([np.zeros(0), *(np.asarray(batch.column("draw")) for batch in samples)])
        vectors = np.concatenate([np.zeros((0, 1), np.float32)] if not samples else [_vectors(b) for b in samples])
        vectors = vectors[np.argsort(draws, kind="stable")]
        cells = cut(fit(vectors, semantic.clusters, work.plan.recipe.seed), vectors, share, CELL_ROWS, MOST_ROWS)
        columns = {"vector": _flat(cells.centres), "cluster": pa.array(cells.cluster), "parts": pa.array(cells.parts)}
        schema = pa.schema([(n, column.type) for n, column in columns.items()], {"clusters": str(cells.clusters)})
        work.store.write(name, pack_rows(pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)))
    for value in values:
        yield value["number"], pack({"cells": name})


@lru_cache(maxsize=1)
def _cells(data: bytes) -> Cells:
    batch = pa.ipc.open_stream(data).read_next_batch()
    cluster, parts = (np.asarray(batch.column(column)) for column in ("cluster", "parts"))
    return Cells(_vectors(batch), cluster, parts, int(batch.schema.metadata[b"clusters"]))


def assign_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Write the cluster of each survivor, and what a bucket must know of the documents in its cells."""
    together = Messages.unpack(messages)
    piece = together.piece
    (centres,) = (value["cells"] for value in together.values)
    spread = _buckets(work, piece)
    name = work.key("assigned", piece.files["embedded"], centres, spread, work.plan.priority(piece.corpus))
    if not work.store.exists(f"{name}.arrow"):
        embedded = _read(work, piece.files["embedded"])
        vectors, draws = _vectors(embedded), np.asarray(embedded.column("draw"))
        cluster, cosine, cell = place(vectors, draws, _cells(work.store.read(centres)))
        rows = np.asarray(embedded.column("row"))
        parts = [b""] * spread
        for bucket in np.unique(cell[cell >= 0] % spread).tolist():
            mine = np.flatnonzero((cell >= 0) & (cell % spread == bucket))
            parts[bucket] = pack_rows(_candidates(work, piece, rows[mine], cell[mine], vectors[mine]))
        write_parts(work.store, name, parts)
        columns = {"row": pa.array(rows), "cluster": pa.array(cluster), "cluster_cosine": pa.array(cosine)}
        work.store.write(f"{name}.arrow", pack_rows(pa.RecordBatch.from_pydict(columns)))
    yield number, piece.having(clusters=f"{name}.arrow", cells=name).pack()


def _buckets(work: Work, piece: Piece) -> int:
    rows = work.store.read_json(piece.files["limits"])["rows"]
    return max(LEAST_BUCKETS, -(-rows // BUCKET_ROWS))


def _candidates(work: Work, piece: Piece, rows: np.ndarray, cell: np.ndarray, vectors: np.ndarray) -> pa.RecordBatch:
    take = pa.array(rows)
    names = work.columns(piece, "documents", ["id", "source"]).take(take)
    measured = work.columns(piece, "measured", ["characters", "content_hash"]).take(take)
    columns = {name: whole(t, name) for t in (names, measured) for name in t.column_names}
    columns["node"] = pa.array(piece.nodes(rows))
    columns["cell"] = pa.array(cell)
    columns["priority"] = pa.array(np.full(len(rows), work.plan.priority(piece.corpus), np.int32))
    columns["vector"] = _flat(vectors)
    return pa.RecordBatch.from_pydict(columns)


def offer_cells(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Yield where the documents of a piece are, by bucket, and how many buckets there are."""
    piece = Messages.unpack(messages).piece
    yield 0, pack({"number": number, "file": piece.files["cells"], "buckets": _buckets(work, piece)})


def thin_bucket(work: Work, bucket: int, messages: list[bytes]) -> Iterator[Message]:
    """Drop semantic duplicates within each cell of a bucket; yield to each piece where to read its removed rows."""
    (listing,) = (value["listing"] for value in Messages.unpack(messages).values)
    semantic = work.plan.recipe.sample.semantic
    assert semantic is not None
    similarity = semantic.similarity

    def make() -> Iterator[tuple[int, bytes]]:
        entries = work.store.read_json(listing)
        data = work.store.each(lambda entry: read_part(work.store, entry["file"], bucket), entries)
        batches = [pa.ipc.open_stream(part).read_next_batch() for part in data if part]
        if batches:
            yield from _thinned(batches, similarity)

    yield from send_sections(work, work.key("thinned", listing, bucket, similarity), make)


def _thinned(batches: list[pa.RecordBatch], similarity: float) -> Iterator[tuple[int, bytes]]:
    vectors = np.concatenate([_vectors(batch) for batch in batches])
    table = pa.Table.from_batches([batch.drop_columns("vector") for batch in batches]).combine_chunks()
    column: dict[str, Any] = {name: whole(table, name) for name in table.column_names}
    text = np.array(column["content_hash"].to_pylist(), dtype="S16")
    node, cell = np.asarray(column["node"]), np.asarray(column["cell"])
    # cell by cell, and in a cell the best first
    order = np.lexsort((node, text, -np.asarray(column["characters"]), np.asarray(column["priority"]), cell))
    starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
    removed, survivors, cosines = [], [], []
    for rows in np.split(order, starts[1:]):
        gone, kept, cosine = duplicates(vectors[rows], np.arange(len(rows)), similarity)
        removed.append(rows[gone])
        survivors.append(rows[kept])
        cosines.append(cosine)
    gone, kept, cosine = np.concatenate(removed), np.concatenate(survivors), np.concatenate(cosines)
    numbers, rows = piece_and_row(node[gone])
    for number in np.unique(numbers).tolist():
        mine = np.flatnonzero(numbers == number)
        who = pa.array(kept[mine])
        batch = removed_batch(
            rows[mine],
            reason=["semantic_duplicate"] * len(mine),
            survivor=column["id"].take(who),
            survivor_source=column["source"].take(who),
            similarity=cosine[mine],
        )
        yield number, pack_rows(batch)


def drop_similar(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Give a piece the state in which its semantic duplicates are dropped."""
    together = Messages.unpack(messages)
    tables = [pa.ipc.open_stream(read_section(work, value)).read_all() for value in together.values]
    piece = drop(work, together.piece, "similar", tables)
    work.progress("sample", piece.rows, piece.text_bytes)
    yield number, piece.pack()
