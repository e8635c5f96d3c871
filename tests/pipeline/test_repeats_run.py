"""Whole runs that cut repeated text: what the ledger says was cut is what is missing, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.recipe import parse
from pipeline.report import render
from pipeline.run import run, summary
from pipeline.why import why
from tests.pipeline.corpora import text, write_jsonl

NOTICE = "Copyright the authors of this site. All rights are reserved, and none is given to anybody who reads this."
LICENCE = text(77, 90).replace("\n", " ")


def recipe(**deduplicate):
    corpora = {name: {"read": {"format": "jsonl", "paths": f"{name}*.jsonl"}} for name in ("web", "books")}
    return {
        "seed": 5,
        "corpora": corpora,
        "deduplicate": {
            "priority": ["books", "web"],
            "exact": [{"unit": "document"}, {"unit": "line", "occurrences": 2, "characters": 20}],
            "substring": {"words": 50},
        }
        | deduplicate,
        "shards": {"tokenizer": {"train": 400}, "tokens": 5000},
    }


def rows() -> dict[str, list[dict]]:
    pages = [{"id": f"page-{n}", "text": f"{text(n)}\n{NOTICE}\n{text(500 + n, 30)}"} for n in range(12)]
    pages += [{"id": f"licensed-{n}", "text": f"{text(300 + n, 40)} {LICENCE} 끝{n}"} for n in range(4)]
    pages += [{"id": "nothing-of-its-own", "text": f"\n{NOTICE}\n  \n"}]
    books = [{"id": "book", "text": f"{text(900, 200)}\n{LICENCE}\n{NOTICE}\n{text(901, 200)}"}]
    books += [{"id": "copy", "text": books[0]["text"]}]
    return {"web": pages, "books": books}


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for name, documents in rows().items():
        write_jsonl(folder / f"{name}.jsonl", documents)
    return folder


@pytest.fixture(scope="module")
def finished(sources, tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    return root, run(parse(recipe(), base=str(sources)), str(root))


def ledger(root: Path) -> dict[str, dict]:
    return {row["id"]: row for row in pq.read_table(root / "ledger").to_pylist()}


def kept(root: Path) -> dict[str, str]:
    return {row["id"]: row["text"] for row in pq.read_table(root / "documents").to_pylist()}


def test_what_is_kept_is_the_text_without_the_spans_of_the_ledger(finished):
    root, _ = finished
    written = {row["id"]: row["text"] for documents in rows().values() for row in documents}
    texts, found = kept(root), ledger(root)
    assert sum(row["removed"] is not None for row in found.values()) > 12
    for name, row in found.items():
        spans = row["removed"] or []
        assert all(a["end"] <= b["start"] for a, b in zip(spans, spans[1:], strict=False))
        assert (row["characters_removed"] or 0) == sum(span["end"] - span["start"] for span in spans)
        if row["decision"] == "kept":
            at, left = 0, ""
            for span in spans:
                left, at = left + written[name][at : span["start"]], span["end"]
            assert texts[name] == left + written[name][at:]
            assert row["characters"] == len(written[name])


def test_the_first_occurrences_in_the_total_order_stay(finished):
    root, _ = finished
    texts, found = kept(root), ledger(root)
    assert NOTICE in texts["book"]
    assert sum(NOTICE in one for one in texts.values()) == 2
    assert [name for name, one in texts.items() if LICENCE in one] == ["book"]
    for number in range(4):
        (span,) = found[f"licensed-{number}"]["removed"]
        assert (span["unit"], span["survivor"], span["survivor_source"]) == ("words", "book", "books.jsonl")
        assert texts[f"licensed-{number}"].endswith(f". 끝{number}")


def test_a_document_of_which_nothing_is_left_is_dropped_and_counted(finished):
    root, outcome = finished
    row = ledger(root)["nothing-of-its-own"]
    assert (row["reason"], row["removed"][0]["survivor"]) == ("repeated_text", "book")
    counts = outcome.manifest["documents"]
    assert counts["dropped"] == {"exact_duplicate": 1, "repeated_text": 1}
    assert counts["read"] == counts["kept"] + 2
    answer = why(str(root), "nothing-of-its-own")
    assert "all its text repeats" in answer
    assert "by line: kept by book (books.jsonl)" in answer
    assert "repeated_text 1" in summary(outcome)
    assert "characters of repeated text were cut" in summary(outcome)


def test_the_statistics_say_how_much_was_cut(finished):
    root, outcome = finished
    found = [row for row in ledger(root).values() if row["reason"] != "repeated_text" and row["corpus"] == "web"]
    spans = [span for row in found for span in row["removed"] or []]
    by_unit = outcome.manifest["statistics"]["removed"]["web"]
    assert {unit: count["spans"] for unit, count in by_unit.items()} == {
        unit: sum(span["unit"] == unit for span in spans) for unit in ("line", "words")
    }
    characters = outcome.manifest["corpora"]["web"]["characters"]
    assert characters["cut"] == sum(span["end"] - span["start"] for span in spans)
    left = sum(len(one) for name, one in kept(root).items() if ledger(root)[name]["corpus"] == "web")
    assert characters["kept"] == left
    assert characters["read"] == sum(len(row["text"]) for row in rows()["web"])
    report = render(outcome.manifest, json.loads((root / "examples.json").read_text()))
    assert "Repeated text cut out of documents" in report
    assert "after repeated text" in report


def test_neither_workers_nor_files_change_what_is_kept(finished, sources, tmp_path):
    run(parse(recipe(), base=str(sources)), str(tmp_path / "two"), workers=2)
    assert kept(tmp_path / "two") == kept(finished[0])
    assert ledger(tmp_path / "two") == ledger(finished[0])
    moved = tmp_path / "sources"
    for name, documents in rows().items():
        for number in range(3):
            write_jsonl(moved / f"{name}-{9 - number}.jsonl", documents[number::3][::-1])
    run(parse(recipe(), base=str(moved)), str(tmp_path / "moved"))
    assert sorted(kept(tmp_path / "moved").values()) == sorted(kept(finished[0]).values())


def test_cutting_the_lines_of_what_was_kept_cuts_nothing_more(sources, tmp_path):
    lines = recipe(exact=[{"unit": "line"}], substring=None)
    run(parse(lines, base=str(sources)), str(tmp_path / "once"))
    texts = kept(tmp_path / "once")
    write_jsonl(tmp_path / "web.jsonl", [{"id": name, "text": one} for name, one in texts.items()])
    write_jsonl(tmp_path / "books.jsonl", [])
    again = run(parse(lines, base=str(tmp_path)), str(tmp_path / "twice"))
    assert again.manifest["statistics"]["removed"]["web"] == {}
    assert kept(tmp_path / "twice") == texts


def test_only_the_corpora_that_are_named_are_cut(sources, tmp_path):
    named = recipe(exact={"unit": "line", "corpora": "books"}, substring={"bytes": 300, "corpora": ["books"]})
    outcome = run(parse(named, base=str(sources)), str(tmp_path / "run"))
    assert all(row["removed"] is None for row in ledger(tmp_path / "run").values() if row["corpus"] == "web")
    assert outcome.manifest["corpora"]["books"]["documents"]["dropped"] == {"repeated_text": 1}


def test_a_run_without_repeats_says_so_by_nulls(tmp_path):
    write_jsonl(tmp_path / "web.jsonl", [{"id": str(n), "text": text(n)} for n in range(3)])
    write_jsonl(tmp_path / "books.jsonl", [])
    outcome = run(parse(recipe(), base=str(tmp_path)), str(tmp_path / "run"))
    assert outcome.manifest["documents"]["kept"] == 3
    assert all(
        row["removed"] is None and row["characters_removed"] is None for row in ledger(tmp_path / "run").values()
    )


def test_a_later_run_knows_the_documents_as_they_were_before_they_were_cut(sources, tmp_path):
    run(parse(recipe(), base=str(sources)), str(tmp_path / "first"))
    cut = next(row["id"] for row in ledger(tmp_path / "first").values() if row["removed"] and row["decision"] == "kept")
    again = [row for row in rows()["web"] if row["id"] == cut] + [{"id": "new", "text": text(999)}]
    write_jsonl(tmp_path / "web.jsonl", again)
    write_jsonl(tmp_path / "books.jsonl", [])
    run(parse(recipe(against=str(tmp_path / "first")), base=str(tmp_path)), str(tmp_path / "second"))
    found = ledger(tmp_path / "second")
    assert (found[cut]["reason"], found[cut]["survivor"]) == ("exact_duplicate", cut)
    assert found["new"]["decision"] == "kept"


def test_a_run_that_lost_its_end_publishes_the_same_bytes_again(sources, tmp_path):
    root = tmp_path / "run"
    run(parse(recipe(), base=str(sources)), str(root))

    def published() -> dict[str, bytes]:
        files = [one for folder in ("documents", "ledger", "shards") for one in (root / folder).iterdir()]
        return {str(one.relative_to(root)): one.read_bytes() for one in [*files, root / "manifest.json"]}

    before = published()
    (root / "manifest.json").unlink()
    for folder in ("claims", "later", "cut"):
        for one in (root / "work" / folder).iterdir():
            one.unlink()
    run(parse(recipe(), base=str(sources)), str(root))
    assert published() == before
