"""Source code: each file of a tree is a document that knows its repository, path and language.

A file with a NUL byte in its first 8 KiB is binary, and no document, unless a mark says that it is UTF-16.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline.document import Batcher, Reject, sample_of
from pipeline.read.charset import MARKS, CharsetError, decode
from pipeline.read.files import open_file, shown
from pipeline.read.languages import language_of
from pipeline.read.listing import HISTORY, files_of
from pipeline.read.source import RECORD_BYTES, Unit

BINARY_BYTES = 8 << 10


def read(unit: Unit) -> Iterator[pa.RecordBatch | Reject]:
    """Yield a document for each text file of a folder, and a reject for each that is too long or no text after all."""
    root = unit.path.rstrip("/")
    batcher = Batcher()
    for found in files_of(unit):
        source = shown(found.path)
        with open_file(found.path) as file:
            data = file.read(RECORD_BYTES + 1)
        try:
            values = document(shown(found.path[len(root) + 1 :]), data, shown(os.path.basename(root)))
        except CharsetError as error:
            yield Reject(unit.corpus, source, 0, str(error), sample_of(data))
            continue
        if values is not None:
            yield from batcher.add(corpus=unit.corpus, source=source, offset=0, **values)
    yield from batcher.flush()


def document(path: str, data: bytes, tree: str) -> dict[str, Any] | None:
    """Return the columns of a source file; None if it is binary or version control's. Raises CharsetError if undecodable.

    `path` is what the tree calls the file: data, never opened. The repository is its first folder, else `tree`.
    """
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    if is_binary(data) or not HISTORY.isdisjoint(parts[:-1]):
        return None
    if len(data) > RECORD_BYTES:
        raise CharsetError(f"a file of code is at most {RECORD_BYTES >> 20} MiB long")
    text = decode(data).text
    return {
        "id": path,
        "url": path,
        "repository": parts[0] if len(parts) > 1 else tree,
        "programming_language": language_of(parts[-1] if parts else "", text),
        "media_type": "text/x-source",
        "text": text,
    }


def is_binary(data: bytes) -> bool:
    return b"\0" in data[:BINARY_BYTES] and not data.startswith(tuple(mark for mark, _ in MARKS))
