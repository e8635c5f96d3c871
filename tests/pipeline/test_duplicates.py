"""Deduplication in whole runs: who stays, what it stands for, and runs against earlier ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.manifest import RunError
from pipeline.recipe import parse
from pipeline.recipe_yaml import RecipeError
from pipeline.run import run, summary
from pipeline.why import why
from tests.pipeline.corpora import documents, edited, text, write_jsonl
from tests.pipeline.test_run import published


def recipe(*corpora: str, **deduplicate) -> dict:
    return {
        "corpora": {name: {"read": {"format": "jsonl", "paths": f"{name}.jsonl"}} for name in corpora},
        "deduplicate": {"exact": {}, "near": {}, **deduplicate},
        "shards": {"tokenizer": {"train": 300}},
    }


def rows(root: Path) -> list[dict]:
    return pq.read_table(root / "ledger").to_pylist()


def kept(*roots: Path) -> Counter:
    return Counter(value for root in roots for value in pq.read_table(root / "documents")["text"].to_pylist())


def curate(folder: Path, out: str, *corpora: str, **deduplicate):
    return run(parse(recipe(*corpora, **deduplicate), base=str(folder)), str(folder / out))


FAMILY = [
    {"id": "long", "text": text(1) + " And a last word.", "date": "2024-01-01", "quality": 2},
    {"id": "new", "text": text(1), "date": "2025-06-01T10:00:00+09:00", "quality": 1},
    {"id": "good", "text": edited(text(1)), "date": "no date", "quality": 9},
]


@pytest.mark.parametrize(
    ("keep", "stays"),
    [("longest", "long"), ("newest", "new"), ({"quality": "words_of_praise"}, "good"), ("priority", "long")],
)
def test_a_policy_says_who_stays(tmp_path, keep, stays):
    (tmp_path / "praise.py").write_text(
        "import pyarrow as pa\nimport pyarrow.compute as pc\nfrom filters.signal import signal\n\n\n"
        "@signal(words_of_praise=pa.int32())\ndef praise(text):\n    return pc.count_substring(text, 'elsewhere')\n"
    )
    write_jsonl(tmp_path / "a.jsonl", [*FAMILY, *documents(5, start=50)])
    plan = parse({**recipe("a", keep=keep), "plugins": "praise.py"}, base=str(tmp_path))
    run(plan, str(tmp_path / "run"))
    family = {row["id"]: row for row in rows(tmp_path / "run") if not row["id"].startswith("doc")}
    assert {name for name, row in family.items() if row["decision"] == "kept"} == {stays}
    assert family[stays]["copies"] == 3
    assert {row["survivor"] for name, row in family.items() if name != stays} == {stays}
    assert all(row["copies"] is None for row in rows(tmp_path / "run") if row["id"] != stays)
    assert "stands for 3 documents" in why(str(tmp_path / "run"), stays)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": "longst"}, "did you mean 'longest'?"),
        ({"keep": "quality"}, "keep: {quality: <column>}"),
        ({"keep": {"quality": "wrods"}}, "did you mean 'words'?"),
        ({"keep": {"quality": "language"}}, "is no number"),
        ({"near": {"normalise": ["digit"]}}, "did you mean 'digits'?"),
        ({"alarm": 0}, "greater than 0"),
    ],
)
def test_faults_of_a_recipe_are_named(settings, message):
    with pytest.raises(RecipeError) as error:
        parse(recipe("a", **settings))
    assert message in str(error.value)
    assert len(error.value.faults) == 1


def test_documents_that_meet_and_are_not_alike_all_stay(tmp_path):
    shared = text(0, 300)  # three quarters: they have a band in common, and are 0.6 alike
    rows = [{"text": f"{shared}\n{text(n, 100)}"} for n in range(1, 9)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    outcome = curate(tmp_path, "out", "a")
    assert outcome.manifest["documents"]["kept"] == 8
    members = list((tmp_path / "out" / "work" / "members").glob("*-shingles"))
    assert any(path.stat().st_size > 200 for path in members), "none of them met another"


def test_digits_make_a_difference_unless_the_recipe_says_otherwise(tmp_path):
    table = [" ".join(f"{word} {n + i}" for i, word in enumerate(text(7, 40).split())) for n in (10, 5000)]
    write_jsonl(tmp_path / "a.jsonl", [{"text": one} for one in table])
    assert curate(tmp_path, "as-they-are", "a").manifest["documents"]["kept"] == 2
    zeros = curate(tmp_path, "zeros", "a", near={"normalise": ["case", "punctuation", "digits"]})
    assert zeros.manifest["documents"]["kept"] == 2  # 10 is 00, 5000 is 0000
    table = [one.replace("5", "6") for one in table]
    write_jsonl(tmp_path / "a.jsonl", [{"text": one} for one in (table[0], table[0].replace("2", "3"))])
    assert curate(tmp_path, "as-they-are", "a").manifest["documents"]["kept"] == 2
    zeros = curate(tmp_path, "zeros", "a", near={"normalise": ["case", "punctuation", "digits"]})
    assert zeros.manifest["documents"]["dropped"] == {"near_duplicate": 1}


def test_a_corpus_that_loses_nearly_all_is_told(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", documents(30))
    write_jsonl(tmp_path / "b.jsonl", documents(30))
    outcome = curate(tmp_path, "run", "a", "b", priority=["b"])
    assert [(one["corpus"], one["duplicates"]) for one in outcome.manifest["alarms"]] == [("a", 30), ("a", 30)]
    assert "alarm: 'a' lost 30 of 30 documents as duplicates (100.0%)" in summary(outcome)
    assert "Alarm:" in (tmp_path / "run" / "report.html").read_text()
    assert curate(tmp_path, "run", "a", "b", priority=["b"], alarm=1.0).manifest["alarms"] == []


@pytest.fixture
def dumps(tmp_path) -> Path:
    """Three dumps that share documents, copies and near copies, of each other and of a corpus that rules thin out."""
    first = [*documents(30), {"id": "near", "text": edited(text(3))}]
    second = [
        *documents(20, start=20),
        {"id": "near-2", "text": edited(text(11))},
        {"id": "x", "text": edited(text(3))},
    ]
    second += [{"id": "own", "text": text(300)}, {"id": "own-copy", "text": text(300)}]
    third = [*documents(12, start=35), {"id": "y", "text": edited(text(300))}, {"id": "z", "text": text(700)}]
    for name, some in (("first", first), ("second", second), ("third", third)):
        write_jsonl(tmp_path / f"{name}.jsonl", some)
    return tmp_path


def test_a_run_against_an_earlier_one_keeps_what_a_full_rerun_keeps(dumps):
    curate(dumps, "one", "first")
    outcome = curate(dumps, "two", "second", against="one")
    curate(dumps, "both", "first", "second", priority=["first", "second"])
    assert kept(dumps / "one", dumps / "two") == kept(dumps / "both")
    assert outcome.manifest["documents"]["kept"] == 11
    by_id = {row["id"]: row for row in rows(dumps / "two")}
    assert (by_id["doc-25"]["survivor"], by_id["doc-25"]["reason"]) == ("doc-25", "exact_duplicate")
    assert by_id["doc-25"]["survivor_run"] == "one"
    assert by_id["near-2"]["survivor"] == "doc-11"
    assert by_id["own-copy"]["survivor_run"] is None
    assert "kept by the earlier run one" in why(str(dumps / "two"), "near-2")
    curate(dumps, "three", "third", against=["one", "two"])
    curate(dumps, "all", "first", "second", "third", priority=["first", "second", "third"])
    assert kept(dumps / "one", dumps / "two", dumps / "three") == kept(dumps / "all")
    before = published(dumps / "two")
    run(parse(recipe("second", against="one"), base=str(dumps)), str(dumps / "two-again"), workers=2)
    assert published(dumps / "two-again") == before


def test_what_a_later_stage_of_the_earlier_run_dropped_does_not_come_again(dumps):
    thin = {**recipe("first"), "sample": {"semantic": {"clusters": 2, "similarity": 0.6}}}
    outcome = run(parse(thin, base=str(dumps)), str(dumps / "one"))
    assert outcome.manifest["documents"]["dropped"]["semantic_duplicate"] > 3
    again = run(parse({**thin, **recipe("first", against="one")}, base=str(dumps)), str(dumps / "two"))
    assert again.manifest["documents"]["kept"] == 0
    assert sum(again.manifest["documents"]["dropped"].values()) == 31


def test_earlier_runs_that_cannot_be_used_are_refused_before_work_starts(dumps):
    with pytest.raises(RunError, match=r"'nowhere' has no manifest\.json"):
        curate(dumps, "two", "second", against="nowhere")
    curate(dumps, "one", "first")
    other = {**recipe("second", against="one"), "seed": 5}
    with pytest.raises(RunError, match="made with seed 0, this recipe's with 5"):
        run(parse(other, base=str(dumps)), str(dumps / "two"))
    with pytest.raises(RunError, match="normalise"):
        curate(dumps, "two", "second", against="one", near={"normalise": []})
    curate(dumps, "two", "second", against="one")
    with pytest.raises(RunError, match="'two' was deduplicated against 'one', which is not named"):
        curate(dumps, "three", "third", against="two")
    run(parse({**recipe("first"), "deduplicate": None}, base=str(dumps)), str(dumps / "plain"))
    with pytest.raises(RunError, match="'plain' has no index"):
        curate(dumps, "three", "third", against="plain")


def repository(folder: Path, name: str, files: dict[str, str]) -> None:
    for path, content in files.items():
        (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / path).write_text(content, encoding="utf-8")


def source(seed: int, lines: int = 30) -> str:
    names = text(seed, lines * 4).replace("\n", " ").replace(".", "").lower().split()
    return "\n".join(f"def {names[4 * n]}_{n}({names[4 * n + 1]}): return {names[4 * n + 2]}" for n in range(lines))


def test_a_fork_of_a_repository_goes_as_a_whole_and_its_files_name_it(tmp_path):
    original = {f"src/{n}.py": source(n) for n in range(10)}
    fork = {**original, "src/3.py": source(3) + "\ndef added_by_the_fork(a, b): return a", "extra.py": source(77, 8)}
    part = {f"lib/{n}.py": source(n) for n in range(4)} | {f"own/{n}.py": source(500 + n) for n in range(10)}
    for name, files in (("original", original), ("a-fork", fork), ("vendors-a-part", part)):
        repository(tmp_path / "trees", name, files)
    code = {
        "corpora": {"code": {"read": {"format": "code", "paths": "trees"}}},
        "shards": {"tokenizer": {"train": 300}},
    }
    code["deduplicate"] = {"repositories": {}, "exact": {}}
    outcome = run(parse(code, base=str(tmp_path)), str(tmp_path / "run"))
    assert outcome.manifest["documents"]["dropped"] == {"exact_duplicate": 3, "near_duplicate_repository": 10}
    by_repository: dict[str, list[dict]] = {}
    for row in rows(tmp_path / "run"):
        by_repository.setdefault(row["repository"], []).append(row)
    assert {row["reason"] for row in by_repository["original"]} == {"near_duplicate_repository"}
    assert {row["survivor"] for row in by_repository["original"]} == {"a-fork"}  # the larger one
    assert all(0.8 <= row["similarity"] < 1 for row in by_repository["original"])
    path = by_repository["original"][3]["id"]
    assert "its repository is a near duplicate of the repository a-fork" in why(str(tmp_path / "run"), path)
    run(parse(code, base=str(tmp_path)), str(tmp_path / "again"), workers=2)
    assert published(tmp_path / "again") == published(tmp_path / "run")


def test_repositories_of_text_without_any_are_no_fault(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", documents(3))
    assert curate(tmp_path, "run", "a", repositories={}).manifest["documents"]["kept"] == 3
