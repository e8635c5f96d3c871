"""`kill -9` of a run's whole process group, at any moment, costs time and nothing else."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from pipeline.recipe import parse
from pipeline.run import run
from tests.pipeline.corpora import earlier, write_everything
from tests.pipeline.processes import environment
from tests.pipeline.test_run import published
from tests.pipeline.test_s3 import all_formats, write_all_formats

KILLS = 25
MARK = "CORPUSMILL_TEST_RUN"


def marked(mark: str) -> list[int]:
    """Return the processes that have our mark in their environment: a run, and all that it started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class Runs:
    """Runs of one recipe into one folder, in process groups of their own."""

    def __init__(self, recipe: Path, out: Path) -> None:
        self.out = out
        self._command = [sys.executable, "-m", "pipeline.cli", "run", str(recipe), "--out", str(out), "--workers", "2"]

    def killed_after(self, seconds: float) -> bool:
        """Start a run and kill it with all its processes; False if it was done before."""
        mark = uuid.uuid4().hex
        process = self._start(mark)
        try:
            process.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            pass
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 5
        while (left := marked(mark)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left, f"processes outlived their run: {left}"
        return True

    def finished(self) -> float:
        """Run to the end; return how long it took."""
        mark, started = uuid.uuid4().hex, time.monotonic()
        process = self._start(mark)
        assert process.wait(600) == 0
        assert not marked(mark)
        return time.monotonic() - started

    def _start(self, mark: str) -> subprocess.Popen[bytes]:
        null = subprocess.DEVNULL
        env = environment(**{MARK: mark})
        return subprocess.Popen(self._command, env=env, stdout=null, stderr=null, start_new_session=True)


def results(out: Path) -> dict[str, bytes]:
    """Return all that a run publishes, with the statistics in its manifest, but the report, which is made from them."""
    return published(out) | {"examples.json": (out / "examples.json").read_bytes()}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find processes left over")
def test_a_run_that_is_killed_at_any_moment_and_again_while_taken_up_ends_with_the_same_bytes(tmp_path):
    sources = tmp_path / "sources"
    write_all_formats(sources)
    whole = write_everything(sources)
    whole["corpora"] |= {name: all_formats()["corpora"][name] for name in ("table", "crawl")}
    whole["sample"]["mixture"] |= {"table": 0.1, "crawl": 0.1}
    run(parse(earlier(), base=str(sources)), str(sources / "earlier"))
    recipe = sources / "recipe.yaml"
    recipe.write_text(json.dumps(whole), encoding="utf-8")
    reference = Runs(recipe, tmp_path / "reference")
    reference.finished()
    seconds = Runs(recipe, tmp_path / "again").finished()  # the first may have compiled kernels
    expected = results(reference.out)
    chance = random.Random(25)
    kills = again = 0
    while kills < KILLS:
        runs = Runs(recipe, tmp_path / f"run-{kills}")
        if not runs.killed_after(chance.uniform(0.05, 1.0) * seconds):
            continue
        kills += 1
        assert not (runs.out / "manifest.json").exists() or results(runs.out) == expected
        if kills % 2:  # and in the middle of taking it up
            again += runs.killed_after(chance.uniform(0.2, 1.0) * seconds)
        runs.finished()
        assert results(runs.out) == expected
        assert not list((runs.out / "work" / "tmp").iterdir())
    print(f"{kills} runs killed, {again} of them again while they were taken up")
    assert again
