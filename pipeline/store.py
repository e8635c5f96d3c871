"""The folder of a run, on a disk or in an object store: files appear whole, under their name, or not at all.

On a disk a file is written under `work/tmp/`, synced, and renamed. In an object store an upload becomes visible when it
is complete. Nothing else in the pipeline opens a run's files for writing.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

TEMPORARY = "work/tmp"


def digest(*parts: object) -> str:
    """Return 32 hexadecimal digits that differ when any part does (a part is JSON-serialisable, or bytes)."""
    state = xxhash.xxh3_128()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, ensure_ascii=False).encode()
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


class Store:
    """Files below one root, named by relative paths with forward slashes."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self.local = "://" not in root
        self._files, self._base = fsspec.core.url_to_fs(self.root if not self.local else os.path.abspath(self.root))

    def path(self, name: str) -> str:
        return f"{self._base}/{name}"

    def exists(self, name: str) -> bool:
        return bool(os.path.exists(self.path(name)) if self.local else self._files.exists(self.path(name)))

    def size(self, name: str) -> int:
        return int(self._files.size(self.path(name)))

    def names(self, folder: str) -> list[str]:
        """Return the names of the files directly in a folder, sorted; none if there is no such folder."""
        if not self._files.exists(self.path(folder)):
            return []
        entries = self._files.ls(self.path(folder), detail=True, refresh=True)
        return sorted(f"{folder}/{entry['name'].rsplit('/', 1)[-1]}" for entry in entries if entry["type"] == "file")

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for writing; it is published under its name when the block ends without an exception."""
        if not self.local:
            stream = self._files.open(self.path(name), "wb")
            try:
                yield stream
            except BaseException:
                stream.discard()
                raise
            stream.close()
            return
        target = Path(self.path(name))
        temporary = Path(self.path(TEMPORARY)) / uuid.uuid4().hex
        for folder in (target.parent, temporary.parent):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def link(self, name: str, public: str) -> None:
        """Publish a finished file under another name as well, without writing it again where the storage can."""
        if not self.local:
            self._files.copy(self.path(name), self.path(public))
            return
        temporary = Path(self.path(TEMPORARY)) / uuid.uuid4().hex
        for folder in (Path(self.path(public)).parent, temporary.parent):
            folder.mkdir(parents=True, exist_ok=True)
        os.link(self.path(name), temporary)
        os.replace(temporary, self.path(public))
        temporary.unlink(missing_ok=True)  # renaming one name of a file over another of the same file leaves both

    def open(self, name: str) -> BinaryIO:
        stream: BinaryIO = self._files.open(self.path(name), "rb")
        return stream

    def write(self, name: str, data: bytes) -> None:
        with self.create(name) as file:
            file.write(data)

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes of a file from `start` up to `stop`."""
        if not self.local:
            data: bytes = self._files.cat_file(self.path(name), start=start, end=stop)
            return data
        with open(self.path(name), "rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True).encode())

    def read_json(self, name: str) -> Any:
        return json.loads(self.read(name))

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a table as Parquet with page checksums: without them most flipped bits pass unseen."""
        with self.create(name) as file:
            pq.write_table(table, file, compression="zstd", compression_level=1, write_page_checksum=True)

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        with self.open(name) as file:
            return pq.ParquetFile(file, page_checksum_verification=True).read(columns=columns, use_threads=False)

    def remove(self, name: str) -> None:
        if self.exists(name):
            self._files.rm(self.path(name))

    def clear_temporary(self) -> None:
        """Remove what a killed run left half-written. Only for the process that starts a run."""
        for name in self.names(TEMPORARY):
            self._files.rm(self.path(name))
