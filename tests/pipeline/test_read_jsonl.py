"""JSON Lines: whatever one line holds, the lines around it are read, and it is listed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.document import Reject
from pipeline.read import Source, jsonl, units
from pipeline.read.jsonl import Lost, NotADocument, document, lines
from pipeline.read.source import columns_of
from tests.pipeline.read_sources import line, read_all

GOOD = [line(number) for number in range(200)]
HALF = 100

Pack = Callable[[bytes], bytes]
PACKS: dict[str, Pack] = {
    ".jsonl": lambda data: data,
    ".jsonl.gz": gzip.compress,
    ".jsonl.zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}

# what stands in the middle of the file, and the reason it is rejected for
BAD_LINES: dict[str, tuple[bytes, str]] = {
    "one invalid byte": (line(0)[:-20] + b"\xff" + line(0)[-20:], "not UTF-8: byte 0xff"),
    "a cut character": ('{"text": "한'.encode()[:-1] + b'"}', "not UTF-8: byte 0xed"),
    "UTF-16": ('{"text": "a"}'.encode("utf-16"), "not UTF-8: byte 0xff"),
    "half a surrogate pair": (rb'{"id": "x", "text": "\ud800"}', "half a surrogate pair in 'text'"),
    "half a surrogate pair in the id": (rb'{"id": "\udfff", "text": "t"}', "half a surrogate pair in 'id'"),
    "half a record": (line(0)[:14], "not JSON: Unterminated string starting at"),
    "two records": (line(0) + line(1), "not JSON: Extra data"),
    "a list": (b'["text"]', "not a JSON object but a list"),
    "a string": (b'"text"', "not a JSON object but a string"),
    "null": (b"null", "not a JSON object but null"),
    "a number": (b"17", "not a JSON object but a number"),
    "a boolean": (b"true", "not a JSON object but a boolean"),
    "no text": (b'{"id": "x"}', "no 'text'"),
    "a text that is null": (b'{"id": "x", "text": null}', "no 'text'"),
    "a text that is a list": (b'{"text": ["a"]}', "'text' is a list, not a string"),
    "a text that is a number": (b'{"text": 1.5}', "'text' is a number, not a string"),
    "NaN": (b'{"text": "t", "score": NaN}', "not JSON: NaN is no number"),
    "Infinity": (b'{"text": "t", "score": -Infinity}', "not JSON: -Infinity is no number"),
    "a number out of range": (b'{"text": "t", "score": 1e999}', "not JSON: a number out of range"),
    "a huge integer": (b'{"text": "t", "n": ' + b"9" * 5000 + b"}", "not JSON: Exceeds the limit"),
    "100 000 levels": (b'{"text": "t", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    "a raw control character": (b'{"text": "a\x00b"}', "not JSON: Invalid control character at"),
    "binary": (bytes(range(128, 256)).replace(b"\n", b""), "not UTF-8: byte 0x80"),
    "single quotes": (b"{'text': 't'}", "not JSON: Expecting property name enclosed in double quotes"),
}

GOOD_LINES: dict[str, tuple[bytes, str]] = {
    "NUL as an escape": (rb'{"id": "x", "text": "a\u0000b"}', "a\0b"),
    "line separators": ('{"id": "x", "text": "a\u2028b\u2029c\x85d"}'.encode(), "a\u2028b\u2029c\x85d"),
    "CRLF": (b'{"id": "x", "text": "t"}\r', "t"),
    "a whole surrogate pair": (rb'{"id": "x", "text": "\ud83d\ude00"}', "😀"),
    "an empty text": (b'{"id": "x", "text": ""}', ""),
    "spaces around": (b'  {"id": "x", "text": "t"}\t ', "t"),
    "a field called rank": (b'{"id": "x", "text": "t", "rank": "00000", "../../x": "/etc/passwd"}', "t"),
    "an id that is a path": (b'{"id": "x", "text": "t", "url": "../../etc/passwd"}', "t"),
}  # fmt: skip


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


@pytest.mark.parametrize("ending", PACKS)
@pytest.mark.parametrize("fault", BAD_LINES)
def test_a_bad_line_costs_itself(tmp_path: Path, ending: str, fault: str) -> None:
    bad, reason = BAD_LINES[fault]
    before = b"\n".join(GOOD[:HALF]) + b"\n"
    data = before + bad + b"\n" + b"\n".join(GOOD[HALF:]) + b"\n"
    (tmp_path / f"a{ending}").write_bytes(PACKS[ending](data))
    (tmp_path / f"b{ending}").write_bytes(PACKS[ending](b"\n".join(GOOD)))
    rows, rejects = read_all("jsonl", tmp_path)
    assert ids(rows) == [f"d{number}" for number in range(200)] * 2
    (reject,) = rejects
    assert (reject.source, reject.offset) == (str(tmp_path / f"a{ending}"), len(before))
    assert reason in reject.reason
    assert reject.sample


@pytest.mark.parametrize("fault", GOOD_LINES)
def test_a_strange_line_is_a_document(tmp_path: Path, fault: str) -> None:
    strange, text = GOOD_LINES[fault]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*GOOD[:HALF], strange, *GOOD[HALF:]]))
    rows, rejects = read_all("jsonl", tmp_path / "a.jsonl")
    assert rejects == []
    assert len(rows) == 201
    assert (rows[HALF]["id"], rows[HALF]["text"]) == ("x", text)


def test_fields_that_are_left_are_the_metadata(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD_LINES["a field called rank"][0])
    ((row,), _) = read_all("jsonl", tmp_path / "a.jsonl")
    assert json.loads(row["metadata"]) == {"rank": "00000", "../../x": "/etc/passwd"}


def test_a_lone_half_in_another_field_stays_the_escape_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(rb'{"id": "x", "text": "t", "title": "\ud800"}')
    ((row,), rejects) = read_all("jsonl", tmp_path / "a.jsonl")
    assert rejects == []
    assert row["metadata"] == r'{"title":"\ud800"}'


def test_a_mark_at_the_head_blank_lines_and_no_last_line_end_are_fine(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + GOOD[0] + b"\n\n \r\n\t\n" + GOOD[1])
    (tmp_path / "b.jsonl").write_bytes(b"\xef\xbb\xbf")
    rows, rejects = read_all("jsonl", tmp_path)
    assert (ids(rows), rejects) == (["d0", "d1"], [])


@pytest.mark.parametrize("ending", PACKS)
def test_an_empty_file_holds_nothing(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"a{ending}").write_bytes(b"")
    (tmp_path / f"b{ending}").write_bytes(PACKS[ending](b""))
    assert read_all("jsonl", tmp_path) == ([], [])


def test_plain_text_named_gz_is_read_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(b"\n".join(GOOD))
    rows, rejects = read_all("jsonl", tmp_path, target_bytes=4000)
    assert (len(rows), rejects) == (200, [])


def test_several_members_and_frames_are_one_stream_even_cut_amid_a_line(tmp_path: Path) -> None:
    data = b"\n".join(GOOD)
    for ending in (".jsonl.gz", ".jsonl.zst"):
        pieces = [data[at : at + 5000] for at in range(0, len(data), 5000)]
        (tmp_path / f"a{ending}").write_bytes(b"".join(map(PACKS[ending], pieces)))
        assert ids(read_all("jsonl", tmp_path / f"a{ending}")[0]) == [f"d{number}" for number in range(200)]


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl.zst"])
def test_a_truncated_file_gives_what_comes_before_and_one_reject(tmp_path: Path, ending: str) -> None:
    long = [line(number, filler=f"{number * 7919:x}" * 40) for number in range(4000)]
    packed = PACKS[ending](b"\n".join(long))
    (tmp_path / f"a{ending}").write_bytes(packed[: len(packed) // 2])
    rows, rejects = read_all("jsonl", tmp_path / f"a{ending}")
    assert 1000 < len(rows) < 3000
    assert ids(rows) == [f"d{number}" for number in range(len(rows))]
    (reject,) = rejects
    assert "ends early: at byte 0 of the file" in reject.reason
    assert reject.offset == sum(len(one) + 1 for one in long[: len(rows)])


def test_a_damaged_member_does_not_cost_the_next(tmp_path: Path) -> None:
    thirds = [b"\n".join(GOOD[at : at + 50]) + b"\n" for at in (0, 50, 100)]
    members = [bytearray(gzip.compress(third)) for third in thirds]
    members[1][-6] ^= 1  # its checksum: the text may be altered, and there is no telling where
    (tmp_path / "a.jsonl.gz").write_bytes(b"".join(members))
    rows, rejects = read_all("jsonl", tmp_path / "a.jsonl.gz")
    assert len(rows) == 150
    assert [reject.reason for reject in rejects] == [
        f"gzip checksum does not match: at byte {len(members[0])} of the file"
    ]


def test_garbage_behind_gzip_is_one_reject(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"\n".join(GOOD) + b"\n") + b"trailing garbage")
    rows, rejects = read_all("jsonl", tmp_path / "a.jsonl.gz")
    assert len(rows) == 200
    assert [reject.reason.split(":")[0] for reject in rejects] == ["no gzip member where one should start"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress, lambda data: data])
def test_a_line_that_is_too_long_is_streamed_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Pack) -> None:
    monkeypatch.setattr(jsonl, "RECORD_BYTES", 1 << 20)
    bomb = b'{"text": "' + b"x" * (40 << 20) + b'"}'
    (tmp_path / "a.jsonl").write_bytes(pack(GOOD[0] + b"\n" + bomb + b"\n" + GOOD[1]))
    rows, (reject,) = read_all("jsonl", tmp_path / "a.jsonl")
    assert ids(rows) == ["d0", "d1"]
    assert (reject.offset, reject.reason) == (len(GOOD[0]) + 1, "a record is at most 1 MiB long")
    assert len(reject.sample or "") == 200


def test_a_line_without_an_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "RECORD_BYTES", 1 << 20)
    monkeypatch.setattr(jsonl, "GIVE_UP_BYTES", 8 << 20)
    bomb = zstandard.ZstdCompressor().compress(GOOD[0] + b"\n" + bytes(64 << 20) + b"\n" + GOOD[1])
    (tmp_path / "a.jsonl").write_bytes(bomb)
    rows, rejects = read_all("jsonl", tmp_path / "a.jsonl")
    assert ids(rows) == ["d0"]
    assert [reject.reason for reject in rejects] == ["longer than any line: the rest of the stream is left"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
pieces = st.one_of(
    st.binary(max_size=30),
    st.just(b""),
    st.dictionaries(st.sampled_from(["id", "text", "url", "license", "a"]), json_values, max_size=5).map(
        lambda value: json.dumps(value).encode()
    ),
    st.text(max_size=20).map(lambda text: json.dumps({"text": text}, ensure_ascii=False).encode("utf-8", "replace")),
)


@given(st.lists(pieces, max_size=30), st.integers(1, 200))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_units_of_a_file_give_the_records_of_the_file(tmp_path: Path, several: list[bytes], target: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b" \n" + b"\n".join(several))  # a blank: the first bytes must not look packed
    whole = read_all("jsonl", path)
    assert read_all("jsonl", path, target_bytes=target) == whole
    count = sum(bool(one.strip()) and one != b"\xef\xbb\xbf" for piece in several for one in piece.split(b"\n"))
    assert len(whole[0]) + len(whole[1]) == count
    for pack in (gzip.compress, PACKS[".jsonl.zst"]):
        path.write_bytes(pack(b" \n" + b"\n".join(several)))
        assert read_all("jsonl", path, target_bytes=target) == whole


def test_a_line_of_nothing_but_a_byte_order_mark_is_blank_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b' \n\xef\xbb\xbf\n{"text": "t"}\n\xef\xbb\xbf')
    rows, rejects = read_all("jsonl", tmp_path / "a.jsonl")
    assert ([row["text"] for row in rows], rejects) == (["t"], [])


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_lines_do_not_depend_on_how_the_stream_is_chopped(data: bytes, places: list[int]) -> None:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    chopped = [data[start:stop] for start, stop in pairwise(bounds)]
    expected = [one for one in data.split(b"\n") if one.strip() and one != b"\xef\xbb\xbf"]
    found = list(lines(iter(chopped)))
    assert [one for _, one in found] == expected
    assert all(not isinstance(one, Lost) and data[at : at + len(one)] == one for at, one in found)


@given(st.binary(max_size=100) | json_values.map(lambda value: json.dumps(value).encode()))
@settings(deadline=None)
def test_a_line_is_a_document_or_says_why_not(data: bytes) -> None:
    values: dict[str, str | None] = {"text": ""}
    with suppress(NotADocument):
        values = document(data, columns_of(()))
    assert isinstance(values["text"], str)
    for value in values.values():
        assert value is None or value.encode("utf-8").decode() == value


def test_columns_are_found_under_their_names_and_numbers_become_text(tmp_path: Path) -> None:
    record = {"key": 17, "body": "t", "licences": "MIT", "url": "https://a.example", "text": "not this", "lang": "en"}
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    columns = (("id", "key"), ("text", "body"), ("licence", "licences"), ("programming_language", "lang"))
    ((row,), _) = read_all("jsonl", tmp_path / "a.jsonl", columns=columns)
    assert row == {
        "id": "17", "corpus": "web", "source": str(tmp_path / "a.jsonl"), "offset": 0, "url": "https://a.example",
        "date": None, "repository": None, "programming_language": "en", "licence": "MIT", "media_type": "text/plain",
        "metadata": '{"text":"not this"}', "text": "t",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given_id", "expected"),
    [
        ('"x"', "x"),
        ("7", "7"),
        ("1.5", "1.5"),
        ("true", "true"),
        ("null", "a.jsonl#0"),
        ('""', "a.jsonl#0"),
        ("[1]", "a.jsonl#0"),
    ],
)
def test_an_id_is_the_sources_own_or_made_of_name_and_offset(tmp_path: Path, given_id: str, expected: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"id": {given_id}, "text": "t"}}\n{{"text": "no id"}}\n')
    rows, _ = read_all("jsonl", tmp_path / "a.jsonl")
    assert rows[0]["id"] == expected
    assert rows[1]["id"] == f"a.jsonl#{rows[1]['offset']}"


def test_reject_and_document_know_their_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("null\n")
    (unit,) = units(Source("books", "jsonl", (str(tmp_path / "a.jsonl"),)))
    assert list(jsonl.read(unit)) == [
        Reject("books", str(tmp_path / "a.jsonl"), 0, "not a JSON object but null", "null")
    ]
