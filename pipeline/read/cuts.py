"""Where a large file may be cut: only where a record starts, so that the pieces together are the whole, exactly.

Lines of plain text are cut behind a LF; plain WARC where its chain of lengths leads; gzipped WARC where a member starts
that the file's chain of members runs through. Other packed files have one way in, their start, and are not cut.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator

from pipeline.read.files import File, open_file
from pipeline.read.http import headers
from pipeline.read.source import RECORD_BYTES
from pipeline.read.streams import FEED, GZIP, Feed, packing
from pipeline.read.warc import LINE_ENDS, MAGIC, block_length, header_length

LINE_END = re.compile(rb"\n")
STORED_BYTES = 1 << 16
"""Deflate stores what it cannot compress in blocks of at most 65 535 bytes. An archive inside an archive shows through
as members that follow each other, but for no longer than that: a longer chain of members is the file's own."""


def cuts(file: File, form: str, target_bytes: int) -> list[int]:
    """Return the bytes at which to cut a file into pieces of about `target_bytes`, without 0 and the end."""
    if file.size <= target_bytes:
        return []
    with open_file(file.path) as opened:
        feed = Feed(opened)
        kind = packing(feed.at(0, 10))
        finder: Callable[[Feed, Iterator[int]], Iterator[int]]
        if form == "jsonl" and kind == "plain":
            finder = _lines
        elif form != "jsonl" and kind == "plain":
            finder = _records
        elif form != "jsonl" and kind == "gzip":
            finder = _members
        else:
            return []
        return list(
            dict.fromkeys(
                at for at in finder(feed, iter(range(target_bytes, file.size, target_bytes))) if at < file.size
            )
        )


def _lines(feed: Feed, targets: Iterator[int]) -> Iterator[int]:
    for target in targets:
        # a LF just before the target makes the target itself a start
        end = feed.search(LINE_END, target - 1, overlap=0)
        if end is None:
            return
        yield end + 1


def _records(feed: Feed, targets: Iterator[int]) -> Iterator[int]:
    """Follow the lengths from record to record; behind one that is wrong, the rest is one piece."""
    target = next(targets, None)
    at = 0
    while target is not None:
        at = _skip_line_ends(feed, at)
        head = bytes(feed.at(at, FEED))
        length = header_length(head, len(head)) if head.startswith(MAGIC) else None
        block = block_length(headers(head[:length])) if length is not None else None
        if length is None or block is None or block > RECORD_BYTES:
            return
        if at >= target:
            yield at
            while target is not None and target <= at:
                target = next(targets, None)
        at += length + block


def _skip_line_ends(feed: Feed, at: int) -> int:
    while chunk := feed.at(at, 64):
        found = LINE_ENDS.match(chunk)
        width = found.end() if found else 0
        at += width
        if width < len(chunk):
            break
    return at


def _members(feed: Feed, targets: Iterator[int]) -> Iterator[int]:
    for target in targets:
        at = feed.search(GZIP, target)
        while at is not None and not _is_chain(feed, at):
            at = feed.search(GZIP, at + 1)
        if at is None:
            return
        yield at


def _is_chain(feed: Feed, at: int) -> bool:
    """Whether members follow each other from `at` for longer than a stored block, whole and starting with a record."""
    start = at
    while at - start <= STORED_BYTES and feed.at(at, 1):
        if not GZIP.match(feed.at(at, 10)):
            return False
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        begun = b""
        while not inflate.eof:
            piece = feed.at(at, FEED)
            try:
                out = inflate.decompress(piece)
            except zlib.error:
                return False
            if not piece:
                return False
            at += len(piece) - len(inflate.unused_data)
            begun = begun or out[: len(MAGIC)]
        if begun != MAGIC:
            return False
    return True
