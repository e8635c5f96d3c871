"""Worker processes on one machine: each is given a call of a stage when it is done with its last one.

The driver runs Beam, in one process; what a stage does is done by workers, so that no message passes through gRPC and no worker
imports Beam. They are forked from `python -m pipeline.workers`, which the driver starts before it imports Beam itself: that
process imports the stages and loads the kernels that most runs call, once, and all share the memory. Nobody outlives the
driver: when the input of that process ends, it kills its workers and ends; a worker whose parent is gone ends itself. A worker
that dies fails the run at once, with what it died of.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from queue import SimpleQueue
from typing import IO, Any, BinaryIO

Message = tuple[int, bytes]
Answer = list[Message] | str
"""The messages of a stage, or what went wrong."""

OPEN = 4
"""Calls per worker that a stage leaves open before it waits for an answer: what it yields goes to the next stage meanwhile."""


class WorkerError(RuntimeError):
    """A stage failed in a worker, or a worker was lost: says what the worker said, or of what it died."""


@dataclass(frozen=True)
class Call:
    """A stage to be run on messages, and where its answer goes."""

    plan: str
    stage: str
    key: int
    messages: Sequence[bytes]
    answers: SimpleQueue[Answer]


class Workers:
    """Worker processes. To be started before long imports."""

    def __init__(
        self, count: int, log: IO[bytes] | None = None, plugins: bool = True, modules: Sequence[str] = ()
    ) -> None:
        """Start `count` workers; what they say on stderr goes to `log` (None: where the caller's goes).

        They import `modules` as well, which may add to the stages.
        """
        self.count = count
        self.lost = ""  # what became of a worker that nobody ended
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        pairs = [socket.socketpair() for _ in range(count)]
        theirs = [other.fileno() for _, other in pairs]
        asked = json.dumps({"ends": theirs, "plugins": plugins, "modules": list(modules)})
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.workers", asked],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # our code, not another's
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=theirs,
        )
        for _, other in pairs:
            other.close()
        self._watcher = threading.Thread(target=self._watch, name="workers", daemon=True)
        self._threads = [threading.Thread(target=self._deal, args=(end,), daemon=True) for end, _ in pairs]
        for thread in (self._watcher, *self._threads):
            thread.start()

    def __enter__(self) -> Workers:
        global _active
        _active = self
        return self

    def __exit__(self, *error: object) -> None:
        global _active
        _active = None
        self.close()

    def give(self, call: Call) -> None:
        """Have a call done by the next worker that is free."""
        self._calls.put(call)

    def close(self) -> None:
        """End the workers, at once, whatever they are doing."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        for _ in self._threads:
            self._calls.put(None)
        for thread in (self._watcher, *self._threads):
            thread.join()

    def _deal(self, end: socket.socket) -> None:
        """Give one worker a call after the other. When it is lost, that is the answer to all that come."""
        with end, end.makefile("rb") as stream:
            while (call := self._calls.get()) is not None:
                try:
                    send(end, {"plan": call.plan, "stage": call.stage, "key": call.key}, call.messages)
                    answer = receive(stream)
                except OSError:
                    answer = None
                if answer is None:
                    self._watcher.join()
                    call.answers.put(self.lost or "the worker processes have ended")
                elif "error" in answer[0]:
                    call.answers.put(answer[0]["error"])
                else:
                    call.answers.put(list(zip(answer[0]["keys"], answer[1], strict=True)))

    def _watch(self) -> None:
        """Learn what ends the workers."""
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            said = stream.read().decode().strip()
        status = self._process.wait()
        self.lost = said or (f"the process that forks the workers ended: {_ending(status)}" if status else "")


_active: Workers | None = None


def active() -> Workers | None:
    """Return the workers that this process has started and not ended."""
    return _active


class Calls:
    """The calls of one stage that workers do, and their answers, in the order in which they come."""

    def __init__(self, workers: Workers) -> None:
        self._workers, self._answers, self._open = workers, SimpleQueue[Answer](), 0

    def give(self, plan: str, stage: str, key: int, messages: Sequence[bytes]) -> Iterator[Message]:
        """Have a call done; yield what has been answered so far."""
        self._workers.give(Call(plan, stage, key, messages, self._answers))
        self._open += 1
        while self._open >= OPEN * self._workers.count or (self._open and not self._answers.empty()):
            yield from self._next()

    def rest(self) -> Iterator[Message]:
        """Yield what is answered to the calls that are open."""
        while self._open:
            yield from self._next()

    def _next(self) -> list[Message]:
        answer = self._answers.get()
        self._open -= 1
        if isinstance(answer, str):
            raise WorkerError(answer)
        return answer


def send(end: socket.socket, head: dict[str, Any], parts: Sequence[bytes]) -> None:
    """Send a JSON object and some bytes."""
    data = json.dumps({**head, "sizes": [len(part) for part in parts]}).encode()
    end.sendall(b"".join([len(data).to_bytes(8, "little"), data, *parts]))


def receive(stream: BinaryIO) -> tuple[dict[str, Any], list[bytes]] | None:
    """Return what the other end sent; None when it is gone."""
    size = stream.read(8)
    if len(size) < 8:
        return None
    data = stream.read(int.from_bytes(size, "little"))
    if len(data) < int.from_bytes(size, "little"):
        return None
    head = json.loads(data)
    parts = [stream.read(size) for size in head["sizes"]]
    return (head, parts) if [len(part) for part in parts] == head["sizes"] else None


def _ending(status: int) -> str:
    """Say how a process ended, by its exit status as `subprocess` gives it."""
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    return f"{name}; was the machine out of memory?" if name == "SIGKILL" else name


def serve(ends: Sequence[int], plugins: bool, modules: Sequence[str]) -> int:
    """Fork a worker for each end of a connection; say on the standard output which one was lost."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver hears it too, and closes our input
    _import_everything(plugins, modules)
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    alive, only_here = os.pipe()  # workers read the first end; it ends when this process does
    workers: set[int] = set()
    for end in ends:
        pid = os.fork()
        if pid == 0:
            for other in (*ends, woken, wakes, only_here):
                if other != end:
                    os.close(other)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            _work(end, alive)
        workers.add(pid)
    for end in ends:
        os.close(end)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    while True:
        while (ended := _reap()) is not None:
            pid, status = ended
            workers.discard(pid)
            if status:
                print(f"a worker process ended: {_ending(status)}", flush=True)
                _kill(workers)
                return 1
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 1 << 10)
        if 0 in ready and not os.read(0, 1 << 16):
            break
    _kill(workers)
    return 0


def _reap() -> tuple[int, int] | None:
    with suppress(ChildProcessError):
        pid, status = os.waitpid(-1, os.WNOHANG)
        return (pid, os.waitstatus_to_exitcode(status)) if pid else None
    return None


def _kill(workers: set[int]) -> None:
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    for pid in workers:
        os.waitpid(pid, 0)


def _import_everything(plugins: bool, modules: Sequence[str]) -> None:
    """Import what workers need, and load the kernels that every run calls, so that they share it."""
    from pipeline import starting

    starting.start()
    if not plugins:
        starting.do_without_pandas()
    starting.import_numba()
    import pyarrow as pa

    import pipeline.stages  # noqa: F401
    from filters.sketch import bands

    for module in modules:
        import_module(module)
    pa.set_cpu_count(1)
    bands(pa.array(["A first text loads what numba loads late."], pa.large_string()))


def _work(end: int, alive: int) -> None:
    """Be a worker until the driver is gone; never return."""
    status = 1
    try:
        threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
        with socket.socket(fileno=end) as connection, connection.makefile("rb") as stream:
            while (asked := receive(stream)) is not None:
                send(connection, *_answered(**asked[0], messages=asked[1]))
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _answered(
    plan: str, stage: str, key: int, sizes: list[int], messages: list[bytes]
) -> tuple[dict[str, Any], list[bytes]]:
    """Return a stage's messages, or what went wrong, as they are sent."""
    from pipeline.stages import STAGES
    from pipeline.stages.work import work_of

    try:
        found = list(STAGES[stage](work_of(plan), key, messages))
    except Exception as error:
        return {"error": "".join(traceback.format_exception(error)).rstrip()}, []
    return {"keys": [to for to, _ in found]}, [message for _, message in found]


def _end_with_parent(alive: int) -> None:
    os.read(alive, 1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(serve(**json.loads(sys.argv[1])))
