"""What the readers' tests share: reading a source whole, and writing WARC files, healthy or not."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from pipeline.document import SCHEMA, Reject
from pipeline.read import Source, Unit, read, units

Row = dict[str, Any]


def rows_of(unit: Unit) -> tuple[list[Row], list[Reject]]:
    """Return the documents and the rejects of one unit."""
    rows: list[Row] = []
    rejects: list[Reject] = []
    for item in read(unit):
        if isinstance(item, Reject):
            rejects.append(item)
        else:
            item.validate(full=True)
            assert item.schema == SCHEMA
            rows += item.to_pylist()
    return rows, rejects


def read_all(
    form: str, *paths: Path | str, target_bytes: int = 32 << 20, columns: tuple[tuple[str, str], ...] = ()
) -> tuple[list[Row], list[Reject]]:
    """Return the documents and the rejects of a source, in the order of its units."""
    rows: list[Row] = []
    rejects: list[Reject] = []
    for unit in units(Source("web", form, tuple(map(str, paths)), columns), target_bytes):
        more = rows_of(Unit.from_json(unit.to_json()))
        rows += more[0]
        rejects += more[1]
    return rows, rejects


def line(number: int, **more: Any) -> bytes:
    """Return one healthy line of JSON."""
    return json.dumps({"id": f"d{number}", "text": f"text {number} 본문 " * 9, **more}, ensure_ascii=False).encode()


def page(number: int) -> bytes:
    """Return the HTML of one healthy page."""
    return f"<html><body><p>page {number} 안녕하세요</p>{'<p>more</p>' * (number % 50)}</body></html>".encode()


def http(body: bytes, headers: str = "Content-Type: text/html; charset=utf-8\r\n", status: str = "200 OK") -> bytes:
    """Return an HTTP response."""
    return f"HTTP/1.1 {status}\r\n{headers}\r\n".encode() + body


def record(number: int, block: bytes, kind: str = "response", length: int | None = None, more: str = "") -> bytes:
    """Return a WARC record, with a wrong Content-Length if `length` is given."""
    content_type = {"response": "application/http; msgtype=response", "conversion": "text/plain"}.get(kind, "x/y")
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{number:032}>\r\n"
        f"WARC-Date: 2024-05-18T01:58:10Z\r\nWARC-Target-URI: https://a.example/{number}\r\n{more}"
        f"Content-Type: {content_type}\r\nContent-Length: {len(block) if length is None else length}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def pages(count: int) -> list[bytes]:
    """Return the records of a crawl: requests and responses in turn, `count` responses."""
    crawl: list[bytes] = []
    for number in range(count):
        crawl += [record(10_000 + number, b"GET / HTTP/1.1\r\n\r\n", "request"), record(number, http(page(number)))]
    return crawl


def packed(records: list[bytes]) -> list[bytes]:
    """Return each record as a gzip member of its own."""
    return [gzip.compress(one, 6, mtime=0) for one in records]
