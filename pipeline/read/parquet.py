"""Parquet: a row is a record, a row group the smallest piece. Only columns that are needed are read.

Checksums of pages are verified where the file has them. We register no extension types, whose makers may run code: such
columns come as what they are stored as. A row group that cannot be read is as many rejects as it has rows left.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.document import SCHEMA, Reject
from pipeline.read.files import File, open_file, shown
from pipeline.read.source import RECORD_BYTES, Source, SourceError, Unit, columns_of

BATCH_ROWS = 8192
BATCH_BYTES = 16 << 20
BELIEVABLE_ROWS = 1 << 24
"""Rows of a row group that are counted one by one when it is lost. A footer that claims more is not believed."""

BROKEN = (pa.ArrowException, OSError)


def units(source: Source, file: File, target_bytes: int) -> Iterator[Unit]:
    """Yield stretches of row groups of about `target_bytes`. Raises SourceError if there is no column of text.

    A file whose footer cannot be read is one unit, so that it is a reject when it is read.
    """

    def unit(start: int, stop: int | None, size: int) -> Unit:
        return Unit(source.corpus, source.format, file.path, start, stop, source.columns, size, file.version)

    with open_file(file.path) as opened:
        try:
            parquet = _open(opened)
        except BROKEN:
            yield unit(0, None, file.size)
            return
        _require(parquet.schema_arrow, columns_of(source.columns), dict(source.columns), file.path)
        groups = parquet.metadata.num_row_groups
        sizes = [
            sum(
                parquet.metadata.row_group(group).column(column).total_compressed_size
                for column in range(parquet.metadata.num_columns)
            )
            for group in range(groups)
        ]
    start = size = 0
    for stop in range(1, groups + 1):
        size += sizes[stop - 1]
        if size >= target_bytes or stop == groups:
            yield unit(start, stop, size)
            start, size = stop, 0


def read(unit: Unit) -> Iterator[pa.RecordBatch | Reject]:
    """Yield the rows of the unit's row groups as documents. Offsets are row numbers in the file."""
    source = shown(unit.path)
    with open_file(unit.path) as opened:
        try:
            parquet = _open(opened)
        except BROKEN as error:
            yield Reject(unit.corpus, source, 0, f"not a whole Parquet file: {_first_line(error)}")
            return
        schema = parquet.schema_arrow
        columns = columns_of(unit.columns)
        _require(schema, columns, dict(unit.columns), unit.path)
        ours = {name: theirs for name, theirs in columns.items() if theirs in schema.names}
        rest = [field.name for field in schema if field.name not in ours.values() and _is_scalar(field.type)]
        metadata = parquet.metadata
        row = sum(metadata.row_group(group).num_rows for group in range(unit.start))
        for group in range(unit.start, metadata.num_row_groups if unit.stop is None else unit.stop):
            after = row + metadata.row_group(group).num_rows
            for batch in _batches(parquet, group, [*ours.values(), *rest]):
                if isinstance(batch, pa.RecordBatch):
                    yield from _documents(unit, source, batch, ours, rest, row)
                    row += batch.num_rows
                elif after - row > BELIEVABLE_ROWS:
                    yield Reject(unit.corpus, source, row, f"{batch}; it claims {after - row} rows")
                else:
                    yield from (Reject(unit.corpus, source, lost, batch) for lost in range(row, after))
            row = after


def _open(opened: BinaryIO) -> pq.ParquetFile:
    return pq.ParquetFile(opened, page_checksum_verification=True, arrow_extensions_enabled=False)


def _batches(parquet: pq.ParquetFile, group: int, columns: list[str]) -> Iterator[pa.RecordBatch | str]:
    """Yield a row group in batches of about BATCH_BYTES; in place of what cannot be read, and last, why."""
    found = parquet.metadata.row_group(group)
    rows = int(BATCH_BYTES / max(1.0, found.total_byte_size / max(1, found.num_rows)))
    try:
        yield from parquet.iter_batches(
            min(BATCH_ROWS, max(1, rows)), row_groups=[group], columns=list(dict.fromkeys(columns)), use_threads=False
        )
    except BROKEN as error:
        yield f"row group {group} cannot be read: {_first_line(error)}"


def _require(schema: pa.Schema, columns: dict[str, str], asked: dict[str, str], path: str) -> None:
    """Raise SourceError where a column that is needed, or was asked for, is missing or is no text."""
    for theirs in (columns["text"], *asked.values()):
        if theirs not in schema.names:
            raise SourceError(f"{shown(path)}: no column {theirs!r}; columns are {', '.join(schema.names)}")
    text = _storage(schema.field(columns["text"]).type)
    if not (_is_text(text) or _is_binary(text)):
        raise SourceError(f"{shown(path)}: the column {columns['text']!r} is {text}, not a string")


