"""Laws of several processes: they compute what one does, go on from what any number of them wrote, and leave together.

Real processes over gloo on this machine, one thread each. Losses agree within 1e-5; what differs is the order of sums.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import train.loop as loop
from pipeline.shards import Shards
from tests.train.several import (
    RANK,
    MakeConfig,
    assert_alike,
    decided,
    do,
    ended,
    metrics,
    ranks_of,
    started,
    state,
    training,
)
from train.about import CheckpointError, checkpoints
from train.config import Config
from train.loop import train


@pytest.fixture(scope="module")
def shards(shards_folder: Path) -> Shards:
    return Shards.open(shards_folder)


def step_and_be_stopped(*given: Any, take_step: Callable[..., Any] = loop.train_step) -> Any:
    if given[3] == 2:
        os.kill(os.getpid(), signal.SIGTERM)
    return take_step(*given)


@dataclass(frozen=True)
class Trainings:
    """What one process and two have made of the same configurations, in the folders `one/NAME` and `two/NAME`."""

    folder: Path
    configs: dict[str, Config]
    ended: list[tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(
    shards: Shards, shards_folder: Path, make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> Trainings:
    """Five rows over two processes, two at a time: the first has a part less to compute than the second.

    All trainings of two processes in one go, as starting them takes longest.
    """
    folder = tmp_path_factory.mktemp("trained")
    rows = {"batch_sequences": 5, "micro_batch_sequences": 1, "evaluate_every": 10, "checkpoint_every": 100}
    configs = {
        "gradients": make_config(steps=1, clip=1e9, **rows),
        "gradients-dealt": make_config(steps=1, clip=1e9, **rows),
        "adamw": make_config(steps=20, **rows),
        "muon": make_config(steps=5, optimiser="muon", **rows),
        "stopped": make_config(steps=9, checkpoint_every=3),
    }
    configs = {name: decided(config) for name, config in configs.items()}
    dealt = {"gradients": 1, "gradients-dealt": 2, "adamw": 2, "muon": 1, "stopped": 2}
    torch.set_num_threads(1)
    for name, config in configs.items():
        train(shards, folder / "one" / name, config, seed=5, quiet=True)
    with pytest.MonkeyPatch.context() as patch:  # one process is stopped after three steps; two will go on
        patch.setattr(loop, "train_step", step_and_be_stopped)
        assert train(shards, folder / "two" / "stopped", configs["stopped"], seed=5, quiet=True).steps == 3
    two = {
        name: training(shards_folder, folder / "two" / name, config, dealt[name]) for name, config in configs.items()
    }
    two["stopped"] |= {"resume": True, "rank": 1, "step": 7, "signal": signal.SIGKILL}
    return Trainings(folder, configs, ranks_of(2, [training(shards_folder, folder, config, 3), *two.values()]))


@pytest.mark.parametrize("name", ["gradients", "gradients-dealt", "adamw", "muon"])
def test_two_processes_compute_what_one_does(name: str, trained: Trainings) -> None:
    assert_alike(trained.folder / "two" / name, trained.folder / "one" / name)
    files = {path.name for path in checkpoints(trained.folder / "two" / name)[-1].iterdir()}
    parts = {f"{part}-{rank}-of-2.safetensors" for part in ("model", "optimiser") for rank in (1, 2)}
    assert files == {"checkpoint.json", *parts}


@pytest.mark.parametrize("name", ["gradients", "gradients-dealt"])
def test_gradients_are_those_of_one_process(name: str, trained: Trainings) -> None:
    """After one step AdamW's first moment is a tenth of the gradient."""
    _, found = state(trained.folder / "two" / name, trained.configs[name])
    for weight, expected in state(trained.folder / "one" / name, trained.configs[name])[1].items():
        torch.testing.assert_close(found[weight], expected, rtol=1e-3, atol=1e-8)


def test_what_fails_in_one_process_fails_in_all_and_one_says_why(trained: Trainings) -> None:
    said = [json.loads(out.splitlines()[0]) for _, out, _ in trained.ended]
    assert said == [
        "RanksError('expert_parallel 3 does not divide 2 processes')",
        "ElsewhereError('process 0 of 2 has failed')",
    ]


