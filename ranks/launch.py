"""Several processes on this machine that run the same command as ranks of one training.

They meet by the environment that torchrun would have set; it does the same for several machines.
"""

from __future__ import annotations

import operator
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any

GRACE = 30.0  # seconds for processes to end by themselves, once one of them has failed


def launch(count: int, command: Callable[..., int], *arguments: Any) -> int:
    """Run `command(*arguments)` in `count` processes; return the exit code of the first that failed, or 0.

    SIGTERM and Ctrl-C are passed on, a second time they kill. When one process has failed, the others are given a moment.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = get_context("spawn")
    asked: list[int] = []
    started: list[BaseProcess] = [
        context.Process(target=_begin, args=(rank, count, port, command, arguments)) for rank in range(count)
    ]

    def ask(number: int, frame: object) -> None:
        for one in started:
            if one.pid is not None and one.exitcode is None:
                one.kill() if asked else one.terminate()
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    # a terminal sends Ctrl-C to all: started while it is ignored, they ignore it, and hear of it from here alone
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for one in started:
            one.start()
        signal.signal(signal.SIGINT, ask)
        return _ended(started, asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for one in started:
            if one.pid is not None:
                one.kill()
                one.join()


def _ended(started: list[BaseProcess], asked: list[int]) -> int:
    """Wait for processes to end, and say which died."""
    first, until = 0, float("inf")
    while True:
        left = [one for one in started if one.exitcode is None]
        codes = {rank: one.exitcode for rank, one in enumerate(started) if one.exitcode}
        if codes and not first:
            rank, code = min(codes.items(), key=operator.itemgetter(1))  # one that died, not one that lost it
            first, until = _told(rank, code, len(started), bool(asked)), time.monotonic() + GRACE
        if not left or time.monotonic() > until:
            return first
        connection.wait([one.sentinel for one in left], 1.0)


def _told(rank: int, code: int, count: int, asked: bool) -> int:
    """Return the exit code that a process's own comes to, having said what it does not say itself."""
    if code > 0:
        return code
    if asked:
        print("interrupted; a checkpoint, if there is one, is what --resume goes on from", file=sys.stderr)
        return 130
    died = f"process {rank} of {count} died of {signal.Signals(-code).name}"
    print(f"{died}; --resume goes on from the last checkpoint", file=sys.stderr)
    return 1


def _begin(rank: int, count: int, port: int, command: Callable[..., int], arguments: tuple[Any, ...]) -> None:
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ.update({"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in places.items()}})
    threading.Thread(target=_follow, daemon=True).start()
    sys.exit(command(*arguments))


def _follow() -> None:
    """Ask this process to end once the one that started it is gone."""
    above = parent_process()
    if above is not None:
        connection.wait([above.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
