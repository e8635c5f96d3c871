"""Evaluation sets: every kind of file gives the same items, and a fault is found before a run starts."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pipeline.evaluation import find_sets, items_of
from pipeline.read import SourceError
from pipeline.recipe import Recipe, parse

RECORDS = [
    {
        "question": "How many bolts of fiber does a robe take in total, says the tailor?",
        "choices": ["three", "four of them"],
        "answer": 3,
    },
    {
        "question": 'Which "safety, equipment" keeps mold spores\nfrom the lungs of a worker?',
        "choices": ["mask"],
        "answer": 0,
    },
]
TEXTS = [f"{record['question']} {' '.join(record['choices'])}" for record in RECORDS]


def lines(records: list[dict]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def table(records: list[dict], delimiter: str, header: bool = True) -> bytes:
    out = io.StringIO(newline="")
    rows = csv.writer(out, delimiter=delimiter)
    rows.writerows([["question", "first"]] if header else [])
    rows.writerows([record["question"], " ".join(record["choices"])] for record in records)
    return out.getvalue().encode()


def parquet(records: list[dict]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(records), sink)
    return sink.getvalue().to_pybytes()


def recipe(base: Path, **sets: dict) -> Recipe:
    corpora = {"a": {"read": {"format": "text", "paths": "a.txt"}}}
    return parse({"corpora": corpora, "decontaminate": sets}, base=str(base))


def texts(base: Path, **wanted: object) -> list[str]:
    return items_of(recipe(base, one=wanted)).column("text").to_pylist()


def fault(base: Path, **wanted: object) -> str:
    with pytest.raises(SourceError) as caught:
        find_sets(recipe(base, one=wanted))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "more"),
    [
        ("a.jsonl", lines(RECORDS), {}),
        ("a.jsonl.gz", gzip.compress(lines(RECORDS)), {}),
        ("a.jsonl.zst", zstandard.compress(lines(RECORDS)), {}),
        ("a.ndjson", b"\xef\xbb\xbf" + lines(RECORDS), {}),
        ("a.json", lines(RECORDS), {}),
        ("a.json", json.dumps(RECORDS, indent=1).encode(), {}),
        ("a.json", json.dumps({"canary": "x", "examples": RECORDS}).encode(), {}),
        ("a.json", json.dumps({"notes": [{}], "data": {"test": RECORDS}}).encode(), {"records": "data.test"}),
        ("a.json", json.dumps({"data": [{"qas": [one]} for one in RECORDS]}).encode(), {"records": "data.qas"}),
        ("a.json", json.dumps([{"q": one} for one in RECORDS]).encode(), {"fields": ["q.question", "q.choices"]}),
        ("a.jsonl", lines([{"q.a": r["question"], "c": r["choices"]} for r in RECORDS]), {"fields": ["q.a", "c"]}),
        ("a.csv", table(RECORDS, ","), {"fields": ["question", "first"]}),
        ("a.tsv.gz", gzip.compress(table(RECORDS, "\t")), {"fields": ["question", "first"]}),
        ("a.csv", table(RECORDS, ",", header=False), {"fields": [0, 1]}),
        ("a.parquet", parquet(RECORDS), {}),
        ("a.parquet", parquet([{"q": one} for one in RECORDS]), {"fields": ["q.question", "q.choices"]}),
    ],
)
def test_every_kind_of_file_gives_the_same_items(tmp_path, name, data, more):
    (tmp_path / name).write_bytes(data)
    assert texts(tmp_path, **{"paths": name, "fields": ["question", "choices"], **more}) == TEXTS


def test_plain_text_has_paragraphs(tmp_path):
    (tmp_path / "a.txt").write_text("Q: one\nA: two\n\n \n\nQ: three\n", encoding="utf-8")
    assert texts(tmp_path, paths="a.txt") == ["Q: one\nA: two", "Q: three\n"]


def test_items_are_named_by_file_and_number_and_sets_come_in_the_order_of_the_recipe(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.jsonl", "b/1.jsonl", "a.jsonl"):
        (tmp_path / name).write_bytes(lines(RECORDS))
    both = recipe(
        tmp_path,
        late={"paths": "b/*.jsonl", "fields": "question"},
        early={"paths": ["a.jsonl"], "fields": ["question"]},
    )
    found = items_of(both)
    assert found.column("set").to_pylist() == ["late"] * 4 + ["early"] * 2
    names = ["b/1.jsonl#0", "b/1.jsonl#1", "b/2.jsonl#0", "b/2.jsonl#1", "a.jsonl#0", "a.jsonl#1"]
    assert found.column("item").to_pylist() == names
    late, early = find_sets(both)
    assert (late.name, late.files, late.items, late.unsought, early.items) == ("late", 2, 4, 0, 2)


def test_a_set_changes_its_version_with_an_item_and_not_with_a_file_that_says_the_same(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(RECORDS))
    (before,) = find_sets(recipe(tmp_path, one={"paths": "a.jsonl", "fields": "question"}))
    path.write_bytes(lines([dict(reversed(record.items())) for record in RECORDS]))
    assert find_sets(recipe(tmp_path, one={"paths": "a.jsonl", "fields": "question"})) == (before,)
    path.write_bytes(lines(RECORDS).replace(b"robe", b"gown"))
    (after,) = find_sets(recipe(tmp_path, one={"paths": "a.jsonl", "fields": "question"}))
    assert after.version != before.version


@pytest.mark.parametrize(
    ("name", "data", "wanted", "message"),
    [
        ("b.jsonl", lines(RECORDS), {}, "a.jsonl' matches no file"),
        ("a.jsonl", lines(RECORDS), {"fields": ["qestion"]}, "no record has 'qestion'; did you mean 'question'?"),
        ("a.jsonl", lines(RECORDS), {"fields": ["question.text"]}, "no record has 'question.text'"),
        ("a.jsonl", lines([{"q": RECORDS[0]}]), {"fields": ["q"]}, "known: q.answer, q.choices, q.question"),
        ("a.jsonl", lines(RECORDS), {"fields": []}, "name the fields that make an item"),
        ("a.jsonl", lines(RECORDS) + b"{half", {}, "a.jsonl: line 3: not JSON"),
        ("a.jsonl", lines(RECORDS) + b"\xff", {}, "not UTF-8: byte"),
        ("a.jsonl", gzip.compress(lines(RECORDS))[:-9], {}, "gzip member ends early"),
        ("a.json", json.dumps({"x": RECORDS, "y": RECORDS}).encode(), {}, "holds the lists x, y: name the one"),
        ("a.json", b"3", {}, "is no list of records and holds none"),
        ("a.json", json.dumps({"data": RECORDS}).encode(), {"records": "dat"}, "no record has 'dat'; did you mean"),
        ("a.csv", table(RECORDS, ","), {"fields": ["question", 1]}, "not both"),
        ("a.csv", table(RECORDS, ","), {"fields": ["question", "frist"]}, "did you mean 'first'?"),
        ("a.csv", table(RECORDS, ","), {"fields": [7]}, "no record has 7; known: 0, 1"),
        ("a.csv", b'question\n"half', {}, "not a table"),
        ("a.parquet", parquet(RECORDS), {"fields": ["question", "chocies"]}, "did you mean 'choices'?"),
        ("a.parquet", parquet(RECORDS), {"fields": ["qestion"]}, "did you mean 'question'?"),
        ("a.parquet", b"PAR1", {}, "not a whole Parquet file"),
        ("a.txt", b"one\n\ntwo", {}, "no fields or records to name"),
        ("a.txt", b"one\n\ntwo", {"fields": []}, "none of its 2 items has 8 words of its own"),
        ("a.jsonl", b"", {}, "it holds no item"),
        ("a.pickle", b"", {}, "a name ends in one of .jsonl, .ndjson"),
    ],
)
def test_a_fault_says_where_it_is_and_what_would_be_right(tmp_path, name, data, wanted, message):
    (tmp_path / name).write_bytes(data)
    paths = "a.jsonl" if name == "b.jsonl" else name
    found = fault(tmp_path, **{"paths": paths, "fields": "question", **wanted})
    assert found.startswith("decontaminate.one: ")
    assert message in found


def test_every_fault_is_named_at_once(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines(RECORDS))
    sets = {"one": {"paths": "none.jsonl", "fields": "x"}, "two": {"paths": "a.jsonl", "fields": "anser"}}
    with pytest.raises(SourceError) as caught:
        find_sets(recipe(tmp_path, **sets))
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["decontaminate.one", "decontaminate.two"]


def test_a_field_may_be_missing_in_some_records(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines([*RECORDS, {"hint": "only this one has it"}]))
    assert texts(tmp_path, paths="a.jsonl", fields=["question", "hint"])[2] == "only this one has it"


def test_the_real_evaluation_files_are_read(data: Path):
    """Nested JSON, quoted line ends in CSV, TSV, plain text, a byte order mark; gzip and zstd."""
    sets = {
        "bbh": {"paths": "eval/BIG-Bench-Hard/*.json.zst", "fields": ["input", "target"]},
        "prompts": {"paths": "eval/BIG-Bench-Hard/*.txt.zst"},
        "copa": {"paths": "eval/llm-foundry/*copa*", "fields": ["query", "choices"]},
        "crows": {"paths": "eval/crows-pairs/*.csv.zst", "fields": ["sent_more", "sent_less"]},
        "winogender": {"paths": "eval/winogender-schemas/data__all*.tsv.zst", "fields": "sentence"},
        "humaneval": {"paths": "eval/human-eval/*.gz", "fields": ["prompt", "canonical_solution"]},
    }
    found = {one.name: one for one in find_sets(recipe(data, **sets))}
    assert {name: one.items for name, one in found.items() if name != "prompts"} == {
        "bbh": 2115,
        "copa": 100,
        "crows": 1508,
        "winogender": 720,
        "humaneval": 164,
    }
    assert found["bbh"].files == 9
    assert (found["humaneval"].unsought, found["crows"].unsought) == (0, 2)
