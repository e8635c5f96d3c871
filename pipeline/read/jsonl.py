"""JSON Lines: a record is a line, split at LF bytes and decoded alone, so that a bad byte costs its own line.

Offsets are bytes of the file, or of the decompressed stream where it is packed.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import pyarrow as pa

from pipeline.document import SAMPLE_BYTES, Batcher, Reject, sample_of
from pipeline.read.files import open_file, shown
from pipeline.read.source import GIVE_UP_BYTES, RECORD_BYTES, Unit, columns_of
from pipeline.read.streams import Damage, Event, events

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Lost:
    """A line that is not there to be read: too long, or cut off by damage. `head` is what is known of it."""

    reason: str
    head: bytes


class NotADocument(ValueError):  # noqa: N818
    """A line that is no document; says why."""


def read(unit: Unit) -> Iterator[pa.RecordBatch | Reject]:
    """Yield the documents of a range of lines, and a reject for each line that is none."""
    source = shown(unit.path)
    name = posixpath.basename(source)
    columns = columns_of(unit.columns)
    batcher = Batcher()
    with open_file(unit.path) as file:
        for offset, line in lines(events(file, unit.start, unit.stop), unit.start):
            if isinstance(line, Lost):
                yield Reject(unit.corpus, source, offset, line.reason, sample_of(line.head))
                continue
            try:
                values = document(line, columns)
            except NotADocument as error:
                yield Reject(unit.corpus, source, offset, str(error), sample_of(line))
                continue
            values["id"] = values["id"] or f"{name}#{offset}"
            yield from batcher.add(corpus=unit.corpus, source=source, offset=offset, media_type="text/plain", **values)
    yield from batcher.flush()


def lines(stream: Iterator[Event], start: int = 0) -> Iterator[tuple[int, bytes | Lost]]:
    """Yield every line that is not blank, without its LF, with the place where it starts.

    After damage the stream goes on with a new line. A line longer than RECORD_BYTES is streamed past.
    """
    place = start  # of the line that `held` begins
    held: list[bytes] = []
    length = 0  # of that line so far; more than is held if it is too long
    for event in stream:
        if isinstance(event, bytes):
            first, *rest = event.split(b"\n")
            length += len(first)
            if length <= RECORD_BYTES:
                held.append(first)
            elif held:
                held = [b"".join(held)[:SAMPLE_BYTES]]
            if length > GIVE_UP_BYTES:
                yield place, Lost("longer than any line: the rest of the stream is left", held[0])
                return
            if not rest:
                continue
            yield from _line(place, held, length)
            place += length + 1
            last = rest.pop()
            for line in rest:
                if not _is_blank(line):
                    yield place, line
                place += len(line) + 1
            held, length = [last], len(last)
        elif isinstance(event, Damage):
            yield place, Lost(f"{event.reason}: at byte {event.at} of the file", b"".join(held))
            place += length
            held, length = [], 0
    yield from _line(place, held, length)


def document(line: bytes, columns: dict[str, str]) -> dict[str, str | None]:
    """Return the columns of ours that a JSON object gives, and what is left of it as `metadata`. `id` may be None."""
    if line.startswith(BOM):
        line = line[len(BOM) :]
    try:
        record = _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise NotADocument(f"not UTF-8: byte {line[error.start]:#04x}") from error
    except json.JSONDecodeError as error:
        raise NotADocument(f"not JSON: {error.msg}") from error
    except RecursionError as error:
        raise NotADocument("not JSON: nested too deeply") from error
    except ValueError as error:  # a number of more digits than Python converts, NaN, Infinity
        raise NotADocument(f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise NotADocument(f"not a JSON object but {_KINDS[type(record)]}")
    theirs = columns["text"]
    text = record.pop(theirs, None)
    if not isinstance(text, str):
        raise NotADocument(
            f"{theirs!r} is {_KINDS[type(text)]}, not a string" if text is not None else f"no {theirs!r}"
        )
    values: dict[str, str | None] = {"id": _identity(record, columns["id"]), "text": text}
    for ours, theirs in columns.items():
        if ours not in values:
            value = record.get(theirs)
            values[ours] = record.pop(theirs) if isinstance(value, str) else None
    try:
        values["metadata"] = _ENCODER.encode(record) if record else None
    except ValueError as error:  # 1e999 reads as infinity
        raise NotADocument("not JSON: a number out of range") from error
    except RecursionError as error:
        raise NotADocument("not JSON: nested too deeply") from error
    if b"\\u" in line:
        _refuse_surrogates(values, record)
    return values


def _line(place: int, held: list[bytes], length: int) -> Iterator[tuple[int, bytes | Lost]]:
    line = b"".join(held)
    if length > RECORD_BYTES:
        yield place, Lost(f"a record is at most {RECORD_BYTES >> 20} MiB long", line)
    elif not _is_blank(line):
        yield place, line


def _is_blank(line: bytes) -> bool:
    return line.strip() in (b"", BOM)


def _identity(record: dict[str, Any], theirs: str) -> str | None:
    value = record.get(theirs)
    if isinstance(value, (str, int, float)) and value != "":
        del record[theirs]
        return value if isinstance(value, str) else _ENCODER.encode(value)
    return None


def _refuse_surrogates(values: dict[str, str | None], record: dict[str, Any]) -> None:
    """Raise if a half of a surrogate pair stands alone; in the metadata it can stay as the escape it was."""
    for name, value in values.items():
        try:
            (value or "").encode("utf-8")
        except UnicodeEncodeError as error:
            if name != "metadata":
                raise NotADocument(f"half a surrogate pair in {name!r}") from error
            values[name] = json.dumps(record, separators=(",", ":"))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_KINDS = {
    dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number", bool: "a boolean",
    type(None): "null",
}  # fmt: skip
