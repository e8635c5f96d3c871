"""Trainings by several real processes over gloo on this machine, one thread each, and what they came to."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from train.about import checkpoints
from train.checkpoint import load_model, load_optimiser
from train.config import Config
from train.model import Decoder
from train.optim import optimiser

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
