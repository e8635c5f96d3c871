"""Files of evaluation sets: JSON Lines, JSON, CSV, TSV, Parquet and plain text, packed or not → the text of each item.

An item is a record: the values of the wanted fields, joined by spaces; in plain text a paragraph. An evaluation set is
small and must be whole: where a corpus would lose one record, this raises SourceError.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.read.files import open_file
from pipeline.read.source import SourceError
from pipeline.read.streams import Damage, events

MOST_BYTES = 1 << 30
ENDINGS = ("jsonl", "ndjson", "json", "csv", "tsv", "parquet", "txt")

Field = str | int
"""A key, a path of keys with dots between, or the number (from 0) of a column of a CSV file without a header."""


class UnknownField(ValueError):  # noqa: N818
    """No record of a file has a field; `known` is what records have in its place."""

    def __init__(self, field: Field, known: Iterable[Field]) -> None:
        super().__init__(f"no record has {field!r}")
        self.field, self.known = field, sorted(map(str, known))


def read_items(path: str, fields: Sequence[Field], records: str | None) -> Iterator[str]:
    """Yield the text of every item of one file, in order; an empty one where a record has none of the fields.

    Raises UnknownField for a field that is in no record, SourceError for a file that is not what its name says.
    """
    ending = _ending(path)
    if ending == "txt":
        if fields or records:
            raise SourceError("plain text has paragraphs, and no fields or records to name")
        yield from (part for part in re.split(r"\n\s*\n", _decoded(path)) if part.strip())
        return
    if not fields:
        raise SourceError("name the fields that make an item: fields: [...]")
    found: set[Field] = set()
    known: dict[Field, set[Field]] = {field: set() for field in fields}
    count = 0
    for record in _records(path, ending, fields, records):
        count += 1
        values: list[str] = []
        for field in fields:
            try:
                values += _values(record, field)
                found.add(field)
            except UnknownField as error:
                known[field] |= set(error.known)
        yield " ".join(values)
    for field in fields:
        if field not in found and count:
            raise UnknownField(field, known[field])


def _ending(path: str) -> str:
    name = re.sub(r"\.(gz|zst)$", "", path)
    ending = name.rsplit(".", 1)[-1].lower()
    if ending not in ENDINGS:
        raise SourceError(f"a name ends in one of .{', .'.join(ENDINGS)}, and .gz or .zst after it if packed")
    return ending


def _records(path: str, ending: str, fields: Sequence[Field], records: str | None) -> Iterator[Any]:
    if ending == "parquet":
        rows = _parquet(path, fields, records)
    elif ending in ("csv", "tsv"):
        rows = _table(path, "\t" if ending == "tsv" else ",", fields)
    elif ending == "json":
        rows = _json(path, records)
    else:
        rows = _json_lines(_decoded(path))
    if records is None:
        return rows
    return (record for row in rows for record in _below(row, records.split(".")))


def _json(path: str, records: str | None) -> Iterator[Any]:
    """Yield the root if `records` leads on from there, else the elements of the list it is, or of the one it holds."""
    text = _decoded(path)
    try:
        root = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # JSON Lines under another name
            yield from _json_lines(text)
            return
        raise SourceError(f"line {error.lineno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise SourceError(f"not JSON: {error}") from None
    if records is not None:
        yield root
    elif isinstance(root, list):
        yield from root
    else:
        lists = [key for key, value in root.items() if _is_records(value)] if isinstance(root, dict) else []
        if len(lists) != 1:
            what = f"holds the lists {', '.join(lists)}" if lists else "is no list of records and holds none"
            raise SourceError(f"{what}: name the one that is meant, as in records: data.questions")
        yield from root[lists[0]]


def _is_records(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _json_lines(text: str) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise SourceError(f"line {number}: not JSON: {error}") from None


def _table(path: str, delimiter: str, fields: Sequence[Field]) -> Iterator[Any]:
    """Yield rows as mappings by the names of the header, or by number if the fields are numbers: then it has none."""
    lines = io.StringIO(_decoded(path), newline="")
    numbered = [field for field in fields if isinstance(field, int)]
    if numbered and len(numbered) < len(fields):
        raise SourceError("fields are names of the header, or numbers where there is no header: not both")
    try:
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        header: Sequence[Field] = () if numbered else next(rows, [])
        for row in rows:
            if row:
                yield dict(zip(header or range(len(row)), row, strict=False))
    except csv.Error as error:
        raise SourceError(f"not a table: {error}") from None


def _parquet(path: str, fields: Sequence[Field], records: str | None) -> Iterator[Any]:
    """Yield rows as mappings, of the columns that are needed."""
    wanted = {str(field) for field in (fields if records is None else [records])}
    wanted |= {name.split(".")[0] for name in wanted}
    with open_file(path) as file:
        try:
            parquet = pq.ParquetFile(file, page_checksum_verification=True, arrow_extensions_enabled=False)
            every = dict.fromkeys(parquet.schema_arrow.names)
            for batch in parquet.iter_batches(columns=[name for name in every if name in wanted], use_threads=False):
                yield from ({**every, **row} for row in batch.to_pylist())
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"not a whole Parquet file: {str(error).splitlines()[0]}") from None


def _below(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """Yield what lies at the end of a path of keys; a list on the way, or at the end, is each of its elements."""
    if isinstance(value, list):
        for one in value:
            yield from _below(one, path)
    elif path:
        if not isinstance(value, dict) or path[0] not in value:
            raise UnknownField(path[0], value if isinstance(value, dict) else ())
        yield from _below(value[path[0]], path[1:])
    else:
        yield value


def _values(record: Any, field: Field) -> list[str]:
    """Return the strings and numbers at a field; a key may have dots of its own."""
    whole = isinstance(record, dict) and field in record
    values = _below(record[field], ()) if whole else _below(record, str(field).split("."))
    texts = []
    for value in values:
        if isinstance(value, dict):
            raise UnknownField(field, (f"{field}.{key}" for key in value))
        if value is not None:
            texts.append(str(value))
    return texts


def _decoded(path: str) -> str:
    """Return a file as text, unpacked, without a byte order mark."""
    pieces: list[bytes] = []
    size = 0
    with open_file(path) as file:
        for event in events(file):
            if isinstance(event, Damage):
                raise SourceError(f"{event.reason}: at byte {event.at} of the file")
            if isinstance(event, bytes):
                pieces.append(event)
                size += len(event)
                if size > MOST_BYTES:
                    raise SourceError(f"a file of an evaluation set is at most {MOST_BYTES >> 30} GiB long")
    data = b"".join(pieces)
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise SourceError(f"not UTF-8: byte {error.start} is {data[error.start]:#04x}") from None
