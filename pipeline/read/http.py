"""The HTTP message inside a WARC record: status, headers, and the body without chunks and compression.

Crawlers often store a body decoded and leave the headers that said how it was encoded. What is declared is therefore
undone only where the first bytes show that it was done; what then breaks midway is an error, unless the crawler says
that it cut the record short.
"""

from __future__ import annotations

import io
import re
import zlib
from dataclasses import dataclass

import brotli  # type: ignore[import-untyped]

from pipeline.read.source import RECORD_BYTES
from pipeline.read.streams import Damage, Feed, unzstd

STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})\b")
CHUNK_SIZE = re.compile(rb"(?:\r?\n)?[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,1024})?\r?\n")


class HttpError(ValueError):
    """A message that is not HTTP, or a body that is not what its headers say."""


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]  # names in lower case; of several, the last
    body: bytes  # as it was sent


def parse(message: bytes) -> Response:
    """Split a response into status, headers and body. Raises HttpError where there is no status line."""
    status = STATUS_LINE.match(message)
    if status is None:
        raise HttpError("no HTTP status line")
    head, body = split_head(message)
    return Response(int(status[1]), headers(head), body)


def split_head(message: bytes) -> tuple[bytes, bytes]:
    """Split at the first empty line; without one, everything is head."""
    end, width = message.find(b"\r\n\r\n"), 4
    bare = message.find(b"\n\n", 0, end if end >= 0 else len(message))
    if bare >= 0:
        end, width = bare, 2
    if end < 0:
        return message, b""
    return message[:end], message[end + width :]


def headers(head: bytes) -> dict[str, str]:
    """Return the fields after the first line of a head; a line that starts with a blank goes on with the one before."""
    fields: dict[str, str] = {}
    name = ""
    for line in head.decode("utf-8", "replace").split("\n")[1:]:
        if line[:1] in (" ", "\t") and name:
            fields[name] = f"{fields[name]} {line.strip()}".strip()
            continue
        key, colon, value = line.partition(":")
        if colon:
            name = key.strip().lower()
            fields[name] = value.strip()
    return fields


def body(response: Response, cut_short: bool) -> bytes:
    """Return the body without transfer and content encodings, at most RECORD_BYTES long.

    An encoding that is not known is passed over, as browsers do. Raises HttpError for a body that breaks midway.
    """
    data = response.body
    if "chunked" in response.headers.get("transfer-encoding", "").lower():
        data = dechunk(data, cut_short)
    for coding in reversed(response.headers.get("content-encoding", "").lower().split(",")):
        decode = _CODINGS.get(coding.strip())
        if decode is not None and data:
            data = decode(data, cut_short)
        if len(data) > RECORD_BYTES:
            raise HttpError(f"a body is at most {RECORD_BYTES >> 20} MiB long")
    return data


def dechunk(data: bytes, cut_short: bool) -> bytes:
    """Join chunks (RFC 9112, section 7.1). A body whose first chunk is none was stored without chunks."""
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        head = CHUNK_SIZE.match(data, at)
        size = int(head[1], 16) if head else -1
        if head is not None and size == 0:
            break
        if head is None or head.end() + size > len(data):
            if not pieces:
                return data
            if not cut_short:
                raise HttpError(
                    "chunked body breaks off" if head else "chunked body: no size where a chunk should start"
                )
            pieces.append(data[head.end() :] if head else b"")
            break
        pieces.append(data[head.end() : head.end() + size])
        at = head.end() + size
        if data[at : at + 2] == b"\r\n":
            at += 2
    return b"".join(pieces)


def _gunzip(data: bytes, cut_short: bool) -> bytes:
    if data[:2] != b"\x1f\x8b":
        return data
    pieces: list[bytes] = []
    left = RECORD_BYTES + 1
    while data[:2] == b"\x1f\x8b" and left > 0:
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        pieces.append(_inflate(inflate, data, left, cut_short, "gzip"))
        left -= len(pieces[-1])
        data = inflate.unused_data
    return b"".join(pieces)


def _undeflate(data: bytes, cut_short: bool) -> bytes:
    """Undo `deflate`, which means zlib's format and is often sent without its header."""
    zlib_header = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    if not zlib_header and data.lstrip()[:1] == b"<":
        return data
    bits = zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS
    return _inflate(zlib.decompressobj(bits), data, RECORD_BYTES + 1, cut_short, "deflate")


def _inflate(inflate: zlib._Decompress, data: bytes, limit: int, cut_short: bool, name: str) -> bytes:
    try:
        out = inflate.decompress(data, limit)
    except zlib.error as error:
        raise HttpError(f"{name} body is damaged") from error
    if not inflate.eof and len(out) < limit and not cut_short:
        raise HttpError(f"{name} body breaks off")
    return out


def _unbrotli(data: bytes, cut_short: bool) -> bytes:
    if data.lstrip()[:1] == b"<":
        return data
    inflate = brotli.Decompressor()
    pieces: list[bytes] = []
    size = 0
    try:
        piece = inflate.process(data, output_buffer_limit=CHUNK_BYTES)
        while piece and size <= RECORD_BYTES:
            pieces.append(piece)
            size += len(piece)
            piece = inflate.process(b"", output_buffer_limit=CHUNK_BYTES)
    except brotli.error as error:
        raise HttpError("br body is damaged") from error
    if not inflate.is_finished() and size <= RECORD_BYTES and not cut_short:
        raise HttpError("br body breaks off")
    return b"".join(pieces)


def _unzstd(data: bytes, cut_short: bool) -> bytes:
    if data[:4] != b"\x28\xb5\x2f\xfd":
        return data
    pieces: list[bytes] = []
    size = 0
    for event in unzstd(Feed(io.BytesIO(data))):
        if isinstance(event, Damage):
            if cut_short:
                break
            raise HttpError("zstd body breaks off" if event.reason.endswith("early") else "zstd body is damaged")
        if isinstance(event, bytes):
            pieces.append(event)
            size += len(event)
            if size > RECORD_BYTES:
                break
    return b"".join(pieces)


CHUNK_BYTES = 1 << 20
_CODINGS = {
    "gzip": _gunzip, "x-gzip": _gunzip, "deflate": _undeflate, "br": _unbrotli, "zstd": _unzstd,
}  # fmt: skip
