"""Arms side by side: each a process of its own on its share of the cores, with results that outlive an interruption.

A process that computes an arm reads its job from a file and tells of its steps on standard output, a line of JSON each.
It ends when its standard input does, so it never outlives whoever started it.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ablate.study import Job, study


class ArmError(RuntimeError):
    """A process that computed an arm failed; the message is its last line."""


def computed(jobs: Sequence[Job], out: Path, workers: int, quiet: bool) -> list[dict[str, Any]]:
    """Return the results of all jobs, those already in `out` read and not computed again."""
    folder = out / "arms"
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[int, dict[str, Any]] = {}
    waiting = []
    for number, job in enumerate(jobs):
        result = _finished(_path(folder, job), job)
        if result is None:
            waiting.append(number)
        else:
            found[number] = result
    progress = Progress(jobs, set(found), quiet)
    heard: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
    running: dict[int, subprocess.Popen[str]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                number = waiting.pop(0)
                running[number] = _start(jobs[number], folder, heard, number)
            number, line = heard.get()
            if line is None:
                if _ended(running.pop(number)):
                    raise ArmError(_complaint(folder, jobs[number]))
                result = _finished(_path(folder, jobs[number]), jobs[number])
                if result is None:
                    raise ArmError(f"{_path(folder, jobs[number])}: was not written as it should have been")
                found[number] = result
            progress.hear(number, line)
    finally:
        for process in running.values():
            process.kill()
            _ended(process)
        progress.end()
    return [found[number] for number in range(len(jobs))]


def _path(folder: Path, job: Job) -> Path:
    return folder / f"{job.arm}-{job.seed}.json"


def _finished(path: Path, job: Job) -> dict[str, Any] | None:
    """Return a result that is there and is of this very job."""
    try:
        result: dict[str, Any] = json.loads(path.read_bytes())
        return result if result["identity"] == job.identity() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _start(
    job: Job, folder: Path, heard: queue.Queue[tuple[int, dict[str, Any] | None]], number: int
) -> subprocess.Popen[str]:
    asked = folder / f"{job.arm}-{job.seed}.job.json"
    asked.write_text(json.dumps(asdict(job)))
    environment = {**os.environ, "OMP_NUM_THREADS": str(job.threads), "NUMBA_NUM_THREADS": str(job.threads)}
    with (folder / f"{job.arm}-{job.seed}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ablate.workers", str(asked), str(_path(folder, job))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the parent, which then ends its children
        )

    def listen() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                with suppress(ValueError):  # of a library that has something to say
                    heard.put((number, json.loads(line)))
        heard.put((number, None))

    threading.Thread(target=listen, daemon=True).start()
    return process


def _ended(process: subprocess.Popen[str]) -> int:
    """Return how a process ended, once it has."""
    assert process.stdin is not None
    process.stdin.close()
    return process.wait()


def _complaint(folder: Path, job: Job) -> str:
    path = folder / f"{job.arm}-{job.seed}.log"
    lines = path.read_text(errors="replace").strip().splitlines()
    return f"arm {job.arm}, seed {job.seed}: {lines[-1] if lines else 'its process was killed'} ({path})"


class Progress:
    """One line of how far all arms are, and the time left."""

    def __init__(self, jobs: Sequence[Job], done: set[int], quiet: bool) -> None:
        self.jobs, self.quiet, self.started = jobs, quiet, time.monotonic()
        self.steps = {number: job.longer if number in done else 0 for number, job in enumerate(jobs)}
        self.before = sum(self.steps.values())
        self.told = 0.0
        if done and not quiet:
            print(f"{len(done)} of {len(jobs)} arms are there already", file=sys.stderr)

    def hear(self, number: int, line: dict[str, Any] | None) -> None:
        self.steps[number] = self.jobs[number].longer if line is None else line["step"]
        now = time.monotonic()
        every = 0.5 if sys.stderr.isatty() else 30.0
        if self.quiet or now - self.told < every:
            return
        self.told = now
        total, done = sum(job.longer for job in self.jobs), sum(self.steps.values())
        left = (now - self.started) / max(1, done - self.before) * (total - done)
        running = [
            f"{job.arm}/{job.seed} {self.steps[at] / job.longer:.0%}"
            for at, job in enumerate(self.jobs)
            if 0 < self.steps[at] < job.longer
        ]
        known = f"{left / 60:.0f} min left" if done - self.before > total / 100 else "…"
        text = f"{done / total:.0%} of all arms  {'  '.join(running)}  {known}"
        sys.stderr.write(f"\r\x1b[K{text}" if sys.stderr.isatty() else text + "\n")
        sys.stderr.flush()

    def end(self) -> None:
        if not self.quiet and sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")


def main(asked: str, into: str) -> None:
    """Compute one job; write its result whole or not at all."""

    def leave_with_parent() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    import torch

    job = Job(**json.loads(Path(asked).read_bytes()))
    torch.set_num_threads(job.threads)
    told = 0.0

    def tell(step: int, loss: float) -> None:
        nonlocal told
        if time.monotonic() - told > 0.5:
            told = time.monotonic()
            print(json.dumps({"step": step, "loss": loss}), flush=True)

    result = study(job, tell)
    unfinished = Path(into).with_suffix(".part")
    unfinished.write_text(json.dumps(result, indent=1))
    os.replace(unfinished, into)


if __name__ == "__main__":
    main(*sys.argv[1:])
