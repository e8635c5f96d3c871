"""Bytes of a file, decompressed, with the places where members start and where the stream is damaged.

A stream is a run of events: `Start` of a gzip member or zstd frame, bytes, and `Damage`. After damage, reading goes on
at the next member or frame, if there is one. The packing is known by the file's first bytes and not by its name, so
that plain text named `.gz` is read. Output is bounded whatever the input: at most 16 MiB are produced at once.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import zstandard

CHUNK = 1 << 20
FEED = 16 << 10  # deflate expands at most 1032 times: 16 MiB per call

MEMBER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")
# Where a member is looked for, its header must also name a usual strength and a system (RFC 1952): compressed data look
# like that once in 10^10 bytes. Wget writes the reserved strength 3.
GZIP = re.compile(rb"\x1f\x8b\x08[\x00-\x1f].{4}[\x00\x02-\x04][\x00-\x1f\xff]", re.DOTALL)
# The first member of a file with one of its first bytes wrong: no text has such control characters.
GZIP_DAMAGED = re.compile(rb"(?:.\x8b\x08|\x1f.\x08)[\x00-\x1f].{4}[\x00\x02-\x04][\x00-\x1f\xff]", re.DOTALL)
ZSTD = re.compile(rb"\x28\xb5\x2f\xfd[\x00-\xff]", re.DOTALL)
ZSTD_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)


@dataclass(frozen=True)
class Start:
    """A gzip member or zstd frame starts at this byte of the file."""

    at: int


@dataclass(frozen=True)
class Damage:
    """The member or frame that starts at this byte of the file, or that should, breaks off or lies."""

    at: int
    reason: str


Event = bytes | Start | Damage


class Feed:
    """Any bytes of a file, of which one chunk is held."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = 0
        self._chunk = memoryview(b"")
        self._ends = False  # the chunk reaches to the end of the file

    def at(self, position: int, size: int) -> memoryview:
        """Return the `size` bytes at `position`, fewer where the file ends."""
        place = position - self._start
        if place < 0 or place > len(self._chunk) or (place + size > len(self._chunk) and not self._ends):
            self._file.seek(position)
            wanted = max(size, CHUNK)
            pieces = [self._file.read(wanted)]
            while pieces[-1] and sum(map(len, pieces)) < wanted:
                pieces.append(self._file.read(wanted - sum(map(len, pieces))))
            self._chunk = memoryview(b"".join(pieces))
            self._start, self._ends, place = position, len(self._chunk) < wanted, 0
        return self._chunk[place : place + size]

    def search(self, pattern: re.Pattern[bytes], position: int, overlap: int = 16) -> int | None:
        """Return where `pattern` (at most `overlap` bytes long) next matches from `position` on."""
        while chunk := self.at(position, CHUNK):
            if found := pattern.search(chunk):
                return position + found.start()
            if len(chunk) < CHUNK:
                return None
            position += CHUNK - overlap
        return None


def packing(head: bytes | memoryview) -> str:
    """Return `gzip`, `zstd` or `plain`, by a file's first bytes: of gzip's three one may be wrong, which costs one member."""
    if bytes(head[:2]) == b"\x1f\x8b" or GZIP_DAMAGED.match(head):
        return "gzip"
    return "zstd" if ZSTD.match(head) or ZSTD_SKIPPABLE.match(head) else "plain"


def events(file: BinaryIO, start: int = 0, stop: int | None = None) -> Iterator[Event]:
    """Yield what a file holds from byte `start`, where a member or a record starts, up to one that starts at `stop`."""
    feed = Feed(file)
    kind = packing(feed.at(0, 10))
    if kind == "gzip":
        return gunzip(feed, start, stop)
    if kind == "zstd":
        return unzstd(feed, start, stop)
    return plain(feed, start, stop)


def plain(feed: Feed, start: int = 0, stop: int | None = None) -> Iterator[Event]:
    while True:
        size = CHUNK if stop is None else min(CHUNK, stop - start)
        chunk = feed.at(start, size)
        if not chunk:
            return
        yield bytes(chunk)
        start += len(chunk)


