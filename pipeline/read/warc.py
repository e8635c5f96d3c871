"""WARC records, which say how long they are, and a way back where they lie about it.

A record is believed if an empty line follows it, or the next record, a new gzip member, or the end. Otherwise the next
record is looked for from where this one's block starts, so that a wrong length costs one record, whether it was too
short or too long. Offsets are those of the gzip member (as in CDX indexes), or of the record in a file that is not
packed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.document import SAMPLE_BYTES
from pipeline.read.http import headers
from pipeline.read.source import GIVE_UP_BYTES, RECORD_BYTES
from pipeline.read.streams import Event
from pipeline.read.window import Window

MAGIC = b"WARC/"
VERSION = re.compile(rb"WARC/\d\.\d{1,2}[ \t]*\r?\n")
FIRST_FIELD = re.compile(VERSION.pattern + rb"(?:WARC|Content)-[A-Z-]{1,40}[ \t]*:", re.IGNORECASE)
FIRST_FIELD_BYTES = 80
EMPTY_LINE = b"\r\n\r\n"
LINE_ENDS = re.compile(rb"[\r\n]*")
HEADER_END = re.compile(rb"\r?\n\r?\n")
HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class Record:
    offset: int
    headers: dict[str, str]  # names in lower case
    block: bytes


@dataclass(frozen=True)
class Broken:
    """A record that could not be read, or a place where none is. `head` is what is known of it."""

    offset: int
    reason: str
    head: bytes


def records(stream: Iterator[Event], wanted: frozenset[str], start: int = 0) -> Iterator[Record | Broken]:
    """Yield the records whose WARC-Type is `wanted`, and a Broken wherever a record or a part of the file is lost."""
    window = Window(stream, start)
    told = -1  # where the last Broken lies
    while _at_record(window):
        if not window.data and window.damage is not None:
            if window.damage.at != told:
                yield Broken(window.damage.at, window.damage.reason, b"")
            window.resume()
            continue
        found = _record(window, wanted)
        if isinstance(found, Broken):
            told = found.offset
        if found is not None:
            yield found


def header_length(data: bytes | bytearray, limit: int) -> int | None:
    """Return the length of the WARC header that `data` starts with, empty line included; None if it does not end."""
    found = HEADER_END.search(data, 0, limit)
    return found.end() if found else None


def block_length(fields: dict[str, str]) -> int | None:
    """Return the Content-Length, None if there is none that can be believed."""
    length = fields.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None


def _at_record(window: Window) -> bool:
    """Leave line ends behind; False at the end of the stream, True at damage too."""
    while window.want(1):
        line_ends = LINE_ENDS.match(window.data)
        if line_ends is None or line_ends.end() == 0:
            return True
        window.skip(line_ends.end())
    return window.damage is not None


def _record(window: Window, wanted: frozenset[str]) -> Record | Broken | None:
    """Read the record that starts here, None if it is not wanted. What comes next is a record, or the end."""
    window.want(FIRST_FIELD_BYTES)
    if not VERSION.match(window.data):
        return _lost(window, 1, "no WARC record where one should start")
    head = _head(window)
    if head is None:
        return _lost(window, len(MAGIC), "WARC header without an end")
    fields = headers(bytes(window.data[:head]))
    length = block_length(fields)
    if length is None:
        return _lost(window, head, "WARC header without a Content-Length to believe")
    is_wanted = fields.get("warc-type", "").lower() in wanted
    if length > RECORD_BYTES:
        lost = _lost(window, head, f"a record is at most {RECORD_BYTES >> 20} MiB long", in_members=True)
        return lost if is_wanted else None
    end = head + length
    if not window.want(end) or not _ends(window, end):
        return _lost(window, head, "record does not end where its Content-Length says")
    record = Record(window.origin(), fields, bytes(window.data[head:end])) if is_wanted else None
    window.skip(end)
    return record


def _head(window: Window) -> int | None:
    """Return the length of the header that starts here."""
    limit = 4096
    while True:
        whole = window.want(limit)
        length = header_length(window.data, limit)
        if length is not None or not whole or limit >= HEADER_BYTES:
            return length
        limit *= 4


def _ends(window: Window, end: int) -> bool:
    """Whether a record may end at `end`: an empty line follows, or the next record, a new member, or the end."""
    if window.want(end + len(EMPTY_LINE) + 1) and window.data.startswith(EMPTY_LINE, end):
        return True  # what follows may be no record, but that is not this one's fault
    while window.want(end + 1):
        line_ends = LINE_ENDS.match(window.data, end)
        if line_ends is None or line_ends.end() == end:
            window.want(end + len(MAGIC))
            return window.data.startswith(MAGIC, end) or window.starts_member(end)
        end = line_ends.end()
    return not window.spoilt(end - 1)


def _lost(window: Window, start: int, reason: str, in_members: bool = False) -> Broken:
    """Return what is wrong with the record here, and leave everything behind up to the next one from `start` on.

    `in_members`: if this record starts a gzip member, so does the next. A record too long to be held may hold another
    archive, whose records are not ours.
    """
    if window.damage is not None and window.spoilt(0):
        reason = window.damage.reason
    offset, head = window.origin(), bytes(window.data[:SAMPLE_BYTES])
    in_members = in_members and window.starts_member(0)
    began = window.place
    while True:
        at = window.data.find(MAGIC, start)
        while at >= 0:
            window.want(at + FIRST_FIELD_BYTES)
            starts = window.starts_member(at) or (not in_members and window.data[at - 1] in b"\r\n")
            # behind a record that was cut short, the next need not start a line: then its first field must show it
            if VERSION.match(window.data, at) if starts else not in_members and FIRST_FIELD.match(window.data, at):
                window.skip(at)
                return Broken(offset, reason, head[: window.place - began])
            at = window.data.find(MAGIC, at + 1)
        window.skip(max(0, len(window.data) - len(MAGIC)))
        start = 1
        if window.place - began > GIVE_UP_BYTES:
            window.close()
        if not window.want(len(window.data) + 1):
            window.skip(len(window.data))
            return Broken(offset, reason, head)
