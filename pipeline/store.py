"""The folder of a run, on a disk or in an object store: files appear whole, under their name, or not at all.

On a disk a file is written under `work/tmp/`, synced, and renamed. In an object store it is held until it is complete, and
then sent at once: storage shows an object when it has all of it. Nothing else in the pipeline opens a run's files for
writing.
"""

from __future__ import annotations

import io
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from fsspec.implementations.local import LocalFileSystem

from pipeline import columns as columns_file
from pipeline.remote import RemoteError, filesystem, is_url, said

TEMPORARY = "work/tmp"
REQUESTS = 32
"""Requests to an object store at the same time, where many files are asked for: each waits for tens of milliseconds."""

PART_BYTES = 1 << 20
"""What is asked for at least when a remote file is read in parts."""
HELD_BYTES = 64 << 20
"""Stage files that were read last, kept in memory by a store that is remote."""

Item = TypeVar("Item")
Result = TypeVar("Result")


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
        self.local = not is_url(root)
        if self.local:
            self._files, self._base = LocalFileSystem(), os.path.abspath(self.root)
        else:
            self._files, self._base = filesystem(self.root)
        self._held: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def path(self, name: str) -> str:
        return f"{self._base}/{name}"

    @contextmanager
    def _asking(self, name: str) -> Iterator[None]:
        """Tell of a failure of remote storage in one line; a file that is not there stays a FileNotFoundError."""
        try:
            yield
        except (FileNotFoundError, RemoteError):
            raise
        except Exception as error:  # every storage has exceptions of its own; on a disk they are what they are
            if self.local:
                raise
            raise RemoteError(f"{self.root}/{name}: {said(error)}") from error

    def exists(self, name: str) -> bool:
        if self.local:
            return os.path.exists(self.path(name))
        with self._asking(name):
            return bool(self._files.exists(self.path(name)))

    def size(self, name: str) -> int:
        with self._asking(name):
            return int(self._files.size(self.path(name)))

    def names(self, folder: str) -> list[str]:
        """Return the names of the files directly in a folder, sorted; none if there is no such folder."""
        with self._asking(folder):
            try:
                entries = self._files.ls(self.path(folder), detail=True)
            except FileNotFoundError:
                return []
        return sorted(f"{folder}/{entry['name'].rsplit('/', 1)[-1]}" for entry in entries if entry["type"] == "file")

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for writing; it is published under its name when the block ends without an exception."""
        if not self.local:
            held = io.BytesIO()
            yield held
            with self._asking(name):
                self._files.pipe_file(self.path(name), held.getvalue())
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
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.filename is None and error.errno is not None:  # writing does not say where
                raise OSError(error.errno, error.strerror, str(target)) from error
            raise
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def link(self, name: str, public: str) -> None:
        """Publish a finished file under another name as well, without writing it again where the storage can."""
        if not self.local:
            with self._asking(public):
                self._files.cp_file(self.path(name), self.path(public))
            return
        temporary = Path(self.path(TEMPORARY)) / uuid.uuid4().hex
        for folder in (Path(self.path(public)).parent, temporary.parent):
            folder.mkdir(parents=True, exist_ok=True)
        os.link(self.path(name), temporary)
        os.replace(temporary, self.path(public))
        temporary.unlink(missing_ok=True)  # renaming one name of a file over another of the same file leaves both

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading parts of it; `read` takes the whole of it, which in an object store is one request."""
        if self.local:
            return open(self.path(name), "rb")
        with self._asking(name):
            stream: BinaryIO = self._files.open(self.path(name), "rb", block_size=PART_BYTES)
            return stream

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes of a file from `start` up to `stop`: in an object store one request."""
        if self.local:
            with open(self.path(name), "rb") as file:
                file.seek(start)
                return file.read(stop - start)
        held = self._held.get(name)
        if held is not None:
            return held[start:stop]
        with self._asking(name):
            data: bytes = self._files.cat_file(self.path(name), start=start, end=stop)
            return data

    def write(self, name: str, data: bytes) -> None:
        with self.create(name) as file:
            file.write(data)

    def read(self, name: str) -> bytes:
        if self.local:
            return Path(self.path(name)).read_bytes()
        held = self._held.get(name)
        if held is not None:
            return held
        with self._asking(name):
            data: bytes = self._files.cat_file(self.path(name))
        if name.startswith("work/"):  # a stage's file never changes: its name says what is in it
            self._hold(name, data)
        return data

    def _hold(self, name: str, data: bytes) -> None:
        """Keep what was just read: a stage often reads a file's columns one after the other."""
        with self._lock:
            self._held[name] = data
            while sum(map(len, self._held.values())) > HELD_BYTES:
                del self._held[next(iter(self._held))]

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True).encode())

    def read_json(self, name: str) -> Any:
        return json.loads(self.read(name))

    def write_table(self, name: str, table: pa.Table, row_group: int | None = None) -> None:
        """Write a table: one named .columns as `pipeline.columns` does, others as Parquet.

        Parquet has page checksums: without them most flipped bits pass unseen.
        """
        if name.endswith(columns_file.SUFFIX):
            with self.create(name) as file:
                columns_file.write(table, file, None if self.local else "lz4")
            return
        short = [field.name for field in table.schema if field.type != pa.large_string()]  # texts hardly ever repeat
        with self.create(name) as file:
            pq.write_table(
                table,
                file,
                row_group_size=row_group,
                compression="zstd",
                compression_level=1,
                write_page_checksum=True,
                use_dictionary=short,
                write_statistics=short,
            )

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        if name.endswith(columns_file.SUFFIX):
            data = pa.memory_map(self.path(name)).read_buffer() if self.local else pa.py_buffer(self.read(name))
            return columns_file.read(data, f"{self.root}/{name}", columns)
        # of a remote file all is fetched: it is a few megabytes, and each stretch of it would be a request
        with self.open(name) if self.local else pa.BufferReader(self.read(name)) as file:
            return pq.ParquetFile(file, page_checksum_verification=True).read(columns=columns, use_threads=False)

    def remove(self, name: str) -> None:
        if self.exists(name):
            with self._asking(name):
                self._files.rm_file(self.path(name))

    def each(self, do: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield what `do` returns of each item, in order: many at a time where each waits for an object store."""
        if self.local:
            yield from map(do, items)
            return
        waiting = iter(items)
        with ThreadPoolExecutor(REQUESTS) as pool:
            while some := list(islice(waiting, 8 * REQUESTS)):
                yield from pool.map(do, some)

    def clear_temporary(self) -> None:
        """Remove what a killed run left half-written. Only for the process that starts a run."""
        for name in self.names(TEMPORARY):
            self.remove(name)
        if not self.local:
            self._abort_uploads()

    def _abort_uploads(self) -> None:
        """Abort the uploads in parts that a killed run did not end: S3 shows nothing of them, and keeps them."""
        bucket, _, prefix = self._base.partition("/")
        if not hasattr(self._files, "call_s3"):
            return
        with suppress(OSError):  # who may write need not be allowed to do this
            found = self._files.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{prefix}/")
            for upload in found.get("Uploads", []):
                about = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                self._files.call_s3("abort_multipart_upload", **about)
