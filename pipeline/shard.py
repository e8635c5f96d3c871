"""A shard: one Arrow IPC stream of one uncompressed record batch, a row per document, its token ids in `input_ids`.

The same documents give the same bytes. What is read is mapped, never copied, and held to what the manifest says of it.
`pipeline.shards` makes a folder of them; see docs/shards.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

import numpy as np
import pyarrow as pa

SUFFIX = ".arrow"
_END_OF_STREAM = 8
_ALIGNMENT = 8


class ShardError(ValueError):
    """A shard or its folder is not what its manifest says, or cannot be written."""


def schema(dtype: np.dtype[Any]) -> pa.Schema:
    """Return the columns of a shard whose token ids are `dtype`: uint16 or uint32."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("corpus", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("language", pa.string()),
            pa.field("programming_language", pa.string()),
            pa.field("url", pa.string()),
            pa.field("tokens", pa.int32(), nullable=False),
            pa.field("input_ids", pa.large_list(pa.from_numpy_dtype(dtype)), nullable=False),
        ]
    )


class Count(TypedDict):
    """Documents and their tokens."""

    documents: int
    tokens: int


@dataclass(frozen=True)
class ShardInfo:
    """What the manifest says of a shard. `token_offset` is the byte of the file at which its token ids start.

    `ShardInfo(**json.loads(json.dumps(asdict(info))))` is `info` again.
    """

    file: str
    documents: int
    tokens: int
    bytes: int
    sha256: str
    token_offset: int
    dtype: str
    corpora: Mapping[str, Count]


def write_shard(stream: BinaryIO, name: str, columns: pa.Table, offsets: np.ndarray, ids: np.ndarray) -> ShardInfo:
    """Write a shard called `name` to `stream`; return what the manifest must say of it.

    `columns` has the columns of `schema` up to `url`, a row per document; document i is ids[offsets[i]:offsets[i + 1]].
    The same documents give the same bytes.
    """
    _check_tokens(name, columns, offsets, ids)
    if Path(name).name != name or not name.endswith(SUFFIX):
        raise ShardError(f"{name!r} is no name for a shard; it is a plain file name that ends with {SUFFIX}")
    lengths = np.diff(offsets)
    written = schema(ids.dtype)
    given = [field.name for field in written][:-2]
    if columns.column_names != given:
        raise ShardError(f"{name}: the columns are {', '.join(columns.column_names)}; they must be {', '.join(given)}")
    tokens = pa.array(lengths.astype(np.int32))
    values = pa.array(ids[offsets[0] : offsets[-1]])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets - offsets[0]), values, type=written.field("input_ids").type)
    batch = pa.RecordBatch.from_arrays(
        [*(_whole(columns.column(field.name), field) for field in written if field.name in given), tokens, lists],
        schema=written,
    )
    sink = _Sink(stream)
    with pa.PythonFile(sink, mode="w") as file, pa.ipc.new_stream(file, written) as writer:
        writer.write_batch(batch)
    padded = -(-values.nbytes // _ALIGNMENT) * _ALIGNMENT
    token_offset = sink.bytes - _END_OF_STREAM - padded
    if values.nbytes and (token_offset, values.nbytes) not in sink.writes:
        raise ShardError(f"{name}: this Arrow did not write the token ids last, at byte {token_offset}")
    return ShardInfo(
        file=name,
        documents=len(lengths),
        tokens=len(values),
        bytes=sink.bytes,
        sha256=sink.digest.hexdigest(),
        token_offset=token_offset,
        dtype=str(ids.dtype),
        corpora=_corpora(batch),
    )


def map_shard(path: Path, info: ShardInfo) -> pa.RecordBatch:
    """Return the batch of a shard, mapped; ShardError if it is not of the manifest's shape."""
    try:
        with pa.memory_map(str(path)) as file:
            mapped = file.read_buffer()
        batch = pa.ipc.open_stream(mapped).read_next_batch()
        batch.validate()
    except (pa.ArrowInvalid, OSError, StopIteration) as error:
        raise ShardError(f"{path}: not a shard: {error}") from None
    expected = schema(np.dtype(info.dtype))
    if batch.schema != expected or batch.num_rows != info.documents:
        raise ShardError(
            f"{path}: {batch.num_rows} documents of {batch.schema}; {info.documents} of {expected} are right"
        )
    values = batch.column("input_ids").values
    if len(values) != info.tokens or (
        info.tokens and values.buffers()[1].address - mapped.address != info.token_offset
    ):
        raise ShardError(f"{path}: its token ids are not the {info.tokens} at byte {info.token_offset} of the manifest")
    return batch


class _Sink:
    """Pass bytes on to a stream while hashing them and noting where each write starts."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.digest = hashlib.sha256()
        self.bytes = 0
        self.writes: set[tuple[int, int]] = set()
        self.closed = False

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.stream.write(data)
        self.digest.update(data)
        self.writes.add((self.bytes, size))
        self.bytes += size
        return size

    def flush(self) -> None:
        self.stream.flush()

    def close(self) -> None:
        """Leave the stream open: it is its owner's to sync and close."""
        self.closed = True


def _check_tokens(name: str, columns: pa.Table, offsets: np.ndarray, ids: np.ndarray) -> None:
    if ids.dtype not in (np.uint16, np.uint32):
        raise ShardError(f"{name}: token ids are {ids.dtype}; they must be uint16 or uint32")
    if offsets.dtype != np.int64 or len(offsets) != columns.num_rows + 1:
        raise ShardError(
            f"{name}: {len(offsets)} offsets of type {offsets.dtype} for {columns.num_rows} documents; "
            f"{columns.num_rows + 1} of type int64 are needed"
        )
    lengths = np.diff(offsets)
    if offsets[0] < 0 or offsets[-1] > len(ids) or (lengths < 0).any():
        raise ShardError(f"{name}: the offsets do not rise from 0 to at most {len(ids)}, the number of token ids")
    if lengths.max(initial=0) > np.iinfo(np.int32).max:
        raise ShardError(f"{name}: a document of {lengths.max()} tokens; a document holds at most 2³¹ - 1")


def _whole(column: pa.ChunkedArray, field: pa.Field) -> pa.Array:
    """Return a column as one array of the field's type."""
    if column.null_count and not field.nullable:
        raise ShardError(f"{column.null_count} of {len(column)} values of {field.name} are null; none may be")
    array = column.cast(field.type).combine_chunks()
    return array.chunk(0) if isinstance(array, pa.ChunkedArray) else array


def _corpora(batch: pa.RecordBatch) -> dict[str, Count]:
    table = pa.Table.from_batches([batch.select(["corpus", "tokens"])])
    grouped = table.group_by("corpus").aggregate([([], "count_all"), ("tokens", "sum")]).sort_by("corpus").to_pylist()
    return {row["corpus"]: Count(documents=row["count_all"], tokens=row["tokens_sum"]) for row in grouped}
