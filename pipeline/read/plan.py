"""From a source to units, and from a unit to its reader."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib import import_module

import pyarrow as pa

from pipeline.document import Reject
from pipeline.read import archive, listing, parquet
from pipeline.read.cuts import cuts
from pipeline.read.files import File, describe, find_all, shown
from pipeline.read.source import Source, SourceError, Unit

MODULES = {"warc": "web", "wet": "web", "jsonl": "jsonl", "parquet": "parquet", "text": "text", "code": "code"}


def plan(source: Source, target_bytes: int) -> list[Unit]:
    """Return the units of a source by path and start."""
    if source.format == "text":
        patterns = list(dict.fromkeys(source.paths))
        listing.refuse_repeats(source, patterns)
        found = [unit for pattern in patterns for unit in listing.units(source, pattern, target_bytes)]
    elif source.format == "code":
        found = list(_code(source, target_bytes))
    else:
        files = find_all(source.paths, source.format)
        found = [unit for file in files for unit in _ranges(source, file, target_bytes)]
    return sorted(found, key=lambda unit: (unit.path, unit.start))


def reader(unit: Unit) -> Callable[[Unit], Iterator[pa.RecordBatch | Reject]]:
    """Return the function that reads this unit. Raises SourceError if its file has changed since."""
    if not listing.is_listing(unit):
        found = describe(unit.path).version
        if found != unit.version:
            raise SourceError(
                f"{shown(unit.path)}: has changed while the run was going on: {found}, not {unit.version}"
            )
    name = "archive" if unit.format == "code" and not listing.is_listing(unit) else MODULES[unit.format]
    read: Callable[[Unit], Iterator[pa.RecordBatch | Reject]] = import_module(f"pipeline.read.{name}").read
    return read


def _ranges(source: Source, file: File, target_bytes: int) -> Iterator[Unit]:
    if source.format == "parquet":
        yield from parquet.units(source, file, target_bytes)
        return
    starts = [0, *cuts(file, source.format, target_bytes)]
    for start, stop in zip(starts, [*starts[1:], None], strict=True):
        yield _unit(source, file, start, stop, (stop or file.size) - start)


def _code(source: Source, target_bytes: int) -> Iterator[Unit]:
    paths = sorted({path for pattern in source.paths for path in listing.places(pattern)})
    for path in paths:
        inside = next((other for other in paths if path.startswith(f"{other}/")), None)
        if inside is not None:
            raise SourceError(f"{source.corpus}: {shown(path)!r} lies in {shown(inside)!r}, which is read as a whole")
        if os.path.isdir(path):
            yield from listing.units(source, path, target_bytes)
            continue
        if not path.endswith(archive.ENDINGS):
            raise SourceError(f"{source.corpus}: {shown(path)!r} is neither folder nor archive of code")
        file = describe(path)
        starts = [0, *archive.cuts(file, target_bytes)]
        for start, stop in zip(starts, [*starts[1:], None], strict=True):
            yield _unit(source, file, start, stop, (stop or file.size) - start)


def _unit(source: Source, file: File, start: int, stop: int | None, size: int) -> Unit:
    return Unit(source.corpus, source.format, file.path, start, stop, source.columns, size, file.version)
