"""HTTP bodies: what was encoded comes back; what only claims to be encoded is left; what breaks is an error."""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.read import http as module
from pipeline.read.http import HttpError, Response, body, dechunk, headers, parse


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data, 6, -15)


CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def chunked(data: bytes, sizes: list[int]) -> bytes:
    out, at = b"", 0
    for size in sizes:
        piece = data[at : at + size]
        if piece:
            out += b"%x;name=value\r\n%b\r\n" % (len(piece), piece)
        at += size
    rest = data[at:]
    return out + (b"%X\r\n%b\r\n" % (len(rest), rest) if rest else b"") + b"0\r\nTrailer: x\r\n\r\n"


def response(data: bytes, **fields: str) -> Response:
    return Response(200, {name.replace("_", "-"): value for name, value in fields.items()}, data)


@given(st.binary(max_size=2000), st.sampled_from(sorted(CODINGS)), st.lists(st.integers(1, 300), max_size=5))
@settings(deadline=None)
def test_what_was_encoded_comes_back(data: bytes, coding: str, sizes: list[int]) -> None:
    encoded = CODINGS[coding](data)
    assert body(response(encoded, content_encoding=coding), False) == data
    both = response(chunked(encoded, sizes), content_encoding=coding.upper(), transfer_encoding="chunked")
    assert body(both, False) == data


@given(st.binary(min_size=1, max_size=2000))
@settings(deadline=None)
def test_several_encodings_are_undone_from_the_last(data: bytes) -> None:
    encoded = brotli.compress(gzip.compress(data))
    assert body(response(encoded, content_encoding="gzip, br"), False) == data


def test_deflate_is_read_with_and_without_its_header() -> None:
    for text in (b"text " * 99, b"<html>" * 9):
        assert body(response(raw_deflate(text), content_encoding="deflate"), False) == text


@pytest.mark.parametrize("coding", sorted(CODINGS))
def test_a_page_that_was_stored_decoded_is_left_as_it_is(coding: str) -> None:
    data = b"\n<!doctype html><p>text"
    assert body(response(data, content_encoding=coding, transfer_encoding="chunked"), False) == data


@pytest.mark.parametrize("coding", ["identity", "none", "utf-8", "", "aws-chunked"])
def test_encodings_that_are_none_are_passed_over(coding: str) -> None:
    assert body(response(b"text", content_encoding=coding), False) == b"text"


@pytest.mark.parametrize("coding", sorted(CODINGS))
def test_a_body_that_breaks_off_is_an_error_unless_the_crawler_cut_it(coding: str) -> None:
    text = b"".join(b"%d " % (number * 7919 % 1009) for number in range(5000))
    cut = CODINGS[coding](text)
    cut = cut[: len(cut) // 2]
    with pytest.raises(HttpError, match="breaks off"):
        body(response(cut, content_encoding=coding), False)
    part = body(response(cut, content_encoding=coding), True)
    assert text.startswith(part)


@pytest.mark.parametrize("coding", sorted(CODINGS))
def test_a_damaged_body_is_an_error(coding: str) -> None:
    encoded = bytearray(CODINGS[coding](b"".join(b"%d " % (number * 7919 % 1009) for number in range(5000))))
    encoded[20:60] = bytes(40)
    with pytest.raises(HttpError):
        body(response(bytes(encoded), content_encoding=coding), False)


@pytest.mark.parametrize("coding", sorted(CODINGS))
def test_a_bomb_is_an_error(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECORD_BYTES", 1 << 20)
    bomb = CODINGS[coding](bytes(8 << 20))
    with pytest.raises(HttpError, match="a body is at most 1 MiB long"):
        body(response(bomb, content_encoding=coding), True)


def test_chunks_that_do_not_add_up_are_an_error_unless_the_crawler_cut_them() -> None:
    good = b"5\r\nhello\r\n"
    for bad in (b"zz\r\nworld", b"9\r\nworld\r\n", b"world"):
        with pytest.raises(HttpError, match="chunk"):
            dechunk(good + bad, False)
        assert dechunk(good + bad, True).startswith(b"hello")
    assert dechunk(good, False) == b"hello"  # the connection was closed where the last chunk ends
    assert dechunk(b"ff\r\nno chunk is that long", False) == b"ff\r\nno chunk is that long"


@given(st.binary(max_size=300), st.booleans(), st.sampled_from([*CODINGS, "gzip,br", "nonsense"]), st.booleans())
@settings(deadline=None, max_examples=300)
def test_no_bytes_raise_anything_else(data: bytes, in_chunks: bool, coding: str, cut_short: bool) -> None:
    fields = {"transfer-encoding": "chunked"} if in_chunks else {}
    with suppress(HttpError):
        body(Response(200, {**fields, "content-encoding": coding}, data), cut_short)
    with suppress(HttpError):
        parse(b"HTTP/1.1 200 OK\r\n" + data)


def test_a_message_is_split_at_its_first_empty_line() -> None:
    assert parse(b"HTTP/1.0 404 Not Found\r\nA: b\r\n\r\nbody\r\n\r\n") == Response(404, {"a": "b"}, b"body\r\n\r\n")
    assert parse(b"HTTP/2 200\nA: b\n\nx\r\n\r\ny") == Response(200, {"a": "b"}, b"x\r\n\r\ny")
    assert parse(b"HTTP/1.1 200 OK\r\nA: b") == Response(200, {"a": "b"}, b"")
    with pytest.raises(HttpError, match="no HTTP status line"):
        parse(b"<html>")


def test_headers_fold_and_the_last_of_several_holds() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-Long: a\r\n  b\r\nA: 1\r\na: 2\r\nnonsense\r\n: none\r\nUrl: http://x:80/\r\n"
    assert headers(head) == {"x-long": "a b", "a": "2", "": "none", "url": "http://x:80/"}
