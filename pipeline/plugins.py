"""Every signal a recipe may use: the built-in ones and those of the files it names under `plugins:`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from filters.catalogue import WRITERS, plugin
from filters.signal import Signal, SignalError, collect
from pipeline.document import SCHEMA
from pipeline.remote import RemoteError, fetch, is_url

GIVEN = tuple(SCHEMA.names)
"""Columns that readers write: signals and rules may use them as they are."""


def plugin_source(path: str) -> str:
    """Return the text of a plugin, a file or a URL; raise SignalError where there is none."""
    try:
        return str(fetch(path), "utf-8") if is_url(path) else Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SignalError(f"{path}: not UTF-8; a plugin is a Python file that defines signals") from None
    except RemoteError as error:
        raise SignalError(f"{error}; a plugin is a Python file that defines signals") from None
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise SignalError(f"{path}: {what}; a plugin is a Python file that defines signals") from None


def writers(plugins: Iterable[tuple[str, str]] = ()) -> dict[str, Signal]:
    """Map every column to its signal, those of plugins (path, source) too.

    Raises SignalError for a plugin that cannot be loaded or that clashes.
    """
    every = dict(WRITERS)
    for path, source in plugins:
        for column, signal in collect([plugin(path, source)]).items():
            if column in every or column in GIVEN:
                owner = f"signal {every[column].name!r}" if column in every else "the reader"
                raise SignalError(f"{path}: signal {signal.name!r} writes {column!r}, which {owner} writes already")
            every[column] = signal
    return every


def column_types(every: dict[str, Signal]) -> dict[str, pa.DataType]:
    """Return the type of every column that a rule may bound."""
    kinds = {field.name: field.type for field in SCHEMA if field.name not in ("text", "metadata")}
    return kinds | {column: signal.writes[column] for column, signal in every.items()}
