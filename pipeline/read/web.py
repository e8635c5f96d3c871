"""Web pages from WARC files, and their extracted text from WET files.

A record claims to be a document if it is a response with status 200 whose media type is HTML or plain text (WARC), or a
conversion to plain text (WET). Requests, redirects, errors, revisits, robots.txt and images are no documents, and are
not counted. A page that claims to be a document and cannot be decoded is a reject.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from pipeline.document import Batcher, Reject, sample_of
from pipeline.read.charset import CharsetError, Decoded, decode
from pipeline.read.files import open_file, shown
from pipeline.read.http import HttpError, body, parse
from pipeline.read.source import Unit
from pipeline.read.streams import events
from pipeline.read.warc import Broken, Record, records

WANTED = {"warc": frozenset({"response"}), "wet": frozenset({"conversion"})}
MEDIA_TYPES = {"text/html": "text/html", "application/xhtml+xml": "text/html", "text/plain": "text/plain"}
HTML_HEADS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<!--")


def read(unit: Unit) -> Iterator[pa.RecordBatch | Reject]:
    """Yield the pages of a range of records, and a reject for each that cannot be read."""
    source = shown(unit.path)
    name = posixpath.basename(source)
    document = page if unit.format == "warc" else extract
    batcher = Batcher()
    with open_file(unit.path) as file:
        for record in records(events(file, unit.start, unit.stop), WANTED[unit.format], unit.start):
            if isinstance(record, Broken):
                yield Reject(unit.corpus, source, record.offset, record.reason, sample_of(record.head))
                continue
            try:
                values = document(record)
            except (HttpError, CharsetError) as error:
                yield Reject(unit.corpus, source, record.offset, str(error), _sample(record))
                continue
            if values is not None:
                identity = record.headers.get("warc-record-id", "").strip("<>").removeprefix("urn:uuid:")
                yield from batcher.add(
                    id=identity or f"{name}#{record.offset}",
                    corpus=unit.corpus,
                    source=source,
                    offset=record.offset,
                    url=record.headers.get("warc-target-uri", "").strip("<>") or None,
                    date=record.headers.get("warc-date"),
                    **values,
                )
    yield from batcher.flush()


def page(record: Record) -> dict[str, Any] | None:
    """Return media type, text and metadata of a response; None if it does not claim to be a document.

    Raises HttpError or CharsetError if it does, and cannot be read.
    """
    content_type = record.headers.get("content-type", "application/http")
    if not content_type.lower().startswith("application/http"):
        return None  # the answer to another protocol: DNS, FTP
    if _is_robots(record.headers.get("warc-target-uri", "")):
        return None
    response = parse(record.block)
    if response.status != 200:
        return None
    cut_short = record.headers.get("warc-truncated")
    media_type = _media_type(response.headers.get("content-type", ""))
    if media_type is None and "content-type" not in response.headers:
        media_type = _sniffed(record, body(response, cut_short is not None))
    if media_type is None:
        return None
    data = body(response, cut_short is not None)
    decoded = decode(data, response.headers.get("content-type", ""), html=media_type == "text/html")
    metadata = {"truncated": cut_short}
    return {"media_type": media_type, "text": decoded.text, "metadata": _metadata(record, decoded, metadata)}


def extract(record: Record) -> dict[str, Any] | None:
    """Return media type, text and metadata of a conversion; None if it is not to plain text."""
    content_type = record.headers.get("content-type", "text/plain")
    if _media_type(content_type) != "text/plain":
        return None
    decoded = decode(record.block, content_type if "charset" in content_type else "charset=utf-8")
    metadata = {
        "language": record.headers.get("warc-identified-content-language"),
        "refers_to": record.headers.get("warc-refers-to", "").strip("<>").removeprefix("urn:uuid:") or None,
    }
    return {"media_type": "text/plain", "text": decoded.text, "metadata": _metadata(record, decoded, metadata)}


def _media_type(content_type: str) -> str | None:
    return MEDIA_TYPES.get(content_type.partition(";")[0].strip().lower())


def _sniffed(record: Record, data: bytes) -> str | None:
    """Return the media type of a response that does not name one: the crawler's finding, else HTML if it starts so."""
    identified = _media_type(record.headers.get("warc-identified-payload-type", ""))
    return identified or ("text/html" if data[:512].lstrip().lower().startswith(HTML_HEADS) else None)


def _is_robots(url: str) -> bool:
    if "robots.txt" not in url:
        return False
    try:
        return urlsplit(url.strip("<>")).path == "/robots.txt"
    except ValueError:
        return False


def _metadata(record: Record, decoded: Decoded, more: dict[str, Any]) -> str:
    values = {
        "charset": decoded.charset,
        "declared_charset": decoded.declared,
        "replaced": decoded.replaced or None,
        **more,
    }
    return json.dumps({name: value for name, value in values.items() if value is not None}, ensure_ascii=False)


def _sample(record: Record) -> str:
    return sample_of(record.headers.get("warc-target-uri", "").encode("utf-8", "backslashreplace"))
