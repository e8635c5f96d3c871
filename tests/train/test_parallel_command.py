"""The command that starts several processes: one model comes of them, and they end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.train.several import (
    metrics,
)
from train.about import checkpoints, read_about
from train.checkpoint import load_model
from train.config import Config
from train.export import released_names
from train.model import Decoder


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
