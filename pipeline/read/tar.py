"""Files of a tar archive, read as a stream and never extracted (POSIX.1-2001 pax, ustar and GNU).

Names are data. A member whose header does not add up is a Broken, and the next header that does is looked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.read.source import GIVE_UP_BYTES, RECORD_BYTES
from pipeline.read.streams import Event
from pipeline.read.warc import Broken
from pipeline.read.window import Window

BLOCK = 512
MAGIC = b"ustar"
MAGIC_PLACE = 257
REGULAR = (b"0", b"\0", b"7")
NAME_BYTES = 1 << 20  # the longest name, or set of pax fields, that is believed


@dataclass(frozen=True)
class Member:
    offset: int  # of its header in the unpacked archive
    name: bytes
    data: bytes


@dataclass(frozen=True)
class Header:
    name: bytes
    size: int
    kind: bytes


def members(stream: Iterator[Event]) -> Iterator[Member | Broken]:
    """Yield the regular files of an archive, and a Broken wherever one, or a part of the archive, is lost."""
    window = Window(stream)
    fields: dict[bytes, bytes] = {}  # of the next member, from a pax or GNU header before it
    zeros = 0
    while window.want(1) or window.damage is not None:
        if not window.want(BLOCK):
            yield _lost(window, "archive ends within a header")
            continue
        block = bytes(window.data[:BLOCK])
        if not block.strip(b"\0"):
            zeros += window.skip(BLOCK)  # the end of an archive; another may follow
            if zeros > RECORD_BYTES:
                return
            continue
        header = _header(block)
        if header is None:
            yield _lost(window, "no tar header where one should start")
            continue
        size = header.size
        if b"size" in fields and header.kind in REGULAR and fields[b"size"].isdigit() and len(fields[b"size"]) < 19:
            size = int(fields[b"size"])
        is_extension = header.kind in (b"x", b"L")
        if size > GIVE_UP_BYTES or (is_extension and size > NAME_BYTES):
            yield _lost(window, "tar header with a size that is not to be believed")
            continue
        stored = BLOCK + size + -size % BLOCK
        offset = window.place
        if header.kind not in (*REGULAR, b"x", b"L") or size > RECORD_BYTES:
            if header.kind in REGULAR:  # links, folders and devices are no documents
                yield Broken(offset, f"a file of code is at most {RECORD_BYTES >> 20} MiB long", header.name)
            if window.skip(stored) < stored:
                yield _lost(window, "archive ends within a member")
        elif not window.want(BLOCK + size):
            yield _lost(window, "archive ends within a member")
        else:
            data = bytes(window.data[BLOCK : BLOCK + size])
            window.skip(stored)
            if header.kind == b"x":
                fields |= _pax(data)
                continue
            if header.kind == b"L":
                fields[b"path"] = data.rstrip(b"\0")
                continue
            yield Member(offset, fields.get(b"path", header.name), data)
        fields = {}


def _header(block: bytes | bytearray) -> Header | None:
    """Return what a header says, None if its checksum, or what it says, is wrong."""
    checksum = _number(block[148:156])
    if checksum != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        return None
    size = _number(block[124:136])
    if size is None:
        return None
    name = bytes(block[:100]).split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and (prefix := bytes(block[345:500]).split(b"\0", 1)[0]):
        name = prefix + b"/" + name
    return Header(name, size, bytes(block[156:157]))


def _number(field: bytes | bytearray) -> int | None:
    """Return an octal number, or GNU's base 256 where the first bit says so."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = bytes(field).split(b"\0", 1)[0].strip()
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        return None


def _pax(data: bytes) -> dict[bytes, bytes]:
    """Return the fields of an extended header: records of `length key=value\\n`, where the length counts itself."""
    fields: dict[bytes, bytes] = {}
    while data:
        length, _, _ = data.partition(b" ")
        if not (length.isdigit() and len(length) < 8 and len(length) < int(length) <= len(data)):
            break
        key, equals, value = data[len(length) + 1 : int(length)].partition(b"=")
        if equals:
            fields[key] = value.removesuffix(b"\n")
        data = data[int(length) :]
    return fields


def _lost(window: Window, reason: str) -> Broken:
    """Return what is wrong here, and leave everything behind up to the next header that adds up."""
    broken = Broken(window.place, reason, bytes(window.data[:100]))
    window.skip(1)
    while True:
        at = window.data.find(MAGIC, MAGIC_PLACE) - MAGIC_PLACE
        while at >= 0:
            if window.want(at + BLOCK) and _header(window.data[at : at + BLOCK]):
                window.skip(at)
                return broken
            at = window.data.find(MAGIC, at + MAGIC_PLACE + 1) - MAGIC_PLACE
        window.skip(max(0, len(window.data) - BLOCK))
        if not window.want(len(window.data) + 1):
            if window.damage is None:
                window.skip(len(window.data))
                return broken
            broken = Broken(broken.offset, window.damage.reason, broken.head)
            window.resume()
