"""Laws of the loop: resuming is as if nothing happened, cutting a batch changes nothing, and it learns."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from loader.stream import TrainingData
from pipeline.shards import Shards
from train.about import CheckpointError, checkpoints
from train.balance import expert_layers
from train.config import Config
from train.loop import TrainingError, train, train_step
from train.model import Decoder
from train.optim import optimiser

MakeConfig = Callable[..., Config]


@pytest.fixture(scope="module")
def shards(shards_folder: Path) -> Shards:
    return Shards.open(shards_folder)


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics without its speed, the one thing that differs from run to run."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "tokens_per_second"} for line in lines]


def identical(one: Decoder, other: Decoder) -> bool:
    mine, yours = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[name], yours[name]) for name in mine)


@pytest.mark.parametrize(("cut", "kind"), [(3, "adamw"), (4, "muon"), (5, "adamw")])
def test_a_resumed_run_equals_one_that_never_stopped(
    cut: int, kind: str, shards: Shards, make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(checkpoint_every=cut, optimiser=kind)
    straight = train(shards, tmp_path / "straight", config, seed=5, quiet=True)
    train(shards, tmp_path / "cut", config, seed=5, quiet=True)
    for later in checkpoints(tmp_path / "cut"):  # as if the run had been killed right after step `cut`
        if int(later.name.removeprefix("step-")) > cut:
            later.rename(tmp_path / later.name)
    assert len(checkpoints(tmp_path / "cut")) == 1
    resumed = train(shards, tmp_path / "cut", config, seed=5, resume=True, quiet=True)
    assert identical(straight.decoder, resumed.decoder)
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "straight")
    assert straight.last == resumed.last


@pytest.mark.slow
def test_a_run_killed_at_any_moment_resumes_to_the_same_end(
    shards_folder: Path, shards: Shards, make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(steps=40)
    straight = train(shards, tmp_path / "straight", config, seed=5, quiet=True)
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(config.to_json()))
    code = (
        "import json, sys, torch; from pathlib import Path; from pipeline.shards import Shards;"
        "from train.config import Config; from train.loop import train; torch.set_num_threads(1);"
        "shards, config, out, resume = sys.argv[1:];"
        "train(Shards.open(shards), Path(out), Config.from_json(json.loads(Path(config).read_text())), 5, resume == '1')"
    )
    out, kills = tmp_path / "killed", 0
    for wait in (0.0, 0.15, 0.3):
        given = [str(shards_folder), str(settings), str(out), "1" if checkpoints(out) else "0"]
        process = subprocess.Popen([sys.executable, "-c", code, *given], stderr=subprocess.DEVNULL)
        before = len((out / "metrics.jsonl").read_text().splitlines()) if out.exists() and kills else 0
        while process.poll() is None:
            time.sleep(0.01)
            path = out / "metrics.jsonl"
            if path.exists() and len(path.read_text().splitlines()) > before + 5 and checkpoints(out):
                time.sleep(wait)
                process.kill()
                break
        kills += process.wait() == -signal.SIGKILL
    assert kills
    resumed = train(shards, out, config, seed=5, resume=True, quiet=True)
    assert identical(straight.decoder, resumed.decoder)
    assert metrics(out) == metrics(tmp_path / "straight")


def test_a_batch_cut_in_parts_takes_the_same_step(shards: Shards, make_config: MakeConfig) -> None:
    data = TrainingData(shards, 64, seed=1)
    gradients, found = [], []
    for part in (4, 2, 1):
        config = make_config(micro_batch_sequences=part, clip=1e9)
        decoder = Decoder(config.model)
        decoder.initialise(2)
        found.append(train_step(decoder, optimiser(decoder, config.training), data.batch(0, 4), 0, config))
        gradients.append([weight.grad for weight in decoder.parameters()])
        biases = [layer.gate.e_score_correction_bias for layer in expert_layers(decoder)]
        assert any(bool(bias.any()) for bias in biases)
    for step, grads in zip(found[1:], gradients[1:], strict=True):
        assert step.loss == pytest.approx(found[0].loss, rel=1e-6)
        assert step.max_violation == found[0].max_violation
        for one, whole in zip(grads, gradients[0], strict=True):
            torch.testing.assert_close(one, whole, rtol=1e-3, atol=1e-6)


def test_training_lowers_the_loss_on_documents_it_never_saw(
    shards: Shards, make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(steps=60, learning_rate=1e-2, evaluate_every=60, checkpoint_every=60)
    trained = train(shards, tmp_path, config, seed=1, quiet=True)
    assert set(trained.first) == {"code", "reference", "language: Python"}
    for corpus, first in trained.first.items():
        assert trained.last[corpus].nats_per_token < first.nats_per_token - 0.6
        assert 0 < trained.last[corpus].bits_per_byte < first.bits_per_byte


def test_the_loss_before_training_is_that_of_guessing(shards: Shards, make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(steps=1)
    trained = train(shards, tmp_path, config, seed=1, quiet=True)
    uniform = float(torch.tensor(float(config.model.vocab_size)).log())
    for found in trained.first.values():
        assert found.nats_per_token == pytest.approx(uniform, rel=0.02)


def test_other_shards_are_refused_on_resume(
    shards: Shards, make_config: MakeConfig, tokenizer_json: bytes, folder_of: Callable[..., Path], tmp_path: Path
) -> None:
    train(shards, tmp_path / "model", make_config(steps=2), seed=1, quiet=True)
    other = Shards.open(folder_of(tmp_path / "other", tokenizer_json, 3))
    with pytest.raises(CheckpointError, match="other shards"):
        train(other, tmp_path / "model", make_config(steps=2), seed=1, resume=True, quiet=True)


def test_another_setting_is_refused_on_resume_by_name(shards: Shards, make_config: MakeConfig, tmp_path: Path) -> None:
    train(shards, tmp_path, make_config(steps=2), seed=1, quiet=True)
    with pytest.raises(CheckpointError, match=r"config\.training\.steps is 2 there and 9 here"):
        train(shards, tmp_path, make_config(steps=9), seed=1, resume=True, quiet=True)
    with pytest.raises(CheckpointError, match="seed is 1 there and 2 here"):
        train(shards, tmp_path, make_config(steps=2), seed=2, resume=True, quiet=True)
    fewer = make_config(steps=2, micro_batch_sequences=1)  # as a machine with less memory wants
    assert train(shards, tmp_path, fewer, seed=1, resume=True, quiet=True).steps == 2


def test_nothing_to_resume_is_said(shards: Shards, make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint to resume from"):
        train(shards, tmp_path, make_config(), seed=1, resume=True, quiet=True)


def test_training_anew_replaces_the_checkpoints_of_a_longer_run(
    shards: Shards, make_config: MakeConfig, tmp_path: Path
) -> None:
    train(shards, tmp_path, make_config(steps=6), seed=1, quiet=True)
    train(shards, tmp_path, make_config(steps=2), seed=2, quiet=True)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002"]
    assert len(metrics(tmp_path)) == 2


def test_an_earlier_runs_checkpoint_is_not_gone_on_from_unasked(
    shards: Shards, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run begins anew where another has ended, and is killed before its first checkpoint; that one again, too."""
    import train.loop as loop

    def be_killed(*given: Any) -> Any:
        raise MemoryError

    config = make_config(steps=4)
    trained = train(shards, tmp_path, config, seed=1, quiet=True)
    written = metrics(tmp_path)
    monkeypatch.setattr(loop, "train_step", be_killed)
    for _ in range(2):
        with pytest.raises(MemoryError):
            train(shards, tmp_path, config, seed=1, quiet=True)
        with pytest.raises(
            CheckpointError, match=r"step-00000004 is of an earlier run than the last, .*leave --resume"
        ):
            train(shards, tmp_path, config, seed=1, resume=True, quiet=True)
    monkeypatch.undo()
    (tmp_path / "earlier-metrics.jsonl").rename(tmp_path / "metrics.jsonl")
    again = train(shards, tmp_path, config, seed=1, resume=True, quiet=True)
    assert identical(again.decoder, trained.decoder)
    assert metrics(tmp_path) == written
    assert train(shards, tmp_path, make_config(steps=2), seed=1, quiet=True).steps == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl", "step-00000002"]
    assert train(shards, tmp_path, make_config(steps=2), seed=1, resume=True, quiet=True).steps == 2


