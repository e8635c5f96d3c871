"""A progress line over the whole run, from what the workers note about the stages they finish.

Workers append lines to files of their own (`Work.progress`); this watches them. On storage that is not a local folder
there is nothing to watch: the runner's own interface shows the progress there.
"""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType

from pipeline.plan import Plan
from pipeline.store import Store

COST = {
    "read": 6.0,
    "measure": 2.0,
    "decontaminate": 0.2,
    "deduplicate": 0.5,
    "repeats": 1.0,
    "embed": 6.0,
    "sample": 0.3,
    "tokenizer": 4.0,
    "tokenise": 3.0,
    "finish": 1.0,
}
"""Relative cost of each stage per byte, measured on mixed text: what the estimate of the time left rests on."""

FOLDER = "work/progress"


class Progress:
    """Show how far a run is while the `with` block runs: one live line on a terminal, plain lines elsewhere."""

    def __init__(self, plan: Plan, quiet: bool = False) -> None:
        self._store = Store(plan.root)
        self._bytes = max(1, plan.source_bytes)
        skipped = set() if plan.recipe.sample.semantic else {"embed", "sample"}
        skipped |= set() if plan.deduplicates else {"deduplicate"}
        skipped |= set() if plan.repeats else {"repeats"}
        skipped |= set() if plan.evaluations else {"decontaminate"}
        self._cost = {stage: cost for stage, cost in COST.items() if stage not in skipped}
        self._stream = os.fdopen(os.dup(2), "w")  # its own: what workers say on stderr is sent to a file meanwhile
        self._live = self._stream.isatty()
        self._every = 0.5 if self._live else 10.0
        self._quiet = quiet or not self._store.local
        self._read: dict[str, int] = {}  # of each worker's file, how many bytes were read
        self._done: dict[str, int] = {}
        self._documents: dict[str, int] = {}
        self._last = "read"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Progress:
        for name in self._store.names(FOLDER) if self._store.local else []:
            self._store.remove(name)
        self._started = time.monotonic()
        if not self._quiet:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._live and not self._quiet:
            self._stream.write("\r\x1b[K")
        self._stream.close()

    def _watch(self) -> None:
        while not self._end.wait(self._every):
            line = self.line(time.monotonic() - self._started)
            self._stream.write(f"\r\x1b[K{line}" if self._live else f"{line}\n")
            self._stream.flush()

    def line(self, seconds: float) -> str:
        """Return the line for now: the share done, the stage, documents, source MB per second, and the time left."""
        self._take_in()
        done = self._done
        text = max(1, done.get("measure", 0), done.get("tokenise", 0))
        read = min(1.0, done.get("read", 0) / self._bytes)
        share = self._cost["read"] * read
        for stage, cost in self._cost.items():
            if stage != "read":
                share += cost * min(1.0, done.get(stage, 0) / text) * read
        share = min(0.99, share / sum(self._cost.values()))
        left = f"{_clock(seconds * (1 - share) / share)} left" if share > 0.02 else "estimating"
        speed = done.get("read", 0) / 1e6 / max(seconds, 1e-9)
        count, times = self._documents.get("read", 0), f"{_clock(seconds)} gone, {left}"
        return f"{share:4.0%}  {self._last:<11} {count:>9,} documents  {speed:6.1f} MB/s  {times}"

    def _take_in(self) -> None:
        """Add up what workers have noted since the last look."""
        for name in self._store.names(FOLDER):
            start = self._read.get(name, 0)
            new = self._store.read_range(name, start, self._store.size(name))
            whole = new[: new.rfind(b"\n") + 1]
            self._read[name] = start + len(whole)
            for entry in whole.decode("ascii", "replace").splitlines():
                parts = entry.split(" ")
                if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
                    self._last = parts[0] if parts[0] != "read" else self._last
                    self._documents[parts[0]] = self._documents.get(parts[0], 0) + int(parts[1])
                    self._done[parts[0]] = self._done.get(parts[0], 0) + int(parts[2])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes}:{rest:02}"
