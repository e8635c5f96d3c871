"""Stages that sample semantically: embed survivors, cluster them, drop what says the same again."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.stages.state import drop, removed_batch
from pipeline.stages.work import Message, Messages, Piece, Work, pack, pack_rows, piece_and_row, whole
from pipeline.store import digest
from samplers.cluster import assign, fit
from samplers.embed import Embedder, resolve
from samplers.semantic import duplicates

FIT_ROWS = 50_000
"""Documents, those with the smallest draws, that the cluster centres are fitted on."""
BUCKETS = 8


@lru_cache(maxsize=1)
def _embedder(name: str) -> Embedder:
    return Embedder(resolve(name))


def embed_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Write the embeddings of a piece's survivors, with their draws; yield the piece to all."""
    piece = Messages.unpack(messages).piece
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
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
        arrays = [pa.array(rows), flat, pa.array(work.draws(piece, rows))]
        work.store.write(name, pack_rows(pa.RecordBatch.from_arrays(arrays, names=["row", "vector", "draw"])))
    work.progress("embed", len(rows), piece.text_bytes)
    yield number, piece.having(embedded=name).pack()


def _read(work: Work, name: str) -> pa.RecordBatch:
    return pa.ipc.open_stream(work.store.read(name)).read_next_batch()


def _vectors(batch: pa.RecordBatch) -> np.ndarray:
    column = batch.column("vector")
    return np.asarray(column.flatten()).reshape(len(column), column.type.list_size)


def fit_clusters(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Fit cluster centres on the documents with the smallest draws; yield their file to every piece."""
    pieces = Messages.unpack(messages).pieces
    semantic = work.plan.recipe.sample.semantic
    assert semantic is not None
    name = (
        work.key("centres", [p.files["embedded"] for p in pieces], semantic.clusters, work.plan.recipe.seed) + ".arrow"
    )
    if not work.store.exists(name):
        every = np.concatenate([np.asarray(_read(work, piece.files["embedded"]).column("draw")) for piece in pieces])
        limit = np.partition(every, FIT_ROWS)[FIT_ROWS] if len(every) > FIT_ROWS else 1.0
        chosen, order = [], []
        for piece in pieces:
            batch = _read(work, piece.files["embedded"])
            batch = batch.filter(pc.less(batch.column("draw"), limit))
            chosen.append(_vectors(batch))
            order.append(np.asarray(batch.column("draw")))
        vectors = np.concatenate(chosen)[np.argsort(np.concatenate(order), kind="stable")]
        centres = fit(vectors, semantic.clusters, work.plan.recipe.seed)
        width = centres.shape[1] if centres.ndim == 2 and centres.shape[1] else 1
        flat = pa.FixedSizeListArray.from_arrays(pa.array(centres.ravel(), pa.float32()), width)
        work.store.write(name, pack_rows(pa.RecordBatch.from_arrays([flat], names=["vector"])))
    for piece in pieces:
        yield piece.number, pack({"file": name})


def assign_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Write the cluster of each survivor; yield the file to the buckets of its clusters."""
    together = Messages.unpack(messages)
    piece = together.piece
    (centres,) = (value["file"] for value in together.values)
    name = work.key("assigned", piece.files["embedded"], centres) + ".arrow"
    if not work.store.exists(name):
        embedded = _read(work, piece.files["embedded"])
        cluster, cosine = assign(_vectors(embedded), _vectors(_read(work, centres)))
        arrays = [embedded.column("row"), pa.array(cluster, pa.int32()), pa.array(cosine, pa.float32())]
        work.store.write(
            name, pack_rows(pa.RecordBatch.from_arrays(arrays, names=["row", "cluster", "cluster_cosine"]))
        )
    piece = piece.having(clusters=name)
    clusters = np.asarray(_read(work, name).column("cluster"))
    for bucket in np.unique(clusters[clusters >= 0] % BUCKETS):
        yield int(bucket), piece.pack()


def thin_bucket(work: Work, bucket: int, messages: list[bytes]) -> Iterator[Message]:
    """Drop semantic duplicates within each cluster of a bucket; yield to each piece its removed rows."""
    semantic = work.plan.recipe.sample.semantic
    assert semantic is not None
    pieces = Messages.unpack(messages).pieces
    parts = [_candidates(work, piece, bucket) for piece in pieces]
    table = pa.concat_tables([part for part, _ in parts]).combine_chunks()
    vectors = np.concatenate([vector for _, vector in parts])
    for piece in pieces:
        yield piece.number, pack({"clusters": piece.files["clusters"]})
    column = {name: whole(table, name) for name in table.column_names}
    text = np.array(column["content_hash"].to_pylist(), dtype="S16")
    order = np.lexsort(
        (np.asarray(column["node"]), text, -np.asarray(column["characters"]), np.asarray(column["priority"]))
    )
    cluster = np.asarray(column["cluster"])
    removed, survivors, cosines = [], [], []
    for number in np.unique(cluster):
        rows = np.flatnonzero(cluster == number)
        local = np.argsort(np.argsort(order)[rows], kind="stable")
        gone, kept, cosine = duplicates(vectors[rows], local, semantic.similarity)
        removed.append(rows[gone])
        survivors.append(rows[kept])
        cosines.append(cosine)
    gone, kept, cosine = np.concatenate(removed), np.concatenate(survivors), np.concatenate(cosines)
    numbers, rows = piece_and_row(np.asarray(column["node"])[gone])
    for number in np.unique(numbers):
        mine = np.flatnonzero(numbers == number)
        who = pa.array(kept[mine])
        batch = removed_batch(
            rows[mine],
            reason=["semantic_duplicate"] * len(mine),
            survivor=column["id"].take(who),
            survivor_source=column["source"].take(who),
            similarity=cosine[mine],
        )
        yield int(number), pack_rows(batch)


def _candidates(work: Work, piece: Piece, bucket: int) -> tuple[pa.Table, np.ndarray]:
    assigned, embedded = _read(work, piece.files["clusters"]), _read(work, piece.files["embedded"])
    cluster = np.asarray(assigned.column("cluster"))
    mine = np.flatnonzero((cluster >= 0) & (cluster % BUCKETS == bucket))
    rows = np.asarray(assigned.column("row"))[mine]
    take = pa.array(rows)
    names = work.columns(piece, "documents", ["id", "source"]).take(take)
    measured = work.columns(piece, "measured", ["characters", "content_hash"]).take(take)
    columns = {name: whole(t, name) for t in (names, measured) for name in t.column_names}
    columns["node"] = pa.array(piece.nodes(rows))
    columns["cluster"] = pa.array(cluster[mine])
    columns["priority"] = pa.array(np.full(len(rows), work.plan.priority(piece.corpus), np.int32))
    return pa.table(columns), _vectors(embedded)[mine]


def drop_similar(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Give a piece the state in which its semantic duplicates are dropped, and the file of its clusters."""
    together = Messages.unpack(messages)
    piece = drop(work, together.piece, "similar", together.tables)
    for value in together.values:
        piece = piece.having(clusters=value["clusters"])
    work.progress("sample", piece.rows, piece.text_bytes)
    yield number, piece.pack()
