"""What every stage works with: the plan, the store, a piece of documents, and messages between stages.

A message is bytes: a JSON object (a piece, or the name of a file that holds a stage's result) or an Arrow IPC stream
(rows of a piece that a stage has something to say about). Text never travels in a message.
"""

from __future__ import annotations

import functools
import json
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.node import nodes_of
from pipeline.node import piece_and_row as piece_and_row
from pipeline.plan import Plan, code
from pipeline.store import Store, digest
from samplers.draw import draw

Message = tuple[int, bytes]
"""What Beam carries: (number of the piece, bucket or shard that it concerns, a packed value)."""


@dataclass(frozen=True)
class Piece:
    """Documents of one work unit, of bounded size: the unit of work after reading. `files` maps a stage to its file."""

    number: int
    corpus: str
    rows: int
    text_bytes: int
    files: Mapping[str, str]
    source_bytes: int = 0  # of the unit, on its first piece
    rejected: int = 0

    def nodes(self, rows: np.ndarray) -> np.ndarray:
        """Return the run-wide numbers of rows of this piece: int64, in canonical order of documents."""
        return nodes_of(self.number, rows)

    def having(self, **files: str) -> Piece:
        return replace(self, files={**self.files, **files})

    def pack(self) -> bytes:
        return json.dumps({"piece": asdict(self)}, sort_keys=True).encode()


def pack(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def pack_rows(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


@dataclass(frozen=True)
class Messages:
    """The messages that came together under one key, sorted so that their order of arrival does not matter."""

    pieces: tuple[Piece, ...]
    values: tuple[dict[str, Any], ...]
    tables: tuple[pa.Table, ...]

    @staticmethod
    def unpack(messages: Iterable[bytes]) -> Messages:
        pieces, values, tables = [], [], []
        for message in sorted(messages):
            if message[:1] != b"{":
                tables.append(pa.ipc.open_stream(message).read_all())
                continue
            value = json.loads(message)
            if "piece" in value:
                pieces.append(Piece(**value["piece"]))
            else:
                values.append(value)
        return Messages(tuple(sorted(pieces, key=lambda piece: piece.number)), tuple(values), tuple(tables))

    @property
    def piece(self) -> Piece:
        (piece,) = self.pieces
        return piece


class Work:
    """The plan and the store of a run, in one worker process."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.store = Store(plan.root)

    def key(self, stage: str, *parts: object) -> str:
        """Return the name of a stage's file: it depends on the code, the stage and what the stage depends on."""
        return f"work/{stage}/{digest(code(), stage, *parts)}"

    def progress(self, stage: str, documents: int, size: int) -> None:
        """Note that a stage is done with some documents, for whoever watches; never a part of the results."""
        if self.store.local:
            folder = self.store.path("work/progress")
            os.makedirs(folder, exist_ok=True)
            with open(f"{folder}/{os.getpid()}", "a", encoding="ascii") as file:
                file.write(f"{stage} {documents} {size}\n")

    def text(self, piece: Piece, rows: np.ndarray | None = None) -> pa.Array:
        """Return the texts of a piece as one large_string array: all of them, or those of `rows`."""
        array = whole(self.store.read_table(piece.files["documents"], ["text"]), "text")
        return array if rows is None else array.take(pa.array(rows))

    def columns(self, piece: Piece, stage: str, names: list[str]) -> pa.Table:
        return self.store.read_table(piece.files[stage], names).combine_chunks()

    def alive(self, piece: Piece) -> np.ndarray:
        """Return the rows of a piece that nothing has dropped so far."""
        reason = self.columns(piece, "state", ["reason"]).column("reason")
        return np.flatnonzero(np.asarray(reason.is_null()))

    def draws(self, piece: Piece, rows: np.ndarray) -> np.ndarray:
        """Return the draw of each row: from the seed, its id, and its text (ids may repeat)."""
        take = pa.array(rows)
        ids = whole(self.columns(piece, "documents", ["id"]), "id")
        content = whole(self.columns(piece, "measured", ["content_hash"]), "content_hash")
        return draw(self.plan.recipe.seed, ids.take(take), content.take(take))


def whole(table: pa.Table | pa.RecordBatch, name: str) -> pa.Array:
    """Return a column as one array, whatever chunks it is in."""
    column = table.column(name)
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])


@functools.lru_cache(maxsize=4)
def work_of(plan: str) -> Work:
    """Return the work of a plan given as JSON, the same object for the same plan within a process."""
    work = Work(Plan.from_json(plan))
    if not work.store.exists("recipe.yaml"):
        raise FileNotFoundError(
            f"{work.plan.root}: the run folder is not there on {socket.gethostname()}; where workers run on several "
            "machines, it must be on storage that all of them share: s3://, or a file system mounted at the same path"
        )
    return work
