"""Real crawls, books and trees: every page that others find, in the charset it was written in."""

from __future__ import annotations

import html
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from warcio.archiveiterator import ArchiveIterator

from tests.pipeline.read_sources import read_all

WORD = re.compile(r"\w+")


def truths(data: Path) -> Iterator[dict[str, Any]]:
    with open(data / "web/truth.jsonl.zst", "rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8"):
            yield json.loads(line)


def reference(path: Path) -> list[str]:
    """Return the ids of the pages that warcio finds: responses with status 200 and a body of text, robots.txt apart."""
    found = []
    with open(path, "rb") as file:
        for one in ArchiveIterator(file, ensure_http_headers=False):
            if one.rec_type != "response" or one.http_headers.get_statuscode() != "200":
                continue
            media_type = one.http_headers.get_header("Content-Type", "").split(";")[0]
            url = one.rec_headers.get_header("WARC-Target-URI")
            if media_type in ("text/html", "text/plain") and not url.endswith("/robots.txt"):
                found.append(one.rec_headers.get_header("WARC-Record-ID")[10:-1])
    return found


@pytest.mark.parametrize("target", [32 << 20, 1 << 20])
def test_every_page_that_warcio_finds_is_read_from_a_crawl(data: Path, target: int) -> None:
    rows, rejects = read_all("warc", data / "web/crawl-00.warc.gz", target_bytes=target)
    assert rejects == []
    assert [row["id"] for row in rows] == reference(data / "web/crawl-00.warc.gz")


def test_pages_are_decoded_as_they_were_written(data: Path) -> None:
    rows, rejects = read_all("warc", data / "web/crawl-*.warc.gz")
    assert rejects == []
    texts = {row["id"]: (html.unescape(row["text"]), json.loads(row["metadata"])) for row in rows}
    charsets: Counter[str] = Counter()
    for truth in truths(data):
        if not truth.get("record_id"):
            continue
        text, metadata = texts[truth["record_id"][10:-1]]
        charset = (truth["charset"] or "unnamed").lower()
        charsets[charset] += 1
        assert "replaced" not in metadata
        # words of other scripts: a charset that is wrong spoils nearly all of them; markup inside a word spoils a few
        words = [word for word in WORD.findall(truth["gold_text"] or "") if not word.isascii()][:100]
        missing = sum(word not in text for word in words)
        assert missing <= max(2, len(words) // 5), (truth["url"], charset, metadata)
    assert charsets["cp949"] == 49
    assert {"windows-1251", "shift_jis", "gb18030", "big5", "windows-1258", "iso-8859-15"} <= set(charsets)


def test_every_conversion_is_read_from_wet_files(data: Path) -> None:
    rows, rejects = read_all("wet", data / "web/crawl-*.wet.gz")
    expected = 0
    for path in sorted((data / "web").glob("crawl-*.wet.gz")):
        with open(path, "rb") as file:
            expected += sum(one.rec_type == "conversion" for one in ArchiveIterator(file))
    assert (len(rows), rejects) == (expected, [])


REAL = {
    "warcio-bad.arc": (0, ["no WARC record where one should start"]),
    "warcio-example.arc": (0, ["no WARC record where one should start"]),
    "warcio-example.arc.gz": (0, ["no WARC record where one should start"]),
    "warcio-example-bad-non-chunked.warc.gz": (1, []),
    "warcio-example-digest.warc": (0, []),
    "warcio-example-iana.org-chunked.warc": (1, []),
    "warcio-example-resource.warc.gz": (0, []),
    "warcio-example-space-in-target-uri.warc.gz": (0, []),
    "warcio-example-trunc.warc": (0, ["record does not end where its Content-Length says"]),
    "warcio-example-wget-bad-target-uri.warc.gz": (1, []),
    "warcio-example-wrong-chunks.warc.gz": (1, []),
    "warcio-example.warc": (1, []),
    "warcio-example.warc.gz": (1, []),
    "warcio-post-test.warc.gz": (0, []),
    "whirlwind.warc.gz": (1, []),
    "whirlwind.warc.wat.gz": (0, []),
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_file_with_its_faults_gives_what_is_in_it(data: Path, name: str) -> None:
    rows, rejects = read_all("warc", data / "web/real" / name)
    assert (len(rows), [one.reason for one in rejects]) == REAL[name]
    for row in rows:
        assert row["url"].startswith("http")
        assert "</html>" in row["text"]


def test_a_common_crawl_page_and_its_extract_are_read(data: Path) -> None:
    ((page,), _) = read_all("warc", data / "web/real/whirlwind.warc.gz")
    ((extract,), _) = read_all("wet", data / "web/real/whirlwind.warc.wet.gz")
    assert page["url"] == extract["url"] == "https://an.wikipedia.org/wiki/Escopete"
    assert "Escopete - Biquipedia, a enciclopedia libre" in extract["text"]
    assert "<title>Escopete - Biquipedia, a enciclopedia libre</title>" in page["text"]
    assert json.loads(extract["metadata"])["language"] == "spa"


def test_every_book_is_read(data: Path) -> None:
    path = data / "books/books.jsonl.zst"
    rows, rejects = read_all("jsonl", path)
    with open(path, "rb") as file:
        books = [json.loads(line) for line in zstandard.ZstdDecompressor().stream_reader(file).read().splitlines()]
    assert rejects == []
    assert [(row["id"], row["text"], row["licence"]) for row in rows] == [
        (str(book["id"]), book["text"], book["license"]) for book in books
    ]


def test_every_file_of_the_trees_is_read_or_listed(data: Path) -> None:
    path = data / "code/trees.tar.zst"
    rows, rejects = read_all("code", path)
    with open(path, "rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            names = [member.name for member in archive if member.isfile()]
    assert len(rows) + len(rejects) <= len(names)
    assert len(rows) > 0.99 * len(names)
    urls = {row["url"] for row in rows}
    left = [name for name in names if name not in urls]
    assert len(left) - len(rejects) <= 3  # UTF-16 without a mark, by its NUL bytes binary
    languages = Counter(row["programming_language"] for row in rows)
    assert [name for name, _ in languages.most_common(4) if name] == ["JavaScript", "C", "Python"]
    assert len({row["repository"] for row in rows}) == 38
