"""Main text against pages whose main text is known: no worse than the extractor alone, measured by the same ruler."""

from __future__ import annotations

import io
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from resiliparse.extract.html2text import extract_plain_text

from pipeline.document import Reject
from pipeline.edit import edit
from pipeline.read import Source, read, units

UNSPACED = ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "THAI ", "LAO ", "KHMER ", "MYANMAR ")


@cache
def _token() -> re.Pattern[str]:
    """Return what a token is: a character of a script written without spaces, or a run of letters, marks and digits."""
    single, others = [], []
    for char in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.category(char)[0] in "LM" or unicodedata.category(char) == "Nd":
            (single if unicodedata.name(char, "").startswith(UNSPACED) else others).append(char)
    return re.compile(f"[{_ranges(single)}]|[{_ranges(others)}]+")


def _ranges(chars: list[str]) -> str:
    points = sorted(map(ord, chars))
    starts = [points[0], *(b for a, b in pairwise(points) if b != a + 1)]
    ends = [*(a for a, b in pairwise(points) if b != a + 1), points[-1]]
    return "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in zip(starts, ends, strict=True))


def f1(found: str, right: str) -> float:
    """Return the harmonic mean of precision and recall over the multiset of lower-cased tokens."""
    ours, theirs = (Counter(_token().findall(text.lower())) for text in (found, right))
    return 2 * (ours & theirs).total() / max(1, ours.total() + theirs.total())


def pages(data: Path, every: int) -> Iterator[tuple[str, pa.RecordBatch, str]]:
    """Yield (record id, a batch of its page, its main text) of the pages with known main text, one in `every`."""
    with (data / "web" / "truth.jsonl.zst").open("rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n")
        truth = {entry.get("record_id"): entry.get("gold_text") for entry in map(json.loads, lines)}
    number = 0
    for unit in units(Source("web", "warc", (str(data / "web" / "crawl-*.warc.gz"),))):
        for batch in read(unit):
            if isinstance(batch, Reject):
                continue
            for row, identity in enumerate(batch.column("id").to_pylist()):
                identity = f"<urn:uuid:{identity}>"
                if truth.get(identity):
                    number += 1
                    if number % every == 0:
                        yield identity, batch.slice(row, 1), truth[identity]


def scores(data: Path, vectors: Path, every: int) -> tuple[list[float], list[float]]:
    """Return (ours, the extractor's alone) for each page, after checking the ruler against the published scores."""
    published = json.loads((vectors / "extraction_baseline.json").read_text())
    column = published["f1_by_record_order"].index("resili")
    ours, alone = [], []
    for identity, batch, right in pages(data, every):
        edited, _ = edit(batch, ["main_text"])
        ours.append(f1(edited.column("text")[0].as_py(), right))
        alone.append(published["f1_by_record"][identity][column])
        measured = f1(extract_plain_text(batch.column("text")[0].as_py(), main_content=True), right)
        assert measured == pytest.approx(alone[-1], abs=0.02), identity
    return ours, alone


def test_main_text_is_no_worse_than_the_extractor_alone_on_a_sample(data: Path, vectors: Path) -> None:
    ours, alone = scores(data, vectors, 12)
    assert len(ours) > 150
    assert sum(ours) >= sum(alone)
    assert max(b - a for a, b in zip(ours, alone, strict=True)) < 0.05


@pytest.mark.slow
def test_main_text_gains_two_points_over_the_extractor_alone_on_all_pages(data: Path, vectors: Path) -> None:
    ours, alone = scores(data, vectors, 1)
    assert len(ours) == 1888
    assert sum(alone) / len(alone) == pytest.approx(0.92732, abs=0.0005)
    assert sum(ours) / len(ours) > 0.95
    assert sum(score < 0.5 for score in ours) <= 5
