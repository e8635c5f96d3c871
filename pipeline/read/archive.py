"""Code trees in archives: tar, packed or not, and zip. Members are read as streams and never extracted."""

from __future__ import annotations

import posixpath
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import BinaryIO

import pyarrow as pa

from pipeline.document import Batcher, Reject, sample_of
from pipeline.read import tar
from pipeline.read.charset import CharsetError
from pipeline.read.code import document
from pipeline.read.files import File, open_file, shown
from pipeline.read.source import RECORD_BYTES, Unit
from pipeline.read.streams import events
from pipeline.read.tar import Member
from pipeline.read.warc import Broken

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
ENDINGS = (".gz", ".zst", ".tar", ".tgz", ".zip", ".whl", ".jar")


@dataclass(frozen=True)
class _Zip:
    """A readable zip archive and its members by place."""

    opened: zipfile.ZipFile
    members: list[zipfile.ZipInfo]


def cuts(file: File, target_bytes: int) -> list[int]:
    """Return the bytes at which to cut a zip archive: where members start. A tar archive has one way in."""
    if file.size <= target_bytes:
        return []
    with open_file(file.path) as opened:
        archive = _zip(opened)
        starts = [member.header_offset for member in archive.members] if isinstance(archive, _Zip) else []
    found: list[int] = []
    for start in starts:
        if start - (found[-1] if found else 0) >= target_bytes:
            found.append(start)
    return found


def read(unit: Unit) -> Iterator[pa.RecordBatch | Reject]:
    """Yield a document for each text file of an archive, and a reject for each member that cannot be read."""
    source = shown(unit.path)
    tree = stem(source)
    batcher = Batcher()
    with open_file(unit.path) as file:
        head = file.read(4)
        for member in _unzipped(file, unit) if head in ZIP else tar.members(events(file)):
            if isinstance(member, Broken):
                yield Reject(unit.corpus, source, member.offset, member.reason, sample_of(member.head))
                continue
            path = member.name.decode("utf-8", "backslashreplace")
            try:
                values = document(path, member.data, tree)
            except CharsetError as error:
                yield Reject(unit.corpus, source, member.offset, str(error), sample_of(member.name))
                continue
            if values is not None:
                yield from batcher.add(corpus=unit.corpus, source=source, offset=member.offset, **values)
    yield from batcher.flush()


def stem(path: str) -> str:
    """Return an archive's name without what says how it is packed."""
    name = posixpath.basename(path)
    while name.endswith(ENDINGS):
        name = name[: name.rindex(".")]
    return name


def _unzipped(file: BinaryIO, unit: Unit) -> Iterator[Member | Broken]:
    archive = _zip(file)
    if isinstance(archive, Broken):
        yield archive
        return
    for member, following in zip_longest(archive.members, archive.members[1:]):
        place = member.header_offset
        if place < unit.start or (unit.stop is not None and place >= unit.stop):
            continue
        if member.is_dir() or stat.S_ISLNK(member.external_attr >> 16):
            continue
        name = member.filename.encode("utf-8", "backslashreplace")
        if following is not None and place + member.compress_size > following.header_offset:
            yield Broken(place, "members of the archive overlap", name)  # many names for the same bytes: a bomb
            continue
        try:
            with archive.opened.open(member) as opened:
                data = opened.read(RECORD_BYTES + 1)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            OSError,
            ValueError,
        ) as error:
            yield Broken(place, f"member cannot be unpacked: {type(error).__name__}", name)
            continue
        yield Member(place, name, data)


def _zip(file: BinaryIO) -> _Zip | Broken:
    try:
        opened = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError) as error:
        return Broken(0, f"not a whole zip archive: {error}", b"")
    return _Zip(opened, sorted(opened.infolist(), key=lambda member: member.header_offset))
