"""Stages from survivors to shards: train the tokenizer, tokenise, reach the mixture, pack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.shards import write_shard
from pipeline.stages.similar import draws
from pipeline.stages.work import Message, Messages, Piece, Work, pack, pack_rows
from pipeline.store import digest
from pipeline.tokens import Tokenizer, given_tokenizer, train_tokenizer
from samplers.mixture import cuts

TRAIN_CHARACTERS = 24_000_000
"""Text that a tokenizer is trained on: survivors with the smallest draws, up to this much."""
TRAIN_DOCUMENT = 20_000
"""Characters of one document at most, so that a few long books do not become the whole vocabulary."""


def make_tokenizer(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Train the tokenizer on survivors, or take the given one; yield its file to every piece."""
    pieces = Messages.unpack(messages).pieces
    wanted = work.plan.recipe.shards.tokenizer
    if isinstance(wanted, str):
        data = given_tokenizer("path:" + work.plan.recipe.located(wanted.removeprefix("path:")))
        name = work.key("tokenizer", digest(data)) + ".json"
        work.store.write(name, data)
    else:
        states = [piece.files["state"] for piece in pieces]
        name = work.key("tokenizer", states, wanted.train, work.plan.recipe.seed) + ".json"
        if not work.store.exists(name):
            work.store.write(name, train_tokenizer(_training_texts(work, pieces), wanted.train))
    work.progress("tokenizer", 1, sum(piece.text_bytes for piece in pieces))
    for piece in pieces:
        yield piece.number, pack({"file": name})


def _training_texts(work: Work, pieces: tuple[Piece, ...]) -> Iterator[str]:
    """Yield survivors' texts in canonical order: those with the smallest draws, up to TRAIN_CHARACTERS in all."""
    alive = [work.alive(piece) for piece in pieces]
    drawn = [draws(work, piece, rows) for piece, rows in zip(pieces, alive, strict=True)]
    lengths = [
        np.minimum(np.asarray(work.columns(p, "measured", ["characters"]).column(0))[rows], TRAIN_DOCUMENT)
        for p, rows in zip(pieces, alive, strict=True)
    ]
    every = np.concatenate(drawn) if drawn else np.zeros(0)
    order = np.argsort(every, kind="stable")
    enough = int(np.searchsorted(np.cumsum(np.concatenate(lengths)[order]), TRAIN_CHARACTERS)) if len(order) else 0
    limit = every[order[enough]] if enough < len(order) else 1.0
    for piece, rows, draw in zip(pieces, alive, drawn, strict=True):
        chosen = rows[draw <= limit]
        if len(chosen):
            for text in work.text(piece, chosen):
                yield text.as_py()[:TRAIN_DOCUMENT]


@lru_cache(maxsize=2)
def _tokenizer(data: bytes) -> Tokenizer:
    return Tokenizer.from_json(data)


def tokenise_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Count the tokens of every document of a piece, and write the token ids of its survivors."""
    together = Messages.unpack(messages)
    piece = together.piece
    (file,) = (value["file"] for value in together.values)
    rows = work.alive(piece)
    name = work.key("tokens", piece.files["documents"], digest(rows.tobytes()), file, work.plan.recipe.seed)
    if not work.store.exists(f"{name}-ids.arrow"):
        tokenizer = _tokenizer(work.store.read(file))
        offsets, ids = tokenizer.encode(work.text(piece))
        counts = np.diff(offsets)
        work.store.write_table(f"{name}.parquet", pa.table({"tokens": pa.array(counts, pa.int32())}))
        chosen = np.concatenate([ids[offsets[row] : offsets[row + 1]] for row in rows] or [ids[:0]])
        lists = pa.LargeListArray.from_arrays(np.concatenate([[0], np.cumsum(counts[rows])]).astype(np.int64), chosen)
        columns = {"row": pa.array(rows), "draw": pa.array(draws(work, piece, rows)), "input_ids": lists}
        work.store.write(f"{name}-ids.arrow", pack_rows(pa.RecordBatch.from_pydict(columns)))
    work.progress("tokenise", piece.rows, piece.text_bytes)
    yield number, piece.having(tokens=f"{name}.parquet", ids=f"{name}-ids.arrow", tokenizer=file).pack()


def read_ids(work: Work, piece: Piece) -> pa.RecordBatch:
    """Return the survivors of a piece: their row, draw, and input_ids."""
    return pa.ipc.open_stream(work.store.read(piece.files["ids"])).read_next_batch()


def mix(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Find the cut of each corpus for the mixture, and which documents go to which shard; yield that to every piece."""
    pieces = Messages.unpack(messages).pieces
    shares = work.plan.recipe.sample.mixture
    limit = work.plan.recipe.shards.tokens
    name = work.key("mix", [p.files["ids"] for p in pieces], dict(shares), limit) + ".json"
    if not work.store.exists(name):
        counts, drawn = [], []
        for piece in pieces:
            batch = read_ids(work, piece)
            counts.append(np.diff(np.asarray(batch.column("input_ids").offsets)))
            drawn.append(np.asarray(batch.column("draw")))
        cut = dict.fromkeys(work.plan.recipe.corpora, 1.0)
        if shares:
            by_corpus = {c: [i for i, p in enumerate(pieces) if p.corpus == c] for c in shares}
            tokens = {c: np.concatenate([counts[i] for i in own] or [np.zeros(0)]) for c, own in by_corpus.items()}
            every = {c: np.concatenate([drawn[i] for i in own] or [np.zeros(0)]) for c, own in by_corpus.items()}
            cut |= cuts(tokens, every, shares)
        kept = [count[draw < cut[p.corpus]] for p, count, draw in zip(pieces, counts, drawn, strict=True)]
        value = {"cuts": cut, "parts": [piece.number for piece in pieces], "shards": _shards(kept, limit)}
        work.store.write_json(name, value)
    for piece in pieces:
        yield piece.number, pack({"file": name})


