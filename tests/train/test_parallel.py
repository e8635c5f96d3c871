"""Laws of several processes: they compute what one does, go on from what any number of them wrote, and leave together.

Real processes over gloo on this machine, one thread each. Losses agree within 1e-5; what differs is the order of sums.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import train.loop as loop
from loader.rows import IGNORED, Batch
from loader.stream import rank_parts
from pipeline.shards import Shards
from ranks.group import Ranks, RanksError
from ranks.shares import Share
from train.about import CheckpointError, checkpoints, read_about
from train.checkpoint import load_model, load_optimiser
from train.config import Config, preset
from train.export import released_names
from train.loop import train
from train.model import Decoder
from train.optim import optimiser
from train.parallel import held_bytes

MakeConfig = Callable[..., Config]

RANK = """
import dataclasses, json, os, sys, torch
from datetime import timedelta
from pathlib import Path
import ranks.group
import train.loop as loop
from pipeline.shards import Shards
from ranks.group import join, leave
from train.config import Config

torch.set_num_threads(1)
ranks.group.PATIENCE = timedelta(seconds=60)
take_step, ranks = loop.train_step, join(os.environ, torch.device("cpu"))


def step_and_send(*all):
    found = take_step(*all)
    if (ranks.rank, all[3]) == (given["rank"], given["step"]):
        os.kill(os.getpid(), given["signal"])
    return found


loop.train_step = step_and_send
for given in json.loads(sys.argv[1]):
    ranks = dataclasses.replace(ranks, expert_parallel=given["expert_parallel"])
    out, config = Path(given["out"]), Config.from_json(given["config"])
    try:
        trained = loop.train(Shards.open(Path(given["shards"])), out, config, 5, given["resume"], True, ranks=ranks)
        print(json.dumps([trained.steps, trained.interrupted]), flush=True)
    except ValueError as error:
        print(json.dumps(repr(error)), flush=True)