def test_a_run_is_gone_on_from_whatever_was_left_of_an_earlier_one_without_checkpoints(
    shards: Shards, make_config: MakeConfig, tmp_path: Path
) -> None:
    """One that began anew was killed when it had removed the earlier one's checkpoints and not yet written its own."""
    (tmp_path / "earlier-metrics.jsonl").write_text("{}\n")
    train(shards, tmp_path, make_config(steps=2), seed=1, quiet=True)
    assert train(shards, tmp_path, make_config(steps=2), seed=1, resume=True, quiet=True).steps == 2


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_a_checkpoint_and_leaves(
    asked: signal.Signals, shards: Shards, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import train.loop as loop

    take_step, handler = loop.train_step, signal.getsignal(asked)

    def step_and_be_stopped(*given: Any) -> Any:
        found = take_step(*given)
        os.kill(os.getpid(), asked)
        return found

    config = make_config(checkpoint_every=100)
    monkeypatch.setattr(loop, "train_step", step_and_be_stopped)
    stopped = train(shards, tmp_path, config, seed=1, quiet=True)
    monkeypatch.undo()
    assert stopped.interrupted
    assert stopped.steps == 1
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000001"]
    assert signal.getsignal(asked) is handler
    assert not train(shards, tmp_path, config, seed=1, resume=True, quiet=True).interrupted


def test_a_loss_that_is_no_number_stops_the_run_before_the_weights_are_lost(
    shards: Shards, make_config: MakeConfig
) -> None:
    config = make_config()
    decoder = Decoder(config.model)
    decoder.initialise(1)
    with torch.no_grad():
        decoder.lm_head.weight[3, 3] = float("nan")
    with pytest.raises(TrainingError, match="step 8: the loss is nan"):
        batch = TrainingData(shards, 64, seed=1).batch(0, 4)
        train_step(decoder, optimiser(decoder, config.training), batch, 7, config)


def test_a_configuration_comes_back_from_its_json(make_config: MakeConfig) -> None:
    config = make_config()
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config
    changed = dataclasses.replace(config, training=dataclasses.replace(config.training, clip=2.0))
    assert Config.from_json(changed.to_json()) != config
