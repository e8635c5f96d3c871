"""A step is traced to its documents and their receipts, a document to its steps; the one is the inverse of the other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from loader.choice import DataError
from loader.rows import IGNORED
from loader.stream import TrainingData
from pipeline.cli import main
from pipeline.recipe import parse
from pipeline.run import run
from pipeline.shards import Shards
from pipeline.trace import opened, records, rows_of_step
from tests.pipeline.corpora import recipe, write_corpora
from tests.train.conftest import small_config
from train.about import CheckpointError
from train.loop import train

EXCLUDED = "https://site.example/11"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A curated run, and a training of five steps that leaves out one document."""
    sources, root = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("run")
    write_corpora(sources)
    run(parse(recipe(), base=str(sources)), str(root))
    shards = Shards.open(root / "shards")
    train(shards, root / "model", small_config(shards.vocabulary_size, steps=5), 4, quiet=True, exclude=[EXCLUDED])
    return root


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["trace", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_every_document_of_a_step_comes_with_its_own_row_of_the_ledger(root: Path) -> None:
    ledger = pq.read_table(root / "ledger").to_pylist()
    training = opened(str(root))
    seen = 0
    for step in range(1, 6):
        for one in records(training, step):
            same = [
                row
                for row in ledger
                if (row["id"], row["source"], row["offset"]) == (one["id"], one["source"], one["offset"])
            ]
            assert len(same) == 1
            assert same[0]["reason"] is None
            assert one["url"] == same[0]["url"]
            assert one["length"] == same[0]["tokens"]
            assert one["rules"] == [name for name, value in same[0].items() if "." in name and value is True]
            assert all(same[0][name] is not False for name in same[0])
            seen += 1
    assert seen > 10


def test_a_step_and_its_documents_are_each_other_s_inverse(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = opened(str(root))
    steps: dict[str, set[int]] = defaultdict(set)
    for step in range(1, 6):
        for row in rows_of_step(training, step):
            for piece in row:
                steps[piece.id].add(step)
    assert steps
    for one, due in steps.items():
        (line,) = lines(capsys, str(root), "--document", one)
        shown = line.rpartition(": ")[2]
        parts = [part.split("-") for part in shown.split(", ")]
        assert {step for part in parts for step in range(int(part[0]), int(part[-1]) + 1)} == due


def test_a_step_is_told_in_words_and_as_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = lines(capsys, str(root), "2")
    assert told[0].startswith("step 2 of 5: 4 rows, ")
    assert told[1] == "row 1"
    every = [line for step in range(1, 6) for line in lines(capsys, str(root), str(step))]
    assert any("gopher_quality (8 rules)" in line for line in every)
    objects = [json.loads(line) for line in lines(capsys, str(root), "2", "--json")]
    assert sum(one["tokens"] for one in objects) <= 4 * 64
    assert {one["row"] for one in objects} == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0"], "steps 1 to 5"),
        (["6"], "steps 1 to 5"),
        (["--document", "nobody"], "no document of the shards has the id or url 'nobody'"),
        ([], "trace wants a step"),
        (["1", "--document", "x"], "trace wants a step"),
        (["1", "--model", "elsewhere"], "elsewhere: no checkpoint there"),
    ],
)
def test_what_cannot_be_traced_is_one_line_and_code_2(
    root: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", str(root), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_no_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", str(tmp_path / "nowhere"), "1"]) == 2
    assert "no checkpoint there" in capsys.readouterr().err


def test_shards_without_a_ledger_are_traced_without_rules(
    shards_folder: Path, make_config: Callable[..., Any], tmp_path: Path
) -> None:
    train(Shards.open(shards_folder), tmp_path, make_config(steps=1), 1, quiet=True)
    found = list(records(opened(str(shards_folder), str(tmp_path)), 1))
    assert found
    assert all("rules" not in one for one in found)


def test_tracing_does_not_load_torch(root: Path) -> None:
    code = (
        "import sys; from pipeline.cli import main; main(['trace', sys.argv[1], '1']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(root)], check=False, capture_output=True).returncode == 0


def test_an_excluded_document_is_in_no_step_and_all_others_stay_where_they_are(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lines(capsys, str(root), "--document", EXCLUDED)[0].endswith("in none of 5 steps: it is excluded")
    shards = Shards.open(root / "shards")
    whole, without = TrainingData(shards, 64, 4), TrainingData(shards, 64, 4, [EXCLUDED])
    assert whole.rows_per_epoch == without.rows_per_epoch
    left = 0
    for before, after in zip(whole.trace(0, 300), without.trace(0, 300), strict=True):
        assert [piece for piece in before if piece.url != EXCLUDED] == after
        left += len(before) - len(after)
    assert left
    one, other = whole.batch(0, whole.rows_per_epoch), without.batch(0, whole.rows_per_epoch)
    assert one.tokens - other.tokens == next(
        row["tokens"] for row in pq.read_table(root / "ledger").to_pylist() if row["url"] == EXCLUDED
    )
    untouched = (one.targets_BT == other.targets_BT).all(axis=1)
    assert np.array_equal(one.inputs_BT[untouched], other.inputs_BT[untouched])
    assert (other.targets_BT[~untouched] == IGNORED).any(axis=1).all()


def test_held_out_documents_stay_so_whatever_is_excluded(root: Path) -> None:
    shards = Shards.open(root / "shards")
    data = TrainingData(shards, 64, 1)
    for corpus in data.held_out:
        ids = [piece.id for row in range(len(data.held_out[corpus])) for piece in data.held_out[corpus].pieces(row)]
        other = TrainingData(shards, 64, 1, ids)
        assert np.array_equal(other.evaluation(corpus, 99)[0].targets_BT, data.evaluation(corpus, 99)[0].targets_BT)


def test_an_unknown_exclusion_and_one_that_leaves_nothing_are_refused(root: Path) -> None:
    shards = Shards.open(root / "shards")
    with pytest.raises(DataError, match="id or url 'a', nor 1 others"):
        TrainingData(shards, 64, 1, ["b", "a", "doc-1"])
    every = [one for number in range(len(shards.infos)) for one in shards.documents(number).column("id").to_pylist()]
    with pytest.raises(DataError, match="but what is excluded"):
        TrainingData(shards, 64, 1, every)


def test_resuming_with_another_exclusion_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = Shards.open(root / "shards")
    config = small_config(shards.vocabulary_size, steps=5)
    with pytest.raises(CheckpointError, match=f"'{EXCLUDED}' is excluded there alone"):
        train(shards, root / "model", config, 4, resume=True, quiet=True)
    with pytest.raises(CheckpointError, match="'doc-1' is excluded here alone"):
        train(shards, root / "model", config, 4, resume=True, quiet=True, exclude=["doc-1", EXCLUDED])
    assert train(shards, root / "model", config, 4, resume=True, quiet=True, exclude=[EXCLUDED]).steps == 5
    listed = tmp_path / "ids.txt"
    listed.write_text("doc-1\r\n\nnobody\n")
    assert main(["train", str(root), "--exclude", f"@{listed}", "doc-2", "--out", str(tmp_path / "model")]) == 2
    assert "id or url 'nobody'" in capsys.readouterr().err
