"""What a command costs: CPU seconds, seconds on the clock, and the most memory, of it and all that it starts."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Spent:
    """`cpu_seconds` is user and system time. `peak_bytes`: pages that processes share are counted once (Linux: PSS)."""

    cpu_seconds: float
    seconds: float
    peak_bytes: int
    processes: int
    output: str


def spend(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Spent:
    """Run a command to its end and return what it cost; raise SystemExit with what it said where it fails."""
    variables = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}",
        "HF_HUB_OFFLINE": "1",
        **(environment or {}),
    }
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # else our modules are compiled at every start, and a peer's are not
    started = time.monotonic()
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    watch = _Watch(process.pid)
    said: list[bytes] = []
    readers = [
        threading.Thread(target=lambda stream=stream: said.append(stream.read()))
        for stream in (process.stdout, process.stderr)
    ]
    for thread in readers:
        thread.start()
    _, status, usage = os.wait4(process.pid, 0)  # with all that it waited for
    seconds = time.monotonic() - started
    watch.end()
    process.returncode = os.waitstatus_to_exitcode(status)
    for thread in readers:
        thread.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}\n{b''.join(said).decode()[-4000:]}")
    output = b"".join(said).decode()
    return Spent(usage.ru_utime + usage.ru_stime, seconds, watch.peak, watch.processes, output)


class _Watch(threading.Thread):
    """Look five times a second how much memory a process and its descendants hold."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._ended = pid, threading.Event()
        self.peak = self.processes = 0
        self.start()

    def run(self) -> None:
        while not self._ended.wait(0.2):
            tree = _tree(self._pid)
            self.peak = max(self.peak, sum(_memory(pid) for pid in tree))
            self.processes = max(self.processes, len(tree))

    def end(self) -> None:
        self._ended.set()
        self.join()


def _tree(root: int) -> list[int]:
    children = defaultdict(list)
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                parent = Path(entry.path, "stat").read_text().rsplit(")", 1)[1].split()[1]
            except OSError:
                continue
            children[int(parent)].append(int(entry.name))
    tree = [root]
    for pid in tree:
        tree += children[pid]
    return tree


def _memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
