"""Readers: source files → batches of documents, and a reject for every record that cannot be one.

`units` cuts what a source names into pieces of work, `read` reads one of them. The records of all units of a file are
the records of the file read whole; one bad byte costs one record, never a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.read.source import COLUMNS, FORMATS, Source, SourceError, Unit

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.document import Reject

__all__ = ["COLUMNS", "FORMATS", "Source", "SourceError", "Unit", "read", "units"]


def units(source: Source, target_bytes: int = 32 << 20) -> list[Unit]:
    """Cut a source into units of about `target_bytes`, in the order of (path, start).

    Raises SourceError where a path stands for nothing or cannot be reached, or a file lacks a column it needs.
    """
    from pipeline.read.plan import plan  # readers are imported only where something is read

    return plan(source, target_bytes)


def read(unit: Unit) -> Iterator[pa.RecordBatch | Reject]:
    """Yield the unit's documents in batches of `pipeline.document.SCHEMA`, in order, and its rejects where they occur.

    Text is not edited. Raises SourceError if what is to be read has changed since the unit was cut.
    """
    from pipeline.read.plan import reader

    return reader(unit)(unit)
