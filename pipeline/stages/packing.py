"""Stages from finished pieces to shards: cut each piece into runs of documents, fill shards with runs, write them.

A shard is filled in the canonical order of documents. Most pieces are one run; one with more tokens than a shard may
hold is cut into several. A shard holds the runs that fit: to place them, their sizes are enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.shard import write_shard
from pipeline.stages.room import make_room, shard_name
from pipeline.stages.tokenising import counted_tokens, tokenizer_of
from pipeline.stages.work import Message, Messages, Piece, Work, pack
from pipeline.tokens import Tokenizer


def cut_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Yield the runs of a piece: [first kept document, one past the last, tokens], each at most what a shard holds."""
    piece = Messages.unpack(messages).piece
    _, tokens, _ = counted_tokens(work, piece)
    yield 0, pack({"number": piece.number, "runs": runs(tokens.tolist(), work.plan.recipe.shards.tokens)})


def runs(tokens: Sequence[int], limit: int) -> list[list[int]]:
    """Return runs of documents, as few as possible, of at most `limit` tokens each, or of one document."""
    found: list[list[int]] = []
    for index, count in enumerate(tokens):
        if found and found[-1][2] + count <= limit:
            found[-1][1:] = [index + 1, found[-1][2] + count]
        else:
            found.append([index, index + 1, count])
    return found


def fill_shards(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Give every run a shard, and make room in the run folder; yield to each piece where its runs go."""
    values = sorted(Messages.unpack(messages).values, key=lambda value: int(value["number"]))
    places, shards = filled([value["runs"] for value in values], work.plan.recipe.shards.tokens)
    make_room(work.store, [value["number"] for value in values], shards)
    for value, place in zip(values, places, strict=True):
        yield value["number"], pack({"places": place, "shards": shards})


def filled(pieces: Sequence[list[list[int]]], limit: int) -> tuple[list[list[list[int]]], int]:
    """Return for the runs of each piece, in canonical order, [shard, first document, one past the last]; and the shards.

    Where nothing was kept there is one shard, without documents.
    """
    places: list[list[list[int]]] = []
    shard, held = -1, 0
    for one in pieces:
        places.append([])
        for start, stop, tokens in one:
            if shard < 0 or held + tokens > limit:
                shard, held = shard + 1, 0
            held += tokens
            places[-1].append([shard, start, stop])
    if shard < 0:
        shard, places[0] = 0, [[0, 0, 0]]
    return places, shard + 1


def send_to_shards(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Yield a finished piece to each shard that holds a run of it, with the run."""
    together = Messages.unpack(messages)
    for value in together.values:
        for shard, start, stop in value["places"]:
            yield shard, together.piece.pack()
            yield shard, pack({"number": number, "run": [start, stop], "shards": value["shards"]})


def pack_shard(work: Work, shard: int, messages: list[bytes]) -> Iterator[Message]:
    """Write and publish one shard of token ids, with the columns that lead back to each document."""
    together = Messages.unpack(messages)
    run_of = {value["number"]: value["run"] for value in together.values}
    ranges = [(piece, *run_of[piece.number]) for piece in together.pieces]
    file = shard_name(shard, together.values[0]["shards"])
    name = work.key("shards", file, [[piece.files["finished"], start, stop] for piece, start, stop in ranges])
    if not work.store.exists(f"{name}.json"):
        tokenizer = tokenizer_of(work.store.read(together.pieces[0].files["tokenizer"]))
        tables, lists = [], []
        for piece, start, stop in ranges:
            batch = read_kept(work, piece, start, stop)
            lists.append(batch.column("input_ids"))
            tables.append(_provenance(work, piece, batch))
        offsets, ids = _joined(lists, tokenizer)
        with work.store.create(f"{name}.arrow") as stream:
            info = write_shard(stream, file, pa.concat_tables(tables), offsets, ids)
        work.store.write_json(f"{name}.json", asdict(info))
    work.store.link(f"{name}.arrow", f"shards/{file}")
    yield 0, pack({"shard": shard, "info": work.store.read_json(f"{name}.json")})


def read_kept(work: Work, piece: Piece, start: int, stop: int) -> pa.RecordBatch:
    """Return row and input_ids of the kept documents `start` to `stop` of a finished piece."""
    batch = pa.ipc.open_stream(work.store.read(piece.files["ids"])).read_next_batch()
    wanted = work.alive(piece)[start:stop]
    places = np.searchsorted(np.asarray(batch.column("row")), wanted)
    if len(places) and places[-1] - places[0] + 1 == len(places):  # as they lie there, if the mixture dropped none
        return batch.slice(places[0], len(places))
    return batch.take(pa.array(places))


_GIVEN = ["id", "corpus", "source", "programming_language", "url"]
_PROVENANCE = pa.schema([(name, pa.string()) for name in [*_GIVEN[:3], "language", *_GIVEN[3:]]])


def _provenance(work: Work, piece: Piece, batch: pa.RecordBatch) -> pa.Table:
    rows = batch.column("row")
    given = work.columns(piece, "documents", _GIVEN).take(rows)
    language = work.columns(piece, "measured", ["language"]).take(rows).column("language")
    return given.append_column("language", language).select(_PROVENANCE.names).cast(_PROVENANCE).combine_chunks()


def _joined(lists: list[Any], tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    counts = [np.diff(np.asarray(part.offsets)) for part in lists]
    dtype = np.uint16 if tokenizer.vocabulary_size <= 1 << 16 else np.uint32
    ids = np.concatenate([np.asarray(part.flatten()) for part in lists]).astype(dtype, copy=False)
    return np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64), ids
