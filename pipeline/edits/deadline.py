"""Extraction that always ends: pages that may be slow go to a worker process, which dies of a page that is.

One page's death costs that page its extraction and nothing else: the next page gets a new worker. What is not the
page's fault (a library that cannot be imported, a worker killed from outside) raises ExtractionError, and is never
taken for a property of the page.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.edits.worker import BROKEN, READY, TEXT, UNREADABLE, read_frame, write_frame

_DEADLINES = (signal.SIGPROF, signal.SIGALRM)
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)


class ExtractionError(RuntimeError):
    """The extraction itself does not work here; no page is at fault."""


@dataclass(frozen=True)
class Failure:
    """Why a page has no extracted text: deadline, crash, memory, or what the extractor says."""

    reason: str


class Worker:
    """One worker process and the pipes to it."""

    def __init__(self, name: str) -> None:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), root])
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.edits.worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._requests, self._answers = self.process.stdin, self.process.stdout
        answer = read_frame(self._answers)
        if answer is None or answer[0] != READY:
            raise self._error(answer)

    def extract(self, page: str) -> str | Failure:
        """Return the page's text. After a Failure("deadline") or ("crash") the process is gone."""
        try:
            write_frame(self._requests, TEXT, page.encode("utf-8", "replace"))
            answer = read_frame(self._answers)
        except BrokenPipeError:
            answer = None
        if answer is not None and answer[0] == TEXT:
            return answer[1].decode()
        if answer is not None and answer[0] == UNREADABLE:
            return Failure(answer[1].decode())
        if answer is None:
            died_of = -self.process.wait()
            if died_of in _DEADLINES or died_of in _CRASHES:
                self.close()
                return Failure("deadline" if died_of in _DEADLINES else "crash")
        raise self._error(answer)

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def close(self) -> None:
        """Close the pipes and wait for the process, which ends because of that."""
        with suppress(BrokenPipeError):
            self._requests.close()
        self._answers.close()
        self.process.wait()

    def forget(self) -> None:
        """Let go of the pipes in a forked process, of which the worker knows nothing."""
        for stream in (self._requests, self._answers):
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, stream.fileno(), inheritable=False)  # what is buffered must not reach the worker
            os.close(nowhere)
        self.process.returncode = 0

    def _error(self, answer: tuple[bytes, bytes] | None) -> ExtractionError:
        self.close()
        said = answer[1].decode() if answer is not None and answer[0] == BROKEN else "it gave no answer"
        return ExtractionError(f"the {self.name} worker ended with {self.process.returncode}: {said}")


@dataclass
class _Pool:
    """The workers of this process: as many as threads that extract at the same time, kept for the next page."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    idle: list[Worker] = field(default_factory=list)
    all: list[Worker] = field(default_factory=list)

    @contextmanager
    def worker(self, name: str) -> Iterator[Worker]:
        with self.lock:
            worker = next((one for one in self.idle if one.name == name), None)
            if worker is not None:
                self.idle.remove(worker)
        if worker is None:
            worker = Worker(name)
            with self.lock:
                self.all.append(worker)
        try:
            yield worker
        except BaseException:
            worker.process.kill()  # its next answer would be to this page
            worker.close()
            raise
        finally:
            with self.lock:
                if worker.alive:
                    self.idle.append(worker)
                else:
                    self.all.remove(worker)

    def close(self) -> None:
        with self.lock:
            for worker in self.all:
                worker.close()
            self.idle, self.all = [], []


_pool = _Pool()


def _start_afresh() -> None:
    global _pool
    for worker in _pool.all:
        worker.forget()
    _pool = _Pool()


atexit.register(lambda: _pool.close())
os.register_at_fork(after_in_child=_start_afresh)


def extract(name: str, page: str) -> str | Failure:
    """Return what the extractor `name` makes of a page, or why it makes nothing, in bounded time and memory.

    Raises ExtractionError if the extractor does not work here.
    """
    with _pool.worker(name) as worker:
        return worker.extract(page)


def close() -> None:
    """End this process's workers; the next page starts one again."""
    _pool.close()
