"""Whole runs on the embedded engine: the identity holds, and neither order, nor workers, nor a kill change anything."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from pipeline.manifest import RunError
from pipeline.recipe import load, parse
from pipeline.run import run, summary
from pipeline.store import Store
from pipeline.why import why
from tests.pipeline.corpora import documents, recipe, text, write_corpora, write_jsonl

PUBLISHED = ("documents", "ledger", "rejects", "shards")


def table(root: Path, folder: str):
    return pq.read_table(root / folder)


def published(root: Path) -> dict[str, bytes]:
    """Return every published file of a run but the report."""
    files = [path for folder in PUBLISHED for path in sorted((root / folder).iterdir())]
    return {str(path.relative_to(root)): path.read_bytes() for path in [*files, root / "manifest.json"]}


def kept(root: Path) -> Counter:
    rows = table(root, "documents")
    return Counter(zip(rows["corpus"].to_pylist(), rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True))


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    write_corpora(folder)
    return folder


@pytest.fixture(scope="module")
def finished(sources, tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    return root, run(parse(recipe(), base=str(sources)), str(root))


def test_the_accounting_identity_holds(finished):
    root, outcome = finished
    counts = outcome.manifest["documents"]
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    assert counts["read"] + counts["rejected"] == 60 + 9 + 6 + 3
    assert counts["rejected"] == 3 == table(root, "rejects").num_rows
    assert table(root, "ledger").num_rows == counts["read"]
    assert table(root, "documents").num_rows == counts["kept"]
    for name in ("web", "books", "code"):
        own = outcome.manifest["corpora"][name]["documents"]
        assert own["read"] == own["kept"] + sum(own["dropped"].values())


def test_the_ledger_says_what_became_of_each_document(finished):
    root, _ = finished
    rows = table(root, "ledger").to_pylist()
    by_id = {row["id"]: row for row in rows if row["id"] != "doc-5"}
    assert by_id["exact-copy"]["reason"] == "exact_duplicate"
    assert by_id["exact-copy"]["similarity"] == 1.0
    near = [row for row in rows if row["reason"] == "near_duplicate"]
    assert {frozenset((row["id"], row["survivor"])) for row in near} == {frozenset(("near-copy", "doc-4"))}
    assert all(row["similarity"] >= 0.8 for row in near)
    assert by_id["doc-7"]["survivor"] == "book-copy.txt"
    assert by_id["short"]["decision"] == "dropped"
    assert by_id["short"]["gopher_quality.words"] is False
    assert by_id["rank"]["decision"] == "kept"
    assert by_id["korean"]["rules.language"] is False
    assert sum(row["id"] == "doc-5" for row in rows) == 2
    assert {row["decision"] for row in rows} == {"kept", "dropped"}


def test_why_answers_for_kept_and_dropped_documents(finished):
    root, _ = finished
    assert "near duplicate of" in why(str(root), "near-copy") or "near duplicate of" in why(str(root), "doc-4")
    assert "kept: it passes all" in why(str(root), "https://site.example/1")
    answer = why(str(root), "short")
    assert "gopher_quality.words" in answer
    assert "50 ≤ words ≤ 100000" in answer
    assert why(str(root), "doc-5").count("kept: it passes all") == 2
    with pytest.raises(RunError, match="no document has the id or url 'nobody'"):
        why(str(root), "nobody")


def test_the_shards_hold_the_kept_documents_and_open_as_a_dataset(finished):
    root, outcome = finished
    loaded = datasets.load_from_disk(str(root / "shards"))
    assert len(loaded) == outcome.manifest["documents"]["kept"]
    assert len(outcome.manifest["shards"]) > 1
    tokens = sum(corpus["tokens"]["kept"] for corpus in outcome.manifest["corpora"].values())
    assert sum(len(ids) for ids in loaded["input_ids"]) == tokens


def test_a_finished_run_is_not_run_again(finished, sources):
    root, _ = finished
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    again = run(parse(recipe(), base=str(sources)), str(root))
    assert again.already
    assert "nothing to do" in summary(again)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_the_recipe_in_a_run_folder_is_run_again_as_it_is(finished, tmp_path, monkeypatch):
    root, _ = finished
    monkeypatch.chdir(tmp_path)
    assert run(load(root / "recipe.yaml"), str(root)).already
    run(load(root / "recipe.yaml"), str(tmp_path / "run"))
    assert published(tmp_path / "run") == published(root)
    assert (tmp_path / "run" / "recipe.yaml").read_bytes() == (root / "recipe.yaml").read_bytes()


def test_another_threshold_recomputes_decisions_and_not_signals(finished, sources, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(finished[0], root)
    store = Store(str(root))
    before = {folder: store.names(f"work/{folder}") for folder in ("read", "measured", "decided")}
    changed = recipe()
    changed["corpora"]["web"]["rules"]["words"] = {"min": 125}
    outcome = run(parse(changed, base=str(sources)), str(root))
    assert outcome.manifest["corpora"]["web"]["documents"]["dropped"]["rules.words"] > 0
    assert store.names("work/read") == before["read"]
    assert store.names("work/measured") == before["measured"]
    assert store.names("work/decided") != before["decided"]


def test_two_workers_publish_the_same_bytes_as_one(finished, sources, tmp_path):
    run(parse(recipe(), base=str(sources)), str(tmp_path / "run"), workers=2)
    assert published(tmp_path / "run") == published(finished[0])


def test_other_file_names_and_other_cuts_keep_the_same_documents(finished, sources, tmp_path):
    moved = tmp_path / "sources"
    shutil.copytree(sources, moved)
    rows = (moved / "web" / "a.jsonl").read_bytes().splitlines(keepends=True)
    for number in range(4):
        (moved / "web" / f"{9 - number}.jsonl").write_bytes(b"".join(rows[number::4]))
    (moved / "web" / "a.jsonl").unlink()
    run(parse(recipe(), base=str(moved)), str(tmp_path / "run"))
    assert kept(tmp_path / "run") == kept(finished[0])


def test_what_is_kept_is_a_fixed_point(finished, tmp_path):
    rows = table(finished[0], "documents").to_pylist()
    write_jsonl(tmp_path / "kept.jsonl", [{"id": f"{n}", "text": row["text"]} for n, row in enumerate(rows)])
    again = recipe(corpora={"kept": {"read": {"format": "jsonl", "paths": "kept.jsonl"}}})
    again["deduplicate"]["priority"] = []
    outcome = run(parse(again, base=str(tmp_path)), str(tmp_path / "run"))
    assert outcome.manifest["documents"]["kept"] == len(rows)


def test_a_mixture_reaches_its_shares(sources, tmp_path):
    mixed = recipe(sample={"mixture": {"web": 0.5, "books": 0.25, "code": 0.25}})
    outcome = run(parse(mixed, base=str(sources)), str(tmp_path / "run"))
    corpora = outcome.manifest["corpora"]
    tokens = {name: corpus["tokens"]["kept"] for name, corpus in corpora.items()}
    largest = max(table(tmp_path / "run", "documents")["tokens"].to_pylist())
    for name, share in mixed["sample"]["mixture"].items():
        assert abs(tokens[name] - share * sum(tokens.values())) <= 2 * largest
    assert outcome.manifest["documents"]["dropped"]["mixture"] > 0


def test_semantic_duplicates_name_a_survivor_that_is_as_similar(sources, tmp_path):
    semantic = recipe(sample={"semantic": {"model": "bundled", "clusters": 3, "similarity": 0.9}})
    outcome = run(parse(semantic, base=str(sources)), str(tmp_path / "run"))
    rows = [r for r in table(tmp_path / "run", "ledger").to_pylist() if r["reason"] == "semantic_duplicate"]
    assert len(rows) == outcome.manifest["documents"]["dropped"].get("semantic_duplicate", 0) > 0
    assert all(row["similarity"] >= 0.9 - 1e-6 and row["survivor"] for row in rows)
    alive = table(tmp_path / "run", "ledger").to_pylist()
    assert all(row["cluster"] is not None for row in alive if row["decision"] == "kept")


def test_more_rejects_than_the_budget_allows_publish_no_manifest(sources, tmp_path):
    outcome = run(parse(recipe(budget={"rejects": 0.01}), base=str(sources)), str(tmp_path / "run"))
    assert outcome.over_budget
    assert "3 of 78 records were rejected" in outcome.budget_message()
    assert not (tmp_path / "run" / "manifest.json").exists()
    assert table(tmp_path / "run", "rejects").num_rows == 3
    again = run(parse(recipe(), base=str(sources)), str(tmp_path / "run"))
    assert not again.over_budget
    assert (tmp_path / "run" / "manifest.json").exists()
    assert not (tmp_path / "run" / "over-budget.json").exists()


def test_a_corpus_without_a_document_is_no_fault(tmp_path):
    (tmp_path / "empty.jsonl").write_bytes(b"")
    write_jsonl(tmp_path / "full.jsonl", documents(5))
    both = {name: {"read": {"format": "jsonl", "paths": f"{name}.jsonl"}} for name in ("empty", "full")}
    outcome = run(parse({"corpora": both}, base=str(tmp_path)), str(tmp_path / "run"))
    assert outcome.manifest["corpora"]["empty"]["documents"]["read"] == 0
    assert outcome.manifest["documents"]["kept"] == 5


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RunError, match=r"nowhere/\*\.jsonl"):
        run(
            parse({"corpora": {"a": {"read": {"format": "jsonl", "paths": "nowhere/*.jsonl"}}}}, base=str(tmp_path)),
            "x",
        )


def test_a_killed_run_is_taken_up_to_the_same_bytes(finished, sources, tmp_path):
    root = tmp_path / "run"
    script = (
        "import sys, json\nfrom pipeline.recipe import load, parse\nfrom pipeline.run import run\n"
        "run(parse(json.loads(sys.argv[1]), base=sys.argv[2]), sys.argv[3])"
    )
    import json

    command = [sys.executable, "-c", script, json.dumps(recipe()), str(sources), str(root)]
    killed = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and killed.poll() is None and not list(root.glob("work/measured/*.columns")):
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (root / "manifest.json").exists()
    run(parse(recipe(), base=str(sources)), str(root))
    assert published(root) == published(finished[0])
    assert not list((root / "work" / "tmp").iterdir())


def test_a_users_own_signal_and_rule_work(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import pyarrow as pa\nimport pyarrow.compute as pc\nfrom filters.signal import signal\n\n\n"
        "@signal(rivers=pa.int32())\ndef rivers(text):\n    return pc.count_substring(text, 'river')\n",
        encoding="utf-8",
    )
    write_jsonl(tmp_path / "a.jsonl", [{"id": "dry", "text": "no water"}, {"id": "wet", "text": "a river " + text(1)}])
    own = {"corpora": {"a": {"read": {"format": "jsonl", "paths": "a.jsonl"}, "rules": {"rivers": {"min": 1}}}}}
    outcome = run(parse({**own, "plugins": "mine.py"}, base=str(tmp_path)), str(tmp_path / "run"))
    assert outcome.manifest["documents"]["dropped"] == {"rules.rivers": 1}
    assert "rules.rivers" in why(str(tmp_path / "run"), "dry")
