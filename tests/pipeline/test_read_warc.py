"""WARC and WET: one record with a fault costs that record, wherever the file is cut."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.read import Source, units, warc
from tests.pipeline.read_sources import http, packed, page, pages, read_all, record

PAGES = 40
CRAWL = pages(PAGES)
MEMBERS = packed(CRAWL)
BAD = 21  # the page that is spoilt
PLACE = 2 * BAD + 1  # its record
HEALTHY = [number for number in range(PAGES) if number != BAD]


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row["id"]) for row in rows]


def spoilt(one: bytes, at: int) -> bytes:
    return one[:at] + bytes([one[at] ^ 1]) + one[at + 1 :]


MEMBER = MEMBERS[PLACE]
BLOCK = http(page(BAD))
ENDS = "record does not end where its Content-Length says"
FAULTS: dict[str, tuple[str, bytes, str]] = {
    "bad gzip magic": (".gz", spoilt(MEMBER, 1), "no gzip member where one should start"),
    "a bit of the text": (".gz", spoilt(MEMBER, len(MEMBER) // 2), "gzip"),
    "a bit of the checksum": (".gz", spoilt(MEMBER, len(MEMBER) - 6), "gzip checksum does not match"),
    "a member cut short": (".gz", MEMBER[: len(MEMBER) // 2], "gzip"),
    "a member that is no record": (".gz", gzip.compress(b"x" * 99), "no WARC record where one should start"),
    "too short a length, packed": (
        ".gz", gzip.compress(record(BAD, BLOCK, length=len(BLOCK) - 9)), ENDS,
    ),
    "too long a length, packed": (
        ".gz", gzip.compress(record(BAD, BLOCK, length=len(BLOCK) + 50)), ENDS,
    ),
    "too short a length": ("", record(BAD, BLOCK, length=len(BLOCK) - 9), ENDS),
    "too long a length": ("", record(BAD, BLOCK, length=len(BLOCK) + 99), ENDS),
    "a length beyond the file": ("", record(BAD, BLOCK, length=60 << 20), ENDS),
    "a length beyond belief": ("", record(BAD, BLOCK, length=10**17), "a record is at most 64 MiB long"),
    "a length that is none": ("", CRAWL[PLACE].replace(b"Content-Length: ", b"Content-Length: x"), "Content-Length"),
    "no length": ("", CRAWL[PLACE].replace(b"Content-Length: ", b"Length: "), "Content-Length to believe"),
    "no version": ("", CRAWL[PLACE].replace(b"WARC/1.0", b"WORK/1.0"), "no WARC record where one should start"),
    "a record cut short": ("", CRAWL[PLACE][:-50], ENDS),
    "no HTTP": ("", record(BAD, b"<html>no status line</html>"), "no HTTP status line"),
    "a page that is not in its charset": (
        "", record(BAD, http(b"<p>" + bytes([0x81, 0xFF] * 50))), "not text: declared as utf-8",
    ),
    "a body that is damaged": (
        "", record(BAD, http(b"\x1f\x8b\x08\x00junkjunkjunk", "Content-Type: text/html\r\nContent-Encoding: gzip\r\n")),
        "gzip body is damaged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_one_record(tmp_path: Path, fault: str) -> None:
    ending, bad, reason = FAULTS[fault]
    records = MEMBERS if ending else CRAWL
    crawl = [*records[:PLACE], bad, *records[PLACE + 1 :]]
    (tmp_path / f"a.warc{ending}").write_bytes(b"".join(crawl))
    (tmp_path / "b.warc.gz").write_bytes(b"".join(MEMBERS))
    rows, rejects = read_all("warc", tmp_path)
    assert numbers(rows) == HEALTHY + list(range(PAGES))
    (reject,) = rejects
    assert (reject.source, reject.offset) == (str(tmp_path / f"a.warc{ending}"), sum(map(len, records[:PLACE])))
    assert reason in reject.reason
    for target in (5000, 30_000):
        again = read_all("warc", tmp_path, target_bytes=target)
        assert again == (rows, rejects)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_truncated_file_gives_what_comes_before_and_one_reject(tmp_path: Path, ending: str) -> None:
    records = MEMBERS if ending else CRAWL
    cut = sum(map(len, records[:PLACE])) + len(records[PLACE]) - 30
    (tmp_path / f"a.warc{ending}").write_bytes(b"".join(records)[:cut])
    rows, (reject,) = read_all("warc", tmp_path)
    assert numbers(rows) == list(range(BAD))
    assert reject.offset == sum(map(len, records[:PLACE]))
    assert reject.reason in ("gzip member ends early", ENDS)


def test_a_request_with_a_wrong_length_costs_no_page(tmp_path: Path) -> None:
    crawl = [*CRAWL[:30], record(9, b"GET / HTTP/1.1\r\n\r\n", "request", length=700), *CRAWL[31:]]
    (tmp_path / "a.warc").write_bytes(b"".join(crawl))
    rows, rejects = read_all("warc", tmp_path)
    assert numbers(rows) == list(range(PAGES))
    assert [(reject.offset, reject.reason) for reject in rejects] == [(sum(map(len, CRAWL[:30])), ENDS)]


def test_a_request_cut_short_in_the_middle_of_a_line_costs_no_page(tmp_path: Path) -> None:
    for kept in (30, 150, len(CRAWL[30]) - 8):
        (tmp_path / "a.warc").write_bytes(b"".join([*CRAWL[:30], CRAWL[30][:kept], *CRAWL[31:]]))
        rows, rejects = read_all("warc", tmp_path)
        assert numbers(rows) == list(range(PAGES))
        # a header cut short runs into the next one, and is lost without a trace: it was no page
        assert [reject.offset for reject in rejects] == ([sum(map(len, CRAWL[:30]))] if kept > 150 else [])


@pytest.mark.parametrize("wrong", [0, 0x20, 0xFF])
def test_a_wrong_byte_at_the_start_of_a_packed_file_costs_one_record(tmp_path: Path, wrong: int) -> None:
    """The packing is known by those bytes: as plain text the file would have no record at all."""
    for place in range(10):
        first = bytearray(MEMBERS[0])
        first[place] = wrong
        (tmp_path / "a.warc.gz").write_bytes(b"".join([first, *MEMBERS[1:]]))
        rows, _ = read_all("warc", tmp_path)
        assert numbers(rows)[-PAGES + 1 :] == list(range(1, PAGES))
        assert read_all("warc", tmp_path, target_bytes=5000)[0] == rows


@given(st.sets(st.integers(0, PAGES * 2 - 1), max_size=8), st.integers(1000, 15_000), st.booleans(), st.data())
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_units_of_a_file_give_the_records_of_the_file(
    tmp_path: Path, bad: set[int], target: int, is_packed: bool, data: st.DataObject
) -> None:
    crawl = list(MEMBERS if is_packed else CRAWL)
    for place in bad:
        crawl[place] = spoilt(crawl[place], data.draw(st.integers(0, len(crawl[place]) - 1)))
    path = tmp_path / f"a.warc{'.gz' if is_packed else ''}"
    path.write_bytes(b"".join(crawl))
    whole = read_all("warc", path)
    assert read_all("warc", path, target_bytes=target) == whole
    lost = {place // 2 for place in bad if place % 2}
    beside = {place // 2 for place in bad}
    # a damaged length may lead into the record behind it, but never further
    sound = set(range(PAGES)) - beside - {number + 1 for number in beside}
    assert {f"{number:032}" for number in sound} <= {row["id"] for row in whole[0]}
    assert len(whole[1]) <= 2 * len(bad)
    assert len(whole[0]) >= PAGES - len(lost) - len(bad)


def test_a_page_that_quotes_a_record_is_cut_nowhere_else(tmp_path: Path) -> None:
    quoting = [record(number, http(b"<pre>\r\n\r\n" + CRAWL[3] + b"</pre>" * 90)) for number in range(60)]
    (tmp_path / "a.warc").write_bytes(b"".join(quoting))
    for target in (300, 1000, 3000):
        rows, rejects = read_all("warc", tmp_path, target_bytes=target)
        assert (numbers(rows), rejects) == (list(range(60)), [])


def test_an_archive_inside_an_archive_is_cut_nowhere(tmp_path: Path) -> None:
    inner = gzip.compress(b"".join(MEMBERS[:40]), 0)  # stored: its members show through
    crawl = [record(1000 + number, http(inner, "Content-Type: application/gzip\r\n")) for number in range(30)]
    members = [gzip.compress(one, 0, mtime=0) for one in [*crawl, *CRAWL]]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members))
    source = Source("web", "warc", (str(tmp_path),))
    starts = {sum(map(len, members[:index])) for index in range(len(members))}
    for target in (2000, 7000, 50_000):
        cut = units(source, target)
        assert len(cut) > 1
        assert {unit.start for unit in cut} <= starts
        assert numbers(read_all("warc", tmp_path, target_bytes=target)[0]) == list(range(PAGES))


Pack = Callable[[bytes], bytes]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_records_packed_as_one_or_cut_amid_are_read_all_the_same(tmp_path: Path, pack: Pack) -> None:
    whole = b"".join(CRAWL)
    for size in (len(whole), 700):
        data = b"".join(pack(whole[at : at + size]) for at in range(0, len(whole), size))
        (tmp_path / "a.warc.gz").write_bytes(data)
        rows, rejects = read_all("warc", tmp_path, target_bytes=1000)
        assert (numbers(rows), rejects) == (list(range(PAGES)), [])


def test_a_record_that_is_too_long_is_streamed_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warc, "RECORD_BYTES", 1 << 20)
    long = record(5, http(b"<p>" + b"x" * (30 << 20)))
    video = record(6, http(b"\0" * (30 << 20), "Content-Type: video/mp4\r\n"), "resource")
    for crawl in ([CRAWL[1], long, video, CRAWL[3]], packed([CRAWL[1], long, video, CRAWL[3]])):
        (tmp_path / "a.warc").write_bytes(b"".join(crawl))
        rows, (reject,) = read_all("warc", tmp_path)
        assert numbers(rows) == [0, 1]
        assert (reject.offset, reject.reason) == (len(crawl[0]), "a record is at most 1 MiB long")


def html(status: str = "200 OK", content_type: str | None = "text/html") -> bytes:
    header = f"Content-Type: {content_type}\r\n" if content_type is not None else ""
    return http(b"<!doctype html><p>text", header, status)


@pytest.mark.parametrize(
    ("one", "media_type"),
    [
        (record(1, html()), "text/html"),
        (record(1, html(content_type="Text/HTML ; charset=utf-8")), "text/html"),
        (record(1, html(content_type="application/xhtml+xml")), "text/html"),
        (record(1, html(content_type="text/plain")), "text/plain"),
        (record(1, html(content_type=None)), "text/html"),
        (record(1, http(b"words", ""), more="WARC-Identified-Payload-Type: text/plain\r\n"), "text/plain"),
        (record(1, http(b"words", "")), None),
        (record(1, html(content_type="image/png")), None),
        (record(1, html(content_type="application/json")), None),
        (record(1, html("404 Not Found")), None),
        (record(1, html("301 Moved Permanently")), None),
        (record(1, html("206 Partial Content")), None),
        (record(1, html(), "revisit"), None),
        (record(1, html(), "metadata"), None),
        (record(1, html()).replace(b"https://a.example/1", b"https://a.example/robots.txt"), None),
        (record(1, html()).replace(b"https://a.example/1", b"<http://a.example/robots.txt>"), None),
        (record(1, b"a.example 1.2.3.4").replace(b"application/http; msgtype=response", b"text/dns"), None),
    ],
)
def test_a_document_is_a_page_that_was_found(tmp_path: Path, one: bytes, media_type: str | None) -> None:
    (tmp_path / "a.warc").write_bytes(one + CRAWL[-1])
    rows, rejects = read_all("warc", tmp_path)
    assert rejects == []
    assert [row["media_type"] for row in rows[:-1]] == ([media_type] if media_type else [])


def test_a_page_knows_its_address_date_and_charset(tmp_path: Path) -> None:
    block = http("<p>안녕".encode("cp949"), "Content-Type: text/html; charset=EUC-KR\r\n")
    (tmp_path / "a.warc").write_bytes(record(7, block, more="WARC-Truncated: length\r\n"))
    ((row,), _) = read_all("warc", tmp_path)
    assert (row["id"], row["url"], row["text"]) == (f"{7:032}", "https://a.example/7", "<p>안녕")
    assert row["date"] == "2024-05-18T01:58:10Z"
    assert json.loads(row["metadata"]) == {
        "charset": "cp949", "declared_charset": "EUC-KR", "truncated": "length",
    }  # fmt: skip


def test_a_page_without_an_id_is_known_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(CRAWL[0] + CRAWL[1].replace(b"WARC-Record-ID", b"X"))
    assert [row["id"] for row in read_all("warc", tmp_path)[0]] == [f"a.warc#{len(CRAWL[0])}"]


def test_bare_line_ends_and_folded_headers_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(
        record(1, html().replace(b"\r\n", b"\n")).replace(b"\r\n", b"\n")
        + record(2, html()).replace(b"WARC-Type: ", b"WARC-Type:\r\n ")
    )  # fmt: skip
    rows, rejects = read_all("warc", tmp_path)
    assert (numbers(rows), rejects) == ([1, 2], [])


def test_a_conversion_is_a_document_of_a_wet_file(tmp_path: Path) -> None:
    more = "WARC-Identified-Content-Language: kor,eng\r\nWARC-Refers-To: <urn:uuid:x>\r\n"
    wet = [record(1, b"software: x", "warcinfo"), record(2, "본문 text".encode(), "conversion", more=more), CRAWL[1]]
    (tmp_path / "a.warc.wet.gz").write_bytes(b"".join(packed(wet)))
    ((row,), rejects) = read_all("wet", tmp_path)
    assert rejects == []
    assert (row["text"], row["media_type"], row["url"]) == ("본문 text", "text/plain", "https://a.example/2")
    assert json.loads(row["metadata"])["language"] == "kor,eng"


@given(st.binary(max_size=600), st.sampled_from([b"", b"WARC/1.0\r\n", CRAWL[1][:150], MEMBERS[1][:60], CRAWL[1]]))
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_raise_and_none_are_lost_in_silence(tmp_path: Path, junk: bytes, head: bytes) -> None:
    path = tmp_path / "a.warc"
    path.write_bytes(head + junk)
    rows, rejects = read_all("warc", path)
    if not rows and not rejects:
        assert not (head + junk).strip(b"\r\n\0") or b"WARC-Type" in head + junk
    path.write_bytes(b"\r\n" + head + junk + b"\r\n\r\n" + CRAWL[5] + CRAWL[7])
    assert numbers(read_all("warc", path)[0])[-1:] == [3]