def gunzip(feed: Feed, at: int = 0, stop: int | None = None) -> Iterator[Event]:
    """Yield the members that start in [at, stop). Zeros between and after members are padding, as gzip has it."""
    while stop is None or at < stop:
        head = feed.at(at, 10)
        if not head:
            return
        if head[0] == 0:
            zeros = bytes(feed.at(at, CHUNK))
            at += len(zeros) - len(zeros.lstrip(b"\0"))
            continue
        damage = "no gzip member where one should start"
        if MEMBER.match(head):
            yield Start(at)
            position, inflate = at, zlib.decompressobj(zlib.MAX_WBITS | 16)
            while not inflate.eof:
                piece = feed.at(position, FEED)
                if not piece:
                    damage = "gzip member ends early"
                    break
                before = inflate.copy()
                try:
                    out = inflate.decompress(piece)
                except zlib.error as error:
                    if out := _salvage(before, piece):
                        yield out
                    wrong_sum = str(error).endswith(("data check", "length check"))
                    damage = "gzip checksum does not match" if wrong_sum else "gzip member is damaged"
                    break
                position += len(piece) - len(inflate.unused_data)
                if out:
                    yield out
            else:
                at = position
                continue
        yield Damage(at, damage)
        # a damaged member may have been read far past its end: the next one is looked for from its start
        following = feed.search(GZIP, at + 1)
        if following is None:
            return
        at = following


def _salvage(inflate: zlib._Decompress, piece: memoryview) -> bytes:
    """Return what a piece gives up to the byte at which it breaks; zlib forgets it with the error."""
    out = bytearray()
    for at in range(len(piece)):
        try:
            out += inflate.decompress(piece[at : at + 1])
        except zlib.error:
            break
    return bytes(out)


def unzstd(feed: Feed, at: int = 0, stop: int | None = None) -> Iterator[Event]:
    """Yield the frames that start in [at, stop), block by block: no block gives more than 128 KiB, bomb or not."""
    while stop is None or at < stop:
        head = bytes(feed.at(at, 8))
        if not head:
            return
        if ZSTD_SKIPPABLE.match(head) and len(head) == 8:
            at += 8 + int.from_bytes(head[4:], "little")
            continue
        damage = "no zstd frame where one should start"
        if ZSTD.match(head):
            yield Start(at)
            position, inflate = at, zstandard.ZstdDecompressor().decompressobj()
            for size in _frame(feed, at):
                piece = feed.at(position, size)
                if size == 0 or len(piece) < size:
                    damage = "zstd frame is damaged" if size == 0 else "zstd frame ends early"
                    break
                try:
                    out = inflate.decompress(piece)
                except zstandard.ZstdError as error:
                    damage = "zstd checksum does not match" if "checksum" in str(error) else f"zstd frame: {error}"
                    break
                position += size
                if out:
                    yield out
            else:
                at = position
                continue
        yield Damage(at, damage)
        following = feed.search(ZSTD, at + 1)
        if following is None:
            return
        at = following


def _frame(feed: Feed, at: int) -> Iterator[int]:
    """Yield the sizes of a frame's header, of each block, and of the checksum; 0 where there can be no such block.

    RFC 8878, sections 3.1.1.1 and 3.1.1.2.
    """
    descriptor = int(feed.at(at + 4, 1)[0])
    single = descriptor >> 5 & 1
    content_size = (single, 2, 4, 8)[descriptor >> 6]
    header = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3] + content_size
    yield header
    at += header
    last = False
    while not last:
        head = int.from_bytes(feed.at(at, 3), "little")
        last, kind, length = bool(head & 1), head >> 1 & 3, head >> 3
        if kind == 3 or length > 128 << 10:
            # in an RLE block the length is that of the output; it is bound in the same way
            yield 0
            return
        size = 3 + (1 if kind == 1 else length)
        yield size
        at += size
    if descriptor & 4:
        yield 4
