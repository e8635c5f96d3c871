"""Units: what a source names is found whole, once, in one order, and cut where records start."""

from __future__ import annotations

import gzip
import json
import os
from itertools import pairwise
from pathlib import Path

import fsspec
import pytest

from pipeline.read import FORMATS, Source, SourceError, Unit, read, units
from tests.pipeline.read_sources import line, packed, pages, read_all


def crawl(root: Path) -> None:
    for name in ("b/2.jsonl", "a/1.jsonl.gz", "a/3.ndjson", "4.json"):
        (root / name).parent.mkdir(exist_ok=True)
        data = b"\n".join(line(number) for number in range(50))
        (root / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    (root / "notes.txt").write_text("not of this format")


def test_files_come_in_the_order_of_their_paths_however_they_are_named(tmp_path: Path) -> None:
    crawl(tmp_path)
    expected = [str(tmp_path / name) for name in ("4.json", "a/1.jsonl.gz", "a/3.ndjson", "b/2.jsonl")]
    for paths in (
        [tmp_path],
        [f"{tmp_path}/**/*.*json*"],
        [f"{tmp_path}/b/*", f"{tmp_path}/a", f"{tmp_path}/4.json", f"{tmp_path}/a/1.jsonl.gz"],
    ):
        assert [unit.path for unit in units(Source("web", "jsonl", tuple(map(str, paths))))] == expected


def test_what_would_be_read_twice_is_an_error(tmp_path: Path) -> None:
    crawl(tmp_path)
    with pytest.raises(SourceError, match=r"b/2\.jsonl.*and so does"):
        units(Source("books", "text", (f"{tmp_path}/*/*", f"{tmp_path}/b")))
    for pattern in ("**", "**/*"):
        with pytest.raises(SourceError, match=r"which is read as a whole|neither folder nor archive"):
            units(Source("code", "code", (f"{tmp_path}/{pattern}",)))
    with pytest.raises(SourceError, match=r"4\.json' is neither folder nor archive"):
        units(Source("code", "code", (f"{tmp_path}/4.json",)))


def test_a_name_with_pattern_letters_is_the_file_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "a[1].jsonl").write_bytes(line(1))
    (tmp_path / "a1.jsonl").write_bytes(line(2))
    assert [row["id"] for row in read_all("jsonl", tmp_path / "a[1].jsonl")[0]] == ["d1"]


@pytest.mark.parametrize("form", FORMATS)
def test_a_path_that_stands_for_nothing_is_an_error_that_names_it(tmp_path: Path, form: str) -> None:
    (tmp_path / "empty").mkdir()
    for path in ("missing.warc.gz", "*.warc", "empty", "missing/*"):
        with pytest.raises(SourceError, match=path.replace("*", r"\*")):
            units(Source("web", form, (str(tmp_path / path),)))


def test_a_source_is_checked_before_anything_is_read() -> None:
    with pytest.raises(SourceError, match="no format 'xml'; formats are warc, wet"):
        Source("web", "xml", ("a",))
    with pytest.raises(SourceError, match="no column 'title'; columns are id, text"):
        Source("web", "jsonl", ("a",), (("title", "x"),))
    with pytest.raises(SourceError, match="the format warc has no columns"):
        Source("web", "warc", ("a",), (("id", "x"),))


def test_units_of_a_file_touch_each_other_and_are_about_as_long_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(line(number) for number in range(5000)))
    cut = units(Source("web", "jsonl", (str(path),)), 50_000)
    assert cut[0].start == 0
    assert cut[-1].stop is None
    assert all(one.stop == other.start for one, other in pairwise(cut))
    assert sum(unit.size for unit in cut) == path.stat().st_size
    assert all(abs(unit.size - 50_000) < 1000 for unit in cut[:-1])


def test_a_large_crawl_is_cut_where_members_start(tmp_path: Path) -> None:
    members = packed([os.urandom(300).hex().encode().join(pages(1)) for _ in range(600)])
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members))
    starts = {sum(map(len, members[:index])) for index in range(len(members))}
    cut = units(Source("web", "warc", (str(tmp_path),)), 40_000)
    assert len(cut) >= 5
    assert {unit.start for unit in cut} <= starts


def test_a_unit_is_the_same_after_a_journey_as_json(tmp_path: Path) -> None:
    unit = Unit("web", "jsonl", "caf\udce9/한.jsonl", 5, None, (("text", "body"),), 10, "7-8")
    assert Unit.from_json(unit.to_json()) == unit
    assert json.loads(unit.to_json())["start"] == 5


def test_a_version_changes_when_the_file_does_and_reading_it_then_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1))
    (unit,) = units(Source("web", "jsonl", (str(path),)))
    assert units(Source("web", "jsonl", (str(path),))) == [unit]
    path.write_bytes(line(12))
    (changed,) = units(Source("web", "jsonl", (str(path),)))
    assert changed.version != unit.version
    with pytest.raises(SourceError, match=r"a\.jsonl: has changed"):
        list(read(unit))
    path.unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        list(read(changed))


def test_a_file_without_access_is_an_error(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (tmp_path / "a.jsonl").write_bytes(line(1))
    (tmp_path / "a.jsonl").chmod(0)
    (unit,) = units(Source("web", "jsonl", (str(tmp_path),)))
    with pytest.raises(SourceError, match="Permission denied"):
        list(read(unit))


def test_remote_files_are_read_like_local_ones(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    data = b"\n".join(line(number) for number in range(300))
    members = b"".join(packed(pages(20)))
    files.pipe({"/bucket/a.jsonl": data, "/bucket/x/b.jsonl.gz": gzip.compress(data), "/bucket/c.warc.gz": members})
    try:
        rows, rejects = read_all("jsonl", "memory://bucket", target_bytes=5000)
        assert ([row["id"] for row in rows], rejects) == ([f"d{number}" for number in range(300)] * 2, [])
        assert {row["source"] for row in rows} == {"memory:///bucket/a.jsonl", "memory:///bucket/x/b.jsonl.gz"}
        assert len(read_all("warc", "memory://bucket/*.warc.gz", target_bytes=500)[0]) == 20
        with pytest.raises(SourceError, match="matches no file"):
            units(Source("web", "warc", ("memory://bucket/*.warc",)))
        (unit, *_) = units(Source("web", "jsonl", ("memory://bucket/a.jsonl",)))
        files.pipe("/bucket/a.jsonl", data + b"\n")
        with pytest.raises(SourceError, match="has changed"):
            list(read(unit))
    finally:
        files.rm("/bucket", recursive=True)