def test_a_process_that_dies_ends_the_others_and_the_last_checkpoint_serves(trained: Trainings, shards: Shards) -> None:
    """From one process's checkpoint two went on, until one was killed; one goes on from what the two had written."""
    (code, _, error), (killed, _, _) = trained.ended
    assert killed == -signal.SIGKILL
    assert code not in (0, -signal.SIGKILL), error
    folder = trained.folder / "two" / "stopped"
    assert [path.name for path in checkpoints(folder)] == ["step-00000003", "step-00000006"]
    assert len(metrics(folder)) == 8 or len(metrics(folder)) == 7
    again = train(shards, folder, trained.configs["stopped"], seed=5, resume=True, quiet=True)
    assert again.steps == 9
    assert_alike(folder, trained.folder / "one" / "stopped")


@pytest.mark.slow
def test_processes_that_are_all_killed_at_any_moment_go_on_to_the_same_end(
    shards: Shards, shards_folder: Path, make_config: MakeConfig, tmp_path: Path
) -> None:
    """With a checkpoint after every step, most moments are within one."""
    config = decided(make_config(steps=20, checkpoint_every=1, evaluate_every=20))
    train(shards, tmp_path / "straight", config, seed=5, quiet=True)
    cut, kills = tmp_path / "cut", 0
    for wait in (0.0, 0.05, 0.1):
        before = int(checkpoints(cut)[-1].name.removeprefix("step-")) if checkpoints(cut) else 0

        def far_enough(before: int = before, wait: float = wait) -> bool:
            if checkpoints(cut) and int(checkpoints(cut)[-1].name.removeprefix("step-")) >= before + 3:
                time.sleep(wait)
                return True
            return False

        found = ended(started(2, [training(shards_folder, cut, config, 2, before > 0)]), far_enough)
        kills += [code for code, _, _ in found] == [-signal.SIGKILL] * 2
    assert kills == 3
    train(shards, cut, config, seed=5, resume=True, quiet=True)
    assert_alike(cut, tmp_path / "straight")


@pytest.mark.slow
def test_a_process_that_hangs_is_not_waited_for_for_ever(
    shards_folder: Path, make_config: MakeConfig, tmp_path: Path
) -> None:
    hanging = training(shards_folder, tmp_path, make_config(steps=9), rank=1, step=3, signal=signal.SIGSTOP)
    (code, _, error), _ = ranks_of(2, [hanging], 60, RANK.replace("seconds=60", "seconds=10"))
    assert code not in (0, -signal.SIGKILL)
    assert "Timed out waiting" in error
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002"]


@pytest.mark.parametrize("file", ["model-2-of-2", "optimiser-1-of-2"])
def test_a_damaged_share_is_refused_and_its_tensor_named(file: str, trained: Trainings, tmp_path: Path) -> None:
    damaged = tmp_path / "step-00000020"
    shutil.copytree(trained.folder / "two" / "adamw" / "step-00000020", damaged)
    data = bytearray((damaged / f"{file}.safetensors").read_bytes())
    data[-5] ^= 4
    (damaged / f"{file}.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{file}\.safetensors: damaged: the tensor 'model\..*' differs"):
        state(tmp_path, trained.configs["adamw"])
    (damaged / f"{file}.safetensors").unlink()
    with pytest.raises(CheckpointError, match=rf"{file}\.safetensors: cannot be read"):
        state(tmp_path, trained.configs["adamw"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_one_two_four_processes_and_one_again_make_one_training(
    kind: str, shards: Shards, shards_folder: Path, make_config: MakeConfig, tmp_path: Path
) -> None:
    rows = {"batch_sequences": 6, "micro_batch_sequences": 2}
    config = decided(make_config(steps=20, optimiser=kind, checkpoint_every=100, **rows))
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    train(shards, straight, config, seed=5, quiet=True)
    for leg, (count, dealt) in enumerate([(1, 1), (2, 2), (4, 2), (1, 1)]):
        last = 5 * leg + 4  # its end, or the step after which SIGTERM comes to one process, and all leave
        sent = {"rank": count - 1, "step": last, "signal": signal.SIGTERM}
        assert do(count, [training(shards_folder, cut, config, dealt, leg > 0, **sent)]) == [[last + 1, leg < 3]]
    assert_alike(cut, straight)


@pytest.mark.slow
@pytest.mark.parametrize("dealt", [1, 2, 4])
def test_four_processes_compute_what_one_does(
    dealt: int, shards: Shards, shards_folder: Path, make_config: MakeConfig, tmp_path: Path
) -> None:
    config = decided(make_config(steps=20, batch_sequences=3, micro_batch_sequences=3))  # fewer rows than processes
    train(shards, tmp_path / "one", config, seed=5, quiet=True)
    do(4, [training(shards_folder, tmp_path / "four", config, dealt)])
    assert_alike(tmp_path / "four", tmp_path / "one")
