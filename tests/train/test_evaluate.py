"""Held-out losses add up: those of any labels are the corpora's, parted anew; buckets are the ledger's rows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from loader.stream import TrainingData
from pipeline.buckets import buckets
from pipeline.cli import main
from pipeline.manifest import RunError
from pipeline.recipe import parse
from pipeline.run import run
from pipeline.shards import Shards
from tests.pipeline.corpora import recipe, write_corpora
from train.config import Config
from train.evaluate import evaluate_corpora, languages, token_bytes, token_nats
from train.loop import train
from train.model import Decoder
from train.progress import Metrics, show


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources, root = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("run")
    write_corpora(sources)
    run(parse(recipe(), base=str(sources)), str(root))
    return root


def test_losses_by_label_are_those_of_the_corpora_parted_anew(
    shards_folder: Path, make_config: Callable[..., Config]
) -> None:
    shards = Shards.open(shards_folder)
    config = make_config()
    decoder = Decoder(config.model)
    decoder.initialise(1)
    data = TrainingData(shards, 64, 1)
    sizes = token_bytes(shards.tokenizer_json, config.model.vocab_size)
    documents = sum(info.documents for info in shards.infos)
    halves = (["even", "odd"], np.arange(documents, dtype=np.int32) % 2)
    found = evaluate_corpora(decoder, data, 99, sizes, {"half": halves, "language": languages(shards)})
    corpora = [found["code"], found["reference"]]
    parts = [found[name] for name in found if name.startswith("half: ")]
    assert sum(one.tokens for one in parts) == sum(one.tokens for one in corpora)
    total, again = (sum(one.nats_per_token * one.tokens for one in ones) for ones in (corpora, parts))
    assert again == pytest.approx(total, rel=1e-6)
    python = found["language: Python"]  # of all code, and of nothing else
    assert (python.tokens, python.nats_per_token) == (found["code"].tokens, found["code"].nats_per_token)
    assert python.bits_per_byte == found["code"].bits_per_byte
    assert evaluate_corpora(decoder, data, 99, sizes) == {name: found[name] for name in ("code", "reference")}


def test_tokens_of_held_out_rows_are_known_to_be_of_their_documents(shards_folder: Path) -> None:
    shards = Shards.open(shards_folder)
    data = TrainingData(shards, 64, 1)
    ids = [one for number in range(len(shards.infos)) for one in shards.documents(number).column("id").to_pylist()]
    tokens = [
        shards.tokens(number)[a:b].tolist()
        for number in range(len(shards.infos))
        for a, b in zip(shards.offsets(number)[:-1], shards.offsets(number)[1:], strict=True)
    ]
    for corpus in data.held_out:
        batch, documents_BT = data.evaluation(corpus, 99)
        assert ((documents_BT < 0) == (batch.targets_BT < 0)).all()
        for document in np.unique(documents_BT[documents_BT >= 0]):
            assert ids[document].startswith(corpus)
            assert sorted(batch.targets_BT[documents_BT == document].tolist()) == sorted(tokens[document])


def test_rows_at_once_do_not_change_a_loss(
    shards_folder: Path, make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    decoder = Decoder(config.model)
    decoder.initialise(1)
    batch, _ = TrainingData(Shards.open(shards_folder), 64, 1).evaluation("code", 5)
    whole, _ = token_nats(decoder, batch)
    monkeypatch.setattr("train.evaluate.ROWS_AT_ONCE", 2)
    np.testing.assert_allclose(token_nats(decoder, batch)[0], whole, rtol=1e-4, atol=1e-5)


def kept_rows(root: Path) -> list[dict[str, object]]:
    return [row for row in pq.read_table(root / "ledger").to_pylist() if row["reason"] is None]


def test_buckets_are_quarters_of_numbers_values_of_words_and_whether_there_is_any(root: Path) -> None:
    rows = kept_rows(root)
    names, codes = buckets(str(root), "words")
    assert len(codes) == len(rows)
    bounds = [float(name.split()[-1]) for name in names]
    for row, code in zip(rows, codes, strict=True):
        words = float(str(row["words"]))
        assert (
            words > bounds[-1] if code == len(bounds) - 1 and names[code].startswith("above") else words <= bounds[code]
        )
    names, codes = buckets(str(root), "corpus")
    assert [names[code] for code in codes] == [row["corpus"] for row in rows]
    names, codes = buckets(str(root), "edits")
    assert [names[code] == "some" for code in codes] == [bool(row["edits"]) for row in rows]
    names, codes = buckets(str(root), "survivor")
    assert set(codes.tolist()) == {-1}
    with pytest.raises(RunError, match="no column 'wrods'; it has id, corpus"):
        buckets(str(root), "wrods")
    with pytest.raises(RunError, match="there is no ledger"):
        buckets(str(root / "shards"), "words")


def test_the_command_shows_losses_by_bucket_and_writes_them_down(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    given = ["train", str(root), "--steps", "2", "--sample", "0", "--out", str(out)]
    assert main([*given, "--buckets", "corpus", "--buckets", "words"]) == 0
    printed = capsys.readouterr().out
    assert "corpus: web" in printed
    assert "words: to " in printed
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["held_out"]
    assert last["corpus: code"]["nats_per_token"] == last["code"]["nats_per_token"]
    assert "language: Python" in last
    assert main([*given, "--buckets", "wrods"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_events_for_tensorboard_are_the_metrics(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Metrics(tmp_path, 0, tensorboard=True) as metrics:
        for step in (1, 2, 3):
            metrics.write({"step": step, "loss": 1.0 / step, "held_out": {"web": {"bits": step / 2, "none": None}}})
    with Metrics(tmp_path, 2, tensorboard=True) as metrics:
        metrics.write({"step": 3, "loss": 9.0})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1.0), (2, 0.5), (3, 9.0)]
    assert [event.value for event in events.Scalars("held_out/web/bits")][:2] == [0.5, 1.0]
    lines = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [1, 2, 3]


def test_tensorboard_that_is_not_there_is_asked_for_by_name(tmp_path: Path) -> None:
    code = (
        "import argparse, importlib.util as util, sys\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'tensorboard' else find(name, *more)\n"
        "from train.command import run\n"
        "sys.exit(run(argparse.Namespace(run='nowhere', tensorboard=True)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == "--tensorboard needs tensorboard: pip install 'corpusmill[tensorboard]'\n"


@pytest.mark.parametrize(
    ("seconds", "used", "shown"),
    [(1.0, None, "10 tokens/s  50 s left"), (1000.0, 0.416, "10 tokens/s  MFU 41.6%  13:53 h left")],
)
def test_the_line_shows_speed_use_and_time_left(
    seconds: float, used: float | None, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show(50, 100, 2.5, 10.0, used, seconds)
    assert capsys.readouterr().err == f"step 50/100  loss 2.500  {shown}\n"


def test_a_label_that_no_held_out_document_has_is_not_shown(
    shards_folder: Path, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    shards = Shards.open(shards_folder)
    nobody = (["one"], np.full(sum(info.documents for info in shards.infos), -1, np.int32))
    trained = train(shards, tmp_path, make_config(steps=1), 1, quiet=True, labels={"empty": nobody})
    assert not [name for name in trained.last if name.startswith("empty")]