leave()
"""


def training(
    shards: Path, out: Path, config: Config, expert_parallel: int = 1, resume: bool = False, **sent: int
) -> dict[str, Any]:
    """What RANK is to do: a training, in which process `rank` gets `signal` after step number `step`, from 0."""
    given = {"shards": str(shards), "out": str(out), "config": config.to_json(), "expert_parallel": expert_parallel}
    return {**given, "resume": resume, "rank": -1, "step": -1, "signal": 0, **sent}


def started(count: int, trainings: Sequence[dict[str, Any]], code: str = RANK) -> list[subprocess.Popen[str]]:
    """Start `count` processes that do trainings one after the other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(count)}
    return [
        subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(trainings)],
            env={**os.environ, **meet, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def ended(processes: list[subprocess.Popen[str]], until: Callable[[], bool]) -> list[tuple[int, str, str]]:
    """Return the exit code and output of each; those that have not ended when `until` holds are killed."""
    try:
        while any(one.poll() is None for one in processes) and not until():
            time.sleep(0.02)
    finally:
        for one in processes:
            one.kill()
        said = [one.communicate() for one in processes]
    return [(one.returncode, *texts) for one, texts in zip(processes, said, strict=True)]


def ranks_of(
    count: int, trainings: Sequence[dict[str, Any]], seconds: float = 120, code: str = RANK
) -> list[tuple[int, str, str]]:
    """Do trainings in `count` processes, which have so many seconds; return the exit code and output of each."""
    last = time.monotonic() + seconds
    return ended(started(count, trainings, code), lambda: time.monotonic() > last)


def do(count: int, trainings: Sequence[dict[str, Any]]) -> list[Any]:
    """Do trainings in processes that all succeed; return [steps, interrupted] of each training, the same in all."""
    found = ranks_of(count, trainings)
    assert [code for code, _, _ in found] == [0] * count, found
    assert len({out for _, out, _ in found}) == 1
    return [json.loads(line) for line in found[0][1].splitlines()]


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_alike(one: Path, other: Path) -> None:
    """Losses within 1e-5; AdamW divides by roots of gradients, so that their norms drift apart sooner.

    A token between two experts may go to the other, and move a bias, and many tokens with it: losses would then agree
    within 1e-4. Weights drawn as wide as `decided` does keep gates from such ties.
    """
    mine, yours = metrics(one), metrics(other)
    assert len(mine) == len(yours)
    for a, b in zip(mine, yours, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["further_loss"] == pytest.approx(b["further_loss"], rel=1e-5)
        assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-3)
        assert a["max_violation"] == b["max_violation"]
        for corpus, found in a.get("held_out", {}).items():
            assert found["tokens"] == b["held_out"][corpus]["tokens"]
            assert found["nats_per_token"] == pytest.approx(b["held_out"][corpus]["nats_per_token"], rel=1e-5)


def decided(config: Config) -> Config:
    return Config(replace(config.model, initializer_range=0.2), config.training)


def state(folder: Path, config: Config) -> tuple[Decoder, dict[str, torch.Tensor]]:
    """A folder's last checkpoint as one process reads it: the decoder, and AdamW's first moments by weight."""
    decoder = Decoder(config.model)
    moves = optimiser(decoder, config.training)
    load_model(checkpoints(folder)[-1], decoder)
    load_optimiser(checkpoints(folder)[-1], decoder, moves)
    return decoder, {name: moves.state[weight]["exp_avg"] for name, weight in decoder.named_parameters()}


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


def command(*arguments: str) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    given = [sys.executable, "-m", "pipeline.cli", "train", *arguments]
    return subprocess.Popen(given, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_command_starts_processes_and_exports_what_they_trained(shards_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    process = command(
        *(str(shards_folder), "--out", str(out), "--steps", "2", "--processes", "2", "--expert-parallel", "2"),
        *("--sample", "4"),
    )
    printed, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert printed.count("sample:") == printed.count("2 steps") == error.count("step 2/2") == 1
    assert [line["step"] for line in metrics(out)] == [1, 2]
    about = read_about(checkpoints(out)[-1])
    decoder = Decoder(Config.from_json(about["config"]).model)
    load_model(checkpoints(out)[-1], decoder)
    exported = load_file(out / "huggingface" / "model.safetensors")
    assert exported.keys() == released_names(decoder).keys()
    assert all(torch.equal(tensor, exported[name]) for name, tensor in released_names(decoder).items())


@pytest.mark.slow
@pytest.mark.parametrize("start", ["ours", "torchrun"])
def test_ctrl_c_leads_all_processes_to_a_checkpoint(start: str, shards_folder: Path, tmp_path: Path) -> None:
    given = ["train", str(shards_folder), "--out", str(tmp_path / "model"), "--steps", "40", "--sample", "0"]
    if start == "ours":
        line = [sys.executable, "-m", "pipeline.cli", *given, "--processes", "2"]
    else:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        line = [*torchrun, "-m", "pipeline.cli", *given]
    # a session of its own, all of which gets the signal, as from a terminal
    process = subprocess.Popen(line, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics_file = tmp_path / "model" / "metrics.jsonl"
    while process.poll() is None and not (metrics_file.exists() and metrics_file.read_text().count("\n") > 2):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert error.count("--resume goes on from there") == 1, error
    assert process.returncode == (130 if start == "ours" else 1)
    done = len(metrics(tmp_path / "model"))
    assert 3 <= done < 40
    assert [path.name for path in checkpoints(tmp_path / "model")] == [f"step-{done:08}"]


@pytest.mark.slow
def test_a_dead_process_is_named_and_no_process_outlives_the_command(shards_folder: Path, tmp_path: Path) -> None:
    for whom in ("a process", "the command"):
        out = tmp_path / whom
        process = command(str(shards_folder), "--out", str(out), "--steps", "300", "--processes", "2")
        try:
            while process.poll() is None and not (out / "metrics.jsonl").exists():
                time.sleep(0.05)
            tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            ranks = [int(one) for one in tasks if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]
            assert len(ranks) == 2
            os.kill(ranks[1] if whom == "a process" else process.pid, signal.SIGKILL)
            _, error = process.communicate(timeout=90)
        finally:
            process.kill()
        if whom == "a process":
            assert process.returncode == 1
            assert "process 1 of 2 died of SIGKILL; --resume goes on from the last checkpoint" in error
        until = time.monotonic() + 60
        while any(Path(f"/proc/{rank}").exists() for rank in ranks) and time.monotonic() < until:
            time.sleep(0.1)
        assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)


@pytest.mark.parametrize(("count", "most"), [(8, 3), (5, 2), (2, 8), (1, 1)])
def test_every_row_is_computed_once_in_as_many_parts_by_each(count: int, most: int) -> None:
    rows = np.arange(count * 3, dtype=np.int32).reshape(count, 3)
    batch = Batch(rows, rows, rows)
    for ranks in (1, 2, 3, 4):
        parts = [list(rank_parts(batch, most, rank, ranks)) for rank in range(ranks)]
        assert len({len(part) for part in parts}) == 1
        counted = [part for own in parts for part, many in own if many]
        assert np.concatenate([part.inputs_BT for part in counted]).tolist() == rows.tolist()
        assert all(len(part) <= most for part in counted)
        assert all((part.targets_BT == IGNORED).all() for own in parts for part, many in own if not many)


def test_shares_of_any_cut_come_together() -> None:
    whole = torch.arange(22.0).view(11, 2)
    for cuts in ((0, 11), (0, 4, 8, 11), (0, 6, 11), (0, 11, 11)):
        shares = [Share(torch.zeros(b - a, 2), a, 11) for a, b in zip(cuts, cuts[1:], strict=False)]
        for start in (0, 3, 6, 9):
            for one in shares:
                one.take(whole[start : start + 3], start)
        assert torch.equal(torch.cat([one.local for one in shares]), whole)


def test_processes_need_less_memory_each_and_experts_less_where_they_are_dealt() -> None:
    model = preset("v3-671b").model
    alone, spread, dealt = (held_bytes(model, Ranks(0, n, deal)) for n, deal in ((1, 1), (256, 1), (256, 64)))
    assert alone > 671e9 * 16
    assert alone / 256 < dealt < spread < alone / 16


@pytest.mark.parametrize(("count", "deal"), [(4, 3), (6, 6), (2, 0)])
def test_experts_that_cannot_be_dealt_evenly_are_refused(count: int, deal: int) -> None:
    with pytest.raises(RanksError, match=f"expert_parallel {deal} does not divide"):
        Ranks(0, count, deal).check(16)
    Ranks(0, 8, 4).check(16)
