"""The schema of a document, and of a record that could not become one.

Readers yield either; nothing else may discard a record. `metadata` is the source's remaining fields as one JSON
object. `text` is what the edits made of it; for HTML pages readers put the decoded page there first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # the source's own, else "<source>#<offset>"; may repeat
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),  # the file, as the recipe's pattern resolved it
        pa.field("offset", pa.int64(), nullable=False),  # byte (or row, for Parquet) where the record starts in it
        pa.field("url", pa.string()),  # or the path inside a code tree
        pa.field("date", pa.string()),  # when it was fetched or written, in ISO 8601, as the source says it
        pa.field("repository", pa.string()),
        pa.field("programming_language", pa.string()),
        pa.field("licence", pa.string()),  # as the source declares it
        pa.field("media_type", pa.string(), nullable=False),  # text/html, text/plain, text/x-source
        pa.field("metadata", pa.string()),
        pa.field("text", pa.large_string(), nullable=False),
    ]
)

REJECTS = pa.schema(
    [
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("sample", pa.string()),  # the record's first bytes, undecodable ones escaped
    ]
)

SAMPLE_BYTES = 200


@dataclass(frozen=True)
class Reject:
    """A record that could not be read: where it starts, and why. One bad byte costs one record, never a file."""

    corpus: str
    source: str
    offset: int
    reason: str
    sample: str | None = None


def sample_of(record: bytes) -> str:
    """Return the first bytes of a record as text that can be shown: undecodable bytes as \\xNN."""
    return record[:SAMPLE_BYTES].decode("utf-8", "backslashreplace")


def rejects_batch(rejects: list[Reject]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([vars(reject) for reject in rejects], schema=REJECTS)


@dataclass
class Batcher:
    """Collect documents row by row into record batches of at most `rows` rows and about `text_bytes` bytes of text."""

    rows: int = 8192
    text_bytes: int = 16 << 20
    _columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in SCHEMA.names})
    _bytes: int = 0

    def add(self, **values: Any) -> Iterator[pa.RecordBatch]:
        """Add one document; yield a batch when one is full. Columns that are not named are null."""
        for name, column in self._columns.items():
            column.append(values.get(name))
        self._bytes += len(values["text"])
        if len(self._columns["id"]) >= self.rows or self._bytes >= self.text_bytes:
            yield from self.flush()

    def flush(self) -> Iterator[pa.RecordBatch]:
        """Yield what is left, if anything."""
        if self._columns["id"]:
            arrays = [pa.array(self._columns[f.name], f.type) for f in SCHEMA]
            yield pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
        self._columns = {name: [] for name in SCHEMA.names}
        self._bytes = 0
