"""The command: a run folder in, a model and its losses out; one plain line where that cannot be."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import train.loop as loop
from train.command import add_arguments, run, safe


def call(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([*arguments]))


def test_a_run_folder_becomes_a_model_that_transformers_loads(
    shards_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers")
    out = tmp_path / "model"
    assert call(str(shards_folder.parent), "--steps", "3", "--sample", "8", "--out", str(out)) == 0
    printed = capsys.readouterr()
    assert "code" in printed.out
    assert "reference" in printed.out
    assert "sample:" in printed.out
    assert "step 3/3" in printed.err
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
    model = transformers.AutoModelForCausalLM.from_pretrained(out / "huggingface")
    tokenizer = transformers.AutoTokenizer.from_pretrained(out / "huggingface")
    ids = tokenizer("The import statement", return_tensors="pt").input_ids
    assert torch.isfinite(model(ids).logits).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--preset", "huge"], "no preset is called 'huge'"),
        (["--steps", "0"], "start at 1"),
        (["--resume"], "no checkpoint to resume from"),
        (["--micro-batch", "0"], "not a multiple of micro_batch_sequences 0"),
        (["--micro-batch", "-1"], "not a multiple of micro_batch_sequences -1"),
        (["--seed", str(2**64)], f"--seed {2**64}: it lies between"),
        (["--processes", "0"], "--processes 0: it lies between 1 and"),
        (["--expert-parallel", "3"], "expert_parallel 3 does not divide 1 processes"),
        (["--epochs", "0"], "epochs lie between 1 and 10,000"),
        (["--epochs", "4,code=1000000000"], "epochs lie between 1 and 10,000"),
        (["--mixture", "code=1,code=2"], "no name twice"),
        (["--mixture", "nonsense"], "--mixture reads web=0.7,code=0.3"),
        (["--mixture", "web=1, code=1"], "no corpus to train on is called 'web'"),
    ],
)
def test_what_cannot_be_is_one_line_and_code_2(
    arguments: list[str], said: str, shards_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(str(shards_folder), "--out", str(tmp_path), *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_folder_that_cannot_be_exported_to_is_one_line_and_code_2(
    shards_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "huggingface").write_text("a file")
    assert call(str(shards_folder), "--out", str(tmp_path), "--steps", "1", "--sample", "0") == 2
    assert str(tmp_path / "huggingface") in capsys.readouterr().err.splitlines()[-1]
    assert call(str(shards_folder), "--out", str(tmp_path), "--steps", "2") == 2
    earlier, *_, last = capsys.readouterr().err.splitlines()
    assert earlier.startswith(f"note: {tmp_path}/step-00000001 is of an earlier run")
    assert str(tmp_path / "huggingface") in last
    assert call(str(shards_folder), "--out", str(tmp_path), "--steps", "2", "--mixture", "web=1") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1  # what is refused replaces nothing


def test_a_model_larger_than_the_machine_is_refused_before_it_is_built(
    shards_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(str(shards_folder), "--out", str(tmp_path / "model"), "--preset", "v3-671b") == 2
    assert "billion weights needs" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_no_shards_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(str(tmp_path / "nothing\x1b[31m")) == 2
    error = capsys.readouterr().err
    assert "no shards there" in error
    assert "\x1b" not in error


def test_a_run_over_its_budget_is_trained_on_only_if_its_shards_are_named(
    tmp_path: Path, tokenizer_json: bytes, folder_of: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path / "run" / "shards", tokenizer_json, 1)
    (tmp_path / "run" / "over-budget.json").write_text("{}")
    assert call(str(tmp_path / "run"), "--steps", "1") == 2
    assert f"corpusmill train {folder}` trains on what it kept" in capsys.readouterr().err
    assert call(str(folder), "--steps", "1", "--sample", "0", "--out", str(tmp_path / "model")) == 0
    assert "earlier run" not in capsys.readouterr().err
    assert call(str(folder), "--steps", "1", "--sample", "0", "--out", str(tmp_path / "model")) == 0
    told = capsys.readouterr().err.splitlines()[0]
    assert told.startswith(f"note: {tmp_path}/model/step-00000001 is of an earlier run")


def test_a_run_that_is_stopped_tells_no_losses_that_it_has_not_measured(
    shards_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def step_and_be_stopped(*given: Any, take_step: Callable[..., Any] = loop.train_step) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return take_step(*given)

    monkeypatch.setattr(loop, "train_step", step_and_be_stopped)
    assert call(str(shards_folder), "--steps", "3", "--out", str(tmp_path)) == 130
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1] == "interrupted after step 1; --resume goes on from there"
    assert printed.out == ""
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["step-00000001"]


def test_without_torch_one_line_says_which_extra_brings_it(tmp_path: Path) -> None:
    code = (
        "import argparse, importlib.util as util, sys\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'torch' else find(name, *more)\n"
        "from train.command import run\n"
        "sys.exit(run(argparse.Namespace(run='nowhere')))"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (2, "training needs torch: pip install 'corpusmill[train]'\n")


def test_a_damaged_shard_is_named(
    tmp_path: Path, tokenizer_json: bytes, folder_of: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path / "run" / "shards", tokenizer_json, 2)
    shard = folder / "data-00001.arrow"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 4
    shard.write_bytes(data)
    assert call(str(tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert "data-00001.arrow" in error
    assert len(error.splitlines()) == 1


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, train.command; sys.exit(bool({'torch', 'numba', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(st.text())
def test_nothing_that_acts_on_a_terminal_is_printed(text: str) -> None:
    shown = safe(text)
    assert all(character in "\n\u00a0" or character.isprintable() or character.isspace() for character in shown)
    assert not set(shown) & set("\r\x1b\x9b\u202e\u2028\u2029\x00\t\x85")
    assert shown.count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("개념 증명\n𝄞 é", "개념 증명\n𝄞 é"), ("\x1b[2J", "\\u{1b}[2J"), ("a\u202eb", "a\\u{202e}b"), ("", "")],
)
def test_text_is_shown_as_it_is_and_what_acts_is_spelled_out(text: str, shown: str) -> None:
    assert safe(text) == shown
