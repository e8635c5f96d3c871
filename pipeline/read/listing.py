"""Many small files as a few units: a unit is a stretch of the sorted list of what a pattern or a folder holds.

The list is made again where a unit is read, once per process, and compared with the one the unit was cut from.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from functools import lru_cache

from pipeline.read.files import File, describe, digest, find, shown, walk
from pipeline.read.source import Source, SourceError, Unit
from pipeline.remote import is_url

HISTORY = {".git", ".hg", ".svn", ".bzr"}
"""Folders in which version control keeps what it needs; no sources of the tree."""


def is_listing(unit: Unit) -> bool:
    return unit.format == "text" or (unit.format == "code" and not is_url(unit.path) and os.path.isdir(unit.path))


def units(source: Source, pattern: str, target_bytes: int) -> Iterator[Unit]:
    """Yield stretches of the list of about `target_bytes`. Raises SourceError where there is nothing to list."""
    files = _listed.__wrapped__(source.format, pattern)
    if not files:
        raise SourceError(f"{source.corpus}: {shown(pattern)!r} holds no file")
    start = size = 0
    for stop, file in enumerate(files, 1):
        size += file.size
        if size >= target_bytes or stop == len(files):
            version = digest(files[start:stop])
            yield Unit(source.corpus, source.format, pattern, start, stop, source.columns, size, version)
            start, size = stop, 0


def refuse_repeats(source: Source, patterns: list[str]) -> None:
    """Raise SourceError if a file would be read twice because two patterns match it."""
    first: dict[str, str] = {}
    for pattern in patterns if len(patterns) > 1 else ():
        for file in find(pattern, source.format):
            other = first.setdefault(file.path, pattern)
            if other != pattern:
                raise SourceError(f"{source.corpus}: {pattern!r} matches {shown(file.path)!r}, and so does {other!r}")


def files_of(unit: Unit) -> list[File]:
    """Return the files of a unit. Raises SourceError if they are not what they were when the unit was cut."""
    for _ in range(2):
        files = _listed(unit.format, unit.path)[unit.start : unit.stop]
        if digest(files) == unit.version and all(describe(file.path) == file for file in files):
            return files
        _listed.cache_clear()
    raise SourceError(f"{shown(unit.path)}: files have changed while the run was going on; run again")


def places(pattern: str) -> list[str]:
    """Return the folders and files that a pattern of code trees matches. Raises SourceError where there are none."""
    if is_url(pattern):
        return [file.path for file in find(pattern, "text")]
    found = [pattern] if os.path.lexists(pattern) else glob.glob(pattern, recursive=True)
    if not found:
        raise SourceError(f"{pattern!r} matches neither folder nor archive")
    return [path.rstrip("/") or "/" for path in found]


@lru_cache(maxsize=4)
def _listed(form: str, pattern: str) -> list[File]:
    if form == "text":
        return find(pattern, form)
    return [file for file in walk(pattern) if HISTORY.isdisjoint(file.path[len(pattern) :].split("/")[:-1])]
