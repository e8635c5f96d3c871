"""A table of a stage as a file: column after column, as they lie in memory, each with a digest of its bytes.

Whoever reads some columns maps them, touches no other, and sees a flipped bit in them: a digest is checked ten times as fast as
a page of Parquet is unpacked. What a run publishes is Parquet; this is for files that only its own stages read.

The file ends with a list of its columns (JSON: name, first byte, last, digest), its length, and its digest. A column is an
Arrow IPC stream. Texts have a row more than the table, so that kernels may read past the last one without a copy of all.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import xxhash

from filters.kernels.buffers import PADDING

SUFFIX = ".columns"
_ALIGNED = 64
_TAIL = 16
_HELD = 1 << 20
_LAST = " " * PADDING


class DamagedError(OSError):
    """A stage's file does not hold what was written: says which file, and which column."""


def write(table: pa.Table, file: BinaryIO, compression: str | None = None) -> None:
    """Write a table to a file; `compression` (lz4 or zstd) is for storage that is slower than unpacking."""
    options = pa.ipc.IpcWriteOptions(compression=compression)
    entries, at = [], 0
    for field, column in zip(table.schema, table.columns, strict=True):
        sink = _Digested(file)
        if column.nbytes > _HELD:
            _write_column(field, column, sink, options)
        else:  # a file of Python's takes longer for each of its writes than such a column has bytes
            held = pa.BufferOutputStream()
            _write_column(field, column, held, options)
            sink.write(held.getvalue())
        entries.append([field.name, at, at + sink.size, sink.digest.intdigest()])
        gap = -sink.size % _ALIGNED
        file.write(bytes(gap))
        at += sink.size + gap
    listing = json.dumps({"rows": table.num_rows, "columns": entries}).encode()
    size = len(listing).to_bytes(8, "little")
    file.write(listing + size + xxhash.xxh3_64_digest(listing + size))


class _Digested(io.RawIOBase):
    """Passes on what is written, buffers of Arrow without a copy, and knows its size and digest."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.size, self.digest = file, 0, xxhash.xxh3_64()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._file.write(data)
        self.digest.update(data)
        size = memoryview(data).nbytes
        self.size += size
        return size


def _write_column(field: pa.Field, column: pa.ChunkedArray, sink: Any, options: pa.ipc.IpcWriteOptions) -> None:
    chunks = column.chunks
    if field.type == pa.large_string():
        chunks = [*chunks, pa.array([_LAST], field.type)]
    array = pa.concat_arrays(chunks) if chunks else pa.array([], field.type)
    schema = pa.schema([field])
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([array], schema=schema))


def read(data: pa.Buffer, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return columns of a file that `write` made, all of them where none are named; they share memory with `data`.

    Raises DamagedError, and KeyError for a column that the file has not.
    """
    if data.size < _TAIL:
        raise DamagedError(f"{name}: damaged: it has {data.size} bytes; remove it, and run again")
    tail = data.slice(data.size - _TAIL).to_pybytes()
    start = data.size - _TAIL - int.from_bytes(tail[:8], "little")
    listing = data.slice(start, data.size - _TAIL - start).to_pybytes() if start >= 0 else b""
    if xxhash.xxh3_64_digest(listing + tail[:8]) != tail[8:]:
        raise DamagedError(f"{name}: damaged: its list of columns is not what was written; remove it, and run again")
    found = json.loads(listing)
    places = {entry[0]: entry[1:] for entry in found["columns"]}
    tables = [_column(data, name, one, *places[one]) for one in (places if columns is None else columns)]
    fields = [field for table in tables for field in table.schema]
    return pa.table([table.column(0).slice(0, found["rows"]) for table in tables], schema=pa.schema(fields))


def _column(data: pa.Buffer, name: str, column: str, start: int, stop: int, digest: int) -> pa.Table:
    stream = data.slice(start, stop - start)
    if xxhash.xxh3_64_intdigest(stream) != digest:
        raise DamagedError(f"{name}: damaged: its column {column!r} is not what was written; remove it, and run again")
    return pa.ipc.open_stream(stream).read_all()
