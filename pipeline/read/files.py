"""Files behind a pattern, local or remote, in an order that does not depend on how they were listed."""

from __future__ import annotations

import glob
import hashlib
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from pipeline.read.source import SourceError
from pipeline.remote import Reading, filesystem, is_url, said

ENDINGS = {
    "warc": (".warc", ".warc.gz", ".warc.zst"),
    "wet": (".wet", ".wet.gz", ".wet.zst"),
    "jsonl": tuple(name + packed for name in (".jsonl", ".json", ".ndjson") for packed in ("", ".gz", ".zst")),
    "parquet": (".parquet",),
    "text": ("",),
}
"""Which files of a folder belong to a format. A pattern takes whatever it matches."""


HOST = socket.gethostname()
"""Named where a file is not there: a path that one machine of a cluster knows need not exist on another."""

READ_AHEAD_BYTES = 8 << 20
"""What is asked for at least when a remote source is read."""


@dataclass(frozen=True, order=True)
class File:
    path: str  # to be opened; see `shown` for the name to be written down
    size: int
    version: str


def shown(path: str) -> str:
    """Return a path as text: bytes that are not UTF-8 as \\xNN."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def fixed_part(pattern: str) -> str:
    """Return the folder that everything a pattern matches lies in, with a slash at its end (or nothing)."""
    if not is_url(pattern) and os.path.isdir(pattern):
        return pattern.rstrip("/") + "/"
    magic = min((place for place in map(pattern.find, "*?[") if place >= 0), default=len(pattern))
    return pattern[: pattern.rfind("/", 0, magic) + 1]


def find(pattern: str, form: str) -> list[File]:
    """Return the files that `pattern` stands for, by path. Raises SourceError where there are none."""
    found = sorted(_remote(pattern, ENDINGS[form]) if is_url(pattern) else _local(pattern, ENDINGS[form]))
    if not found:
        what = f"holds no file ending in {', '.join(ENDINGS[form])}" if os.path.isdir(pattern) else "matches no file"
        raise SourceError(f"{pattern!r} {what}")
    return found


def find_all(patterns: Iterable[str], form: str) -> list[File]:
    """Return the files of all patterns, each once, by path."""
    return sorted({file for pattern in patterns for file in find(pattern, form)})


def describe(path: str) -> File:
    """Return the size and version of one file as they are now. Raises SourceError where it is gone."""
    if is_url(path):
        with _asking(path):
            files, name = filesystem(path)
            return _remote_file(files, files.info(name))
    try:
        return _local_file(path, os.stat(path))
    except OSError as error:
        raise SourceError(f"{shown(path)}: cannot be read on {HOST}: {error.strerror}") from error


def open_file(path: str) -> BinaryIO:
    """Open a file for reading bytes at any place."""
    if is_url(path):
        with _asking(path):
            files, name = filesystem(path)
            opened = files.open(name, "rb", block_size=READ_AHEAD_BYTES)
            return cast(BinaryIO, Reading(shown(path), opened, SourceError))
    try:
        return open(path, "rb")
    except OSError as error:
        raise SourceError(f"{shown(path)}: cannot be opened on {HOST}: {error.strerror}") from error


def walk(folder: str) -> Iterator[File]:
    """Yield the regular files below a folder, sorted within each folder.

    Links are not followed, files or folders: what they point at is read where it lies, or is none of ours. What is
    neither file nor folder (a pipe, a device) is no document.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise SourceError(f"{shown(folder)}: cannot be listed: {error.strerror}") from error
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)
        elif entry.is_file(follow_symlinks=False):
            yield _local_file(entry.path, entry.stat(follow_symlinks=False))


def digest(files: Iterable[File]) -> str:
    """Return the version of a list of files: it changes when one of them changes, comes or goes."""
    state = hashlib.sha256()
    for file in files:
        state.update(f"{file.path}\0{file.size}\0{file.version}\0".encode("utf-8", "surrogateescape"))
    return state.hexdigest()[:32]


def _local(pattern: str, endings: tuple[str, ...]) -> Iterator[File]:
    names = [pattern] if os.path.lexists(pattern) else glob.glob(pattern, recursive=True)
    for name in names:
        if os.path.isdir(name):
            yield from (file for file in walk(name.rstrip("/") or "/") if file.path.endswith(endings))
            continue
        file = os.stat(name)
        if stat.S_ISREG(file.st_mode):
            yield _local_file(name, file)


def _local_file(path: str, found: os.stat_result) -> File:
    return File(path, found.st_size, f"{found.st_size}-{found.st_mtime_ns}")


@contextmanager
def _asking(url: str) -> Iterator[None]:
    """Tell of a failure of remote storage in one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceError(f"{shown(url)}: cannot be read: it is not there") from error
    except Exception as error:  # every storage has exceptions of its own
        raise SourceError(f"{shown(url)}: cannot be read: {said(error)}") from error


def _remote(pattern: str, endings: tuple[str, ...]) -> Iterator[File]:
    with _asking(pattern):
        files, name = filesystem(pattern)
        if any(letter in pattern for letter in "*?["):
            found = list(files.glob(name, detail=True).values())
        elif files.isdir(name):
            found = [info for info in files.find(name, detail=True).values() if info["name"].endswith(endings)]
        else:
            found = [files.info(name)] if files.exists(name) else []
        for info in found:
            if info["type"] == "file":
                # a listing may write a time otherwise than the file's own entry, which `describe` will ask for
                yield _remote_file(files, files.info(info["name"]))


def _remote_file(files: Any, info: dict[str, Any]) -> File:
    marks = (info.get(key) for key in ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "created"))
    mark = next((str(mark) for mark in marks if mark is not None), "")
    return File(files.unstrip_protocol(info["name"]), int(info["size"]), f"{info['size']}-{mark}")
