"""Every signal a recipe may use: the built-in ones and those of the files it names under `plugins:`."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from filters.catalogue import WRITERS, plugin
from filters.signal import Signal, SignalError, collect
from pipeline.document import SCHEMA

GIVEN = tuple(SCHEMA.names)
"""Columns that readers write: signals and rules may use them as they are."""


def writers(plugins: Iterable[str] = ()) -> dict[str, Signal]:
    """Map every column to its signal; raise SignalError for a plugin that cannot be loaded or that clashes."""
    every = dict(WRITERS)
    for path in plugins:
        for column, signal in collect([plugin(path)]).items():
            if column in every or column in GIVEN:
                owner = f"signal {every[column].name!r}" if column in every else "the reader"
                raise SignalError(f"{path}: signal {signal.name!r} writes {column!r}, which {owner} writes already")
            every[column] = signal
    return every


def column_types(every: dict[str, Signal]) -> dict[str, pa.DataType]:
    """Return the type of every column that a rule may bound."""
    kinds = {field.name: field.type for field in SCHEMA if field.name not in ("text", "metadata")}
    return kinds | {column: signal.writes[column] for column, signal in every.items()}
