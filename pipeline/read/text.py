"""Plain text: a file is a document, known by its path below the fixed part of the pattern that found it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from pipeline.document import Batcher, Reject, sample_of
from pipeline.read.charset import CharsetError, decode
from pipeline.read.files import fixed_part, open_file, shown
from pipeline.read.listing import files_of
from pipeline.read.source import RECORD_BYTES, Unit
from pipeline.read.streams import Damage, events


class NotWhole(ValueError):  # noqa: N818
    """A file that breaks off, or is too long to be one document. Says why."""


def read(unit: Unit) -> Iterator[pa.RecordBatch | Reject]:
    """Yield a document for each file of the unit, and a reject for each that is damaged, too long, or no text."""
    fixed = len(fixed_part(unit.path))
    batcher = Batcher()
    for found in files_of(unit):
        source = shown(found.path)
        data = b""
        try:
            with open_file(found.path) as file:
                data = whole(file)
            text = decode(data).text
        except (NotWhole, CharsetError) as error:
            yield Reject(unit.corpus, source, 0, str(error), sample_of(data))
            continue
        yield from batcher.add(
            id=shown(found.path[fixed:]),
            corpus=unit.corpus,
            source=source,
            offset=0,
            media_type="text/plain",
            text=text,
        )
    yield from batcher.flush()


def whole(file: BinaryIO) -> bytes:
    """Return what a file holds, unpacked. Raises NotWhole if it is damaged or longer than RECORD_BYTES."""
    pieces: list[bytes] = []
    size = 0
    for event in events(file):
        if isinstance(event, Damage):
            raise NotWhole(f"{event.reason}: at byte {event.at} of the file")
        if isinstance(event, bytes):
            pieces.append(event)
            size += len(event)
            if size > RECORD_BYTES:
                raise NotWhole(f"a file of text is at most {RECORD_BYTES >> 20} MiB long")
    return b"".join(pieces)