def _shards(kept: list[np.ndarray], limit: int) -> list[list[list[int]]]:
    """Cut the kept documents, in canonical order, into shards: lists of [part, first document, one past the last]."""
    shards: list[list[list[int]]] = [[]]
    filled = 0
    for part, counts in enumerate(kept):
        start = 0
        for index, tokens in enumerate(counts.tolist()):
            if filled and filled + tokens > limit:
                if index > start:
                    shards[-1].append([part, start, index])
                shards.append([])
                start, filled = index, 0
            filled += tokens
        if len(counts) > start:
            shards[-1].append([part, start, len(counts)])
    return shards


def send_to_shards(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Yield a finished piece to each shard that holds documents of it; an empty first shard is asked for by part 0."""
    piece = Messages.unpack(messages).piece
    mixed = work.store.read_json(piece.files["mix"])
    part = mixed["parts"].index(piece.number)
    for shard, ranges in enumerate(mixed["shards"]):
        if any(one == part for one, _, _ in ranges) or (part == 0 and not ranges):
            yield shard, piece.pack()


def pack_shard(work: Work, shard: int, messages: list[bytes]) -> Iterator[Message]:
    """Write one shard of token ids, with the columns that lead back to each document."""
    pieces = {piece.number: piece for piece in Messages.unpack(messages).pieces}
    first = next(iter(pieces.values()))
    mixed = work.store.read_json(first.files["mix"])
    ranges = [(pieces[mixed["parts"][part]], start, stop) for part, start, stop in mixed["shards"][shard]]
    name = work.key("shards", shard, [[piece.files["finished"], start, stop] for piece, start, stop in ranges])
    if not work.store.exists(f"{name}.json"):
        tokenizer = _tokenizer(work.store.read(first.files["tokenizer"]))
        tables, lists = [], []
        for piece, start, stop in ranges:
            batch = read_ids(work, piece)
            kept = np.flatnonzero(np.asarray(batch.column("draw")) < mixed["cuts"][piece.corpus])[start:stop]
            batch = batch.take(pa.array(kept))
            lists.append(batch.column("input_ids"))
            tables.append(_provenance(work, piece, batch))
        file = f"data-{shard:05}-of-{len(mixed['shards']):05}.arrow"
        offsets, ids = _joined(lists, tokenizer)
        with work.store.create(f"{name}.arrow") as stream:
            info = write_shard(stream, file, pa.concat_tables(tables or [_PROVENANCE.empty_table()]), offsets, ids)
        work.store.write_json(f"{name}.json", {"file": f"{name}.arrow", "info": asdict(info)})
    yield 0, pack({"shard": shard, **work.store.read_json(f"{name}.json")})


_PROVENANCE = pa.schema([(name, pa.string()) for name in ("id", "corpus", "source", "language", "url")])


def _provenance(work: Work, piece: Piece, batch: pa.RecordBatch) -> pa.Table:
    rows = batch.column("row")
    given = work.columns(piece, "documents", ["id", "corpus", "source", "url"]).take(rows)
    language = work.columns(piece, "measured", ["language"]).take(rows).column("language")
    return given.append_column("language", language).select(_PROVENANCE.names).cast(_PROVENANCE).combine_chunks()


def _joined(lists: list[Any], tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    counts = [np.diff(np.asarray(part.offsets)) for part in lists]
    dtype = np.uint16 if tokenizer.vocabulary_size <= 1 << 16 else np.uint32
    ids = np.concatenate([np.asarray(part.flatten()) for part in lists] or [np.zeros(0, dtype)]).astype(
        dtype, copy=False
    )
    return np.concatenate([[0], np.cumsum(np.concatenate(counts or [np.zeros(0, np.int64)]))]).astype(np.int64), ids