def _documents(
    unit: Unit, source: str, batch: pa.RecordBatch, ours: dict[str, str], rest: list[str], row: int
) -> Iterator[pa.RecordBatch | Reject]:
    """Yield the rows of a batch that starts at `row` of the file: rejects for those without a text, and the others."""
    text, faults = _decoded(batch.column(ours["text"]))
    for index, reason in faults:
        yield Reject(unit.corpus, source, row + index, reason)
    if text.null_count:
        keep = pc.indices_nonzero(text.is_valid())
        batch, text = batch.take(keep), text.take(keep)
    else:
        keep = pa.array(np.arange(len(text), dtype=np.uint64))
    if len(keep) == 0:
        return
    rows = pc.add(keep.cast(pa.int64()), row)
    name = posixpath.basename(source)
    made = pc.binary_join_element_wise(pa.scalar(name), rows.cast(pa.string()), "#")
    columns: dict[str, Any] = {
        "corpus": pa.repeat(pa.scalar(unit.corpus), len(keep)),
        "source": pa.repeat(pa.scalar(source), len(keep)),
        "offset": rows,
        "media_type": pa.repeat(pa.scalar("text/plain"), len(keep)),
        "metadata": pa.array(_metadata(batch.select(rest)) if rest else [None] * len(keep), pa.string()),
        "text": text,
    }
    for name, theirs in ours.items():
        if name != "text":
            columns[name] = _label(batch.column(theirs))
    identity = columns.get("id", pa.nulls(len(keep), pa.string()))
    columns["id"] = pc.coalesce(pc.if_else(pc.equal(identity, ""), None, identity), made)
    arrays = [columns.get(field.name, pa.nulls(len(keep), field.type)).cast(field.type) for field in SCHEMA]
    yield pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _decoded(column: pa.Array) -> tuple[pa.Array, list[tuple[int, str]]]:
    """Return a column as large_string, null where it is not text, and for each such row why."""
    column = _plain(column)
    nulls = [(int(index), "the text is null") for index in pc.indices_nonzero(column.is_null())]
    lengths = pc.binary_length(column)
    if len(column) > len(nulls) and pc.max(lengths).as_py() <= RECORD_BYTES:
        try:
            text = column.cast(pa.large_string())
            text.validate(full=True)
            return text, nulls
        except pa.ArrowInvalid:
            pass  # some row is not UTF-8: find out which
    values: list[str | None] = []
    faults: list[tuple[int, str]] = []
    for index, value in enumerate(column.cast(pa.large_binary())):
        found = value.as_py()
        reason = "the text is null"
        decoded = None
        if found is not None and len(found) > RECORD_BYTES:
            reason = f"a record is at most {RECORD_BYTES >> 20} MiB long"
        elif found is not None:
            try:
                decoded = found.decode("utf-8")
            except UnicodeDecodeError as error:
                reason = f"not UTF-8: byte {found[error.start]:#04x}"
        values.append(decoded)
        if decoded is None:
            faults.append((index, reason))
    return pa.array(values, pa.large_string()), faults


def _label(column: pa.Array) -> pa.Array:
    """Return a column as strings: numbers as they are written, null where it is no scalar or no text."""
    column = _plain(column)
    if _is_text(column.type) or _is_binary(column.type):
        return _decoded(column)[0].cast(pa.string())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type):
        return column.cast(pa.string())
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return pc.strftime(column.cast(pa.timestamp("s")), "%Y-%m-%dT%H:%M:%SZ")
    return pa.nulls(len(column), pa.string())


def _metadata(batch: pa.RecordBatch) -> list[str | None]:
    """Return each row as a JSON object without its nulls; None where nothing is left."""
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        plain = _plain(column)
        values = (_decoded(plain)[0] if _is_text(plain.type) else plain).to_pylist()
        columns.append((name, values))
    rows: list[str | None] = []
    for index in range(batch.num_rows):
        row = {name: values[index] for name, values in columns if values[index] is not None}
        row = {name: value for name, value in row.items() if value == value}  # NaN is no JSON
        rows.append(json.dumps(row, ensure_ascii=False, default=str, separators=(",", ":")) if row else None)
    return rows


def _plain(column: pa.Array) -> pa.Array:
    """Return a column without extension type, dictionary and views."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type):
        column = column.cast(pa.large_string() if pa.types.is_string_view(column.type) else pa.large_binary())
    return column


def _storage(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_scalar(kind: pa.DataType) -> bool:
    kind = _storage(kind)
    return not (pa.types.is_nested(kind) or _is_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0][:200]
