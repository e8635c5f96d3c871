"""Decontamination in whole runs, and on the planted truth."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.planted import SETS, planted
from filters.contamination import Found, Index, Items
from pipeline.evaluation import items_of
from pipeline.manifest import RunError
from pipeline.plan import Plan, make_plan
from pipeline.recipe import parse
from pipeline.run import described, run, summary
from pipeline.why import why
from tests.pipeline.corpora import recipe, text, write_corpora, write_jsonl
from tests.pipeline.test_run import published, table

QUESTIONS = [
    {"question": text(5000 + number, 30), "answer": text(6000 + number, 5), "number": number} for number in range(20)
]
CONTAMINATE = {"quiz": {"paths": "quiz.jsonl.gz", "fields": ["question", "answer"]}}


def with_question(number: int, seed: int) -> str:
    question = QUESTIONS[number]["question"].upper().replace("\n", "  ")
    return f"{text(seed, 80)}\n{question}\n{text(seed + 1, 40)}"


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    write_corpora(folder)
    write_jsonl(folder / "quiz.jsonl.gz", QUESTIONS)
    rows = [
        {"id": "holds-3", "text": with_question(3, 7000)},
        {"id": "holds-two", "text": with_question(4, 7010) + "\n" + with_question(5, 7020)},
        {"id": "holds-3-again", "text": with_question(3, 7000)},
        {"id": "short-and-holds-6", "text": QUESTIONS[6]["question"]},
    ]
    write_jsonl(folder / "web" / "c.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def finished(sources, tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    return root, run(parse(recipe(decontaminate=CONTAMINATE), base=str(sources)), str(root))


def rows_of(root: Path) -> dict[str, dict]:
    return {row["id"]: row for row in table(root, "ledger").to_pylist()}


def test_the_identity_holds_with_contaminated_documents(finished):
    root, outcome = finished
    counts = outcome.manifest["documents"]
    assert counts["dropped"]["contaminated"] == 3
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    assert table(root, "documents").num_rows == counts["kept"]
    assert "contaminated 3" in summary(outcome)


def test_the_ledger_says_which_item_and_where(finished):
    root, _ = finished
    rows = rows_of(root)
    (one,) = rows["holds-3"]["contamination"]
    assert (one["set"], one["item"]) == ("quiz", "quiz.jsonl.gz#3")
    body = with_question(3, 7000)
    assert body[one["start"] : one["end"]] == QUESTIONS[3]["question"].upper().replace("\n", "  ").rstrip(".")
    assert (one["words"], one["item_words"]) == (30, 35)
    assert [entry["item"] for entry in rows["holds-two"]["contamination"]] == ["quiz.jsonl.gz#4", "quiz.jsonl.gz#5"]
    assert rows["doc-1"]["contamination"] is None
    assert rows["holds-3"]["reason"] == rows["holds-3-again"]["reason"] == "contaminated"


def test_the_first_failing_rule_stays_the_reason_and_the_contamination_is_kept_beside_it(finished):
    root, outcome = finished
    row = rows_of(root)["short-and-holds-6"]
    assert row["reason"] == "gopher_quality.words"
    assert row["contamination"][0]["item"] == "quiz.jsonl.gz#6"
    assert outcome.manifest["statistics"]["contamination"] == {"books": {}, "code": {}, "web": {"quiz": 4}}


def test_why_and_the_report_say_it_in_words(finished):
    root, _ = finished
    answer = why(str(root), "holds-3")
    assert "dropped: it holds what evaluation would ask: quiz" in answer
    assert "holds quiz: quiz.jsonl.gz#3, 30 of its 35 words, characters " in answer
    assert "holds quiz: quiz.jsonl.gz#6" in why(str(root), "short-and-holds-6")
    assert "contamination" not in why(str(root), "doc-1")
    report = (root / "report.html").read_text(encoding="utf-8")
    assert "Evaluation sets" in report
    assert "after decontamination" in report
    assert QUESTIONS[3]["question"].upper()[:30] in report or QUESTIONS[4]["question"].upper()[:30] in report


def test_a_contaminated_document_survives_nobody(finished):
    rows = rows_of(finished[0]).values()
    assert not {row["survivor"] for row in rows} & {row["id"] for row in rows if row["contamination"]}


def test_two_workers_publish_the_same_bytes_and_a_finished_run_is_not_run_again(finished, sources, tmp_path):
    again = parse(recipe(decontaminate=CONTAMINATE), base=str(sources))
    run(again, str(tmp_path / "run"), workers=2)
    assert published(tmp_path / "run") == published(finished[0])
    assert run(again, str(finished[0])).already


def test_the_plan_shows_the_sets_and_its_key_changes_with_an_item(sources, tmp_path):
    for number in (3, 4):
        write_jsonl(tmp_path / f"quiz-{number}.jsonl", [{**row, "x": number} for row in QUESTIONS[number:]])
    write_jsonl(tmp_path / "a.jsonl", [{"id": "a", "text": "a text"}])
    keys = []
    for number in (3, 4):
        (tmp_path / "quiz.jsonl").write_bytes((tmp_path / f"quiz-{number}.jsonl").read_bytes())
        corpora = {"a": {"read": {"format": "jsonl", "paths": "a.jsonl"}}}
        sets = {"quiz": {"paths": "quiz.jsonl", "fields": ["question"]}}
        plan, _ = make_plan(parse({"corpora": corpora, "decontaminate": sets}, base=str(tmp_path)), ".")
        assert f"decontaminate quiz: {20 - number} items in 1 file(s)" in described(plan)
        assert Plan.from_json(plan.to_json()) == plan
        keys.append(plan.key)
    assert keys[0] != keys[1]


def test_a_set_that_cannot_be_read_stops_a_run_before_it_starts(sources, tmp_path):
    wrong = {"quiz": {"paths": "quiz.jsonl.gz", "fields": ["qestion"]}}
    with pytest.raises(RunError, match=r"decontaminate\.quiz: quiz\.jsonl\.gz: no record has 'qestion'; did you mean"):
        run(parse(recipe(decontaminate=wrong), base=str(sources)), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_planted_items_are_found_and_decoys_are_not(data: Path, vectors: Path):
    """The figures of docs/decontamination.md: by document, by span, by character, and for each kind of edit."""
    recipe = parse({"corpora": {"a": {"read": {"format": "text", "paths": "."}}}, "decontaminate": SETS}, str(data))
    items = items_of(recipe)
    known = Index(Items.of(items.column("text").combine_chunks()))
    documents = planted(data, vectors)
    by_row: dict[int, list[Found]] = defaultdict(list)
    for one in known.find(pa.array([document["text"] for document in documents], pa.large_string())):
        by_row[one.row].append(one)
    plants = Counter(document["edit"] for document in documents if document["type"] == "plant")
    hits: Counter[str] = Counter()
    reported = spans = right = exact = common = reported_characters = planted_characters = 0
    for row, document in enumerate(documents):
        reported += bool(by_row[row])
        spans += len(by_row[row])
        reported_characters += sum(one.end - one.start for one in by_row[row])
        if document["type"] != "plant":
            continue
        start, end, block_end = document["item_start"], document["item_end"], document["end"]
        planted_characters += end - start
        names = {one.item: items.column("item")[one.item].as_py().rsplit("#", 1) for one in by_row[row]}
        touching = [
            one
            for one in by_row[row]
            if min(one.end, block_end) - max(one.start, start) >= 0.5 * max(one.end - one.start, end - start)
            and names[one.item][0] == document["item"]["file"]
        ]
        hits[document["edit"]] += bool(touching)
        right += len(touching)
        number = [key for key in document["item"]["at"] if isinstance(key, int)][-1]
        exact += any(names[one.item][1] == str(number) for one in touching)
        common += sum(max(0, min(one.end, block_end) - max(one.start, start)) for one in by_row[row])
    figures = {
        "documents": (hits.total() / reported, hits.total() / plants.total()),
        "spans": (right / spans, hits.total() / plants.total()),
        "characters": (common / reported_characters, common / planted_characters),
    }
    print(figures, {edit: f"{hits[edit]} of {count}" for edit, count in plants.items()}, f"{exact} name the very item")
    assert plants.total() == 60
    assert all(precision >= 0.95 and recall >= 0.95 for precision, recall in figures.values()), figures
    assert all(hits[edit] >= 0.95 * count for edit, count in plants.items()), hits
    assert exact >= 57
