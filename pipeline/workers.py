"""Worker processes on one machine, forked from one process that has imported everything, for Beam's embedded runner.

The driver starts `python -m pipeline.workers` before it imports Beam itself; that process imports Beam and the stages,
then forks a worker whenever it reads a line `worker id, address` from its standard input, before gRPC was ever used in it.
So imports are paid for once, and their memory is shared. Nobody outlives the driver: when the input ends, the process
kills its workers and ends; a worker whose parent is gone ends itself. A worker that dies fails the run at once, with what
it died of, where Beam's own worker processes would let the run wait for ever.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

URN = "corpusmill:environment:forked:v1"


class Workers:
    """The process that workers are forked from. To be started before gRPC, and before long imports."""

    def __init__(self, count: int, log: IO[bytes] | None = None) -> None:
        """Start it, for `count` workers; what they say on stderr goes to `log` (None: where the caller's goes)."""
        self.count = count
        self.lost = ""  # what became of a worker that nobody ended
        self._handlers: list[Any] = []
        self._ended = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.workers"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # our code, not another's
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        self._watcher = threading.Thread(target=self._watch, name="workers", daemon=True)
        self._watcher.start()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def fork(self, handler: Any) -> None:
        """Fork a worker for one of the runner's handlers."""
        self._handlers.append(handler)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the watching thread knows why
            self._process.stdin.write(f"{handler.worker_id} {handler.control_address}\n".encode())
            self._process.stdin.flush()

    def close(self) -> None:
        """End the workers, at once, whatever they are doing."""
        self._ended.set()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._watcher.join()

    def _watch(self) -> None:
        """Fail what the runner waits for, now and later, once a worker is lost."""
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            said = stream.read().decode().strip()
        status = self._process.wait()
        self.lost = said or (f"the process that forks the workers ended: {_ending(status)}" if status else "")
        while not self._ended.wait(0.1):
            for handler in self._handlers:
                handler.fail(self.lost)


def _ending(status: int) -> str:
    """Say how a process ended, by its exit status as `subprocess` gives it."""
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    return f"{name}; was the machine out of memory?" if name == "SIGKILL" else name


def runner(workers: Workers) -> Any:
    """Return a Beam runner that is the embedded one, but for where its workers come from."""
    from apache_beam.portability.api import beam_fn_api_pb2
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.runners.portability.fn_api_runner.worker_handlers import GrpcWorkerHandler, WorkerHandler
    from apache_beam.transforms.environments import Environment
    from grpc import RpcError

    logging.getLogger("apache_beam.runners.worker.data_plane").setLevel(logging.CRITICAL)

    @WorkerHandler.register_environment(URN, None)
    class Handler(GrpcWorkerHandler):
        """What the runner knows of one worker."""

        def __init__(self, payload: None, *others: Any) -> None:
            super().__init__(*others)
            # Beam's threads die of a broken connection with a traceback each; `fail` says what broke it
            reads = self.data_conn._read_inputs
            self.data_conn._read_inputs = lambda inputs: _until_broken(reads, inputs)
            read = self.control_conn._read
            self.control_conn._read_thread = threading.Thread(target=_until_broken, args=(read,), daemon=True)

        def close(self) -> None:
            _until_broken(super().close)

        def start_worker(self) -> None:
            workers.fork(self)

        def stop_worker(self) -> None:
            pass

        def fail(self, why: str) -> None:
            """Answer everything that this worker was asked with an error."""
            for number in list(self.control_conn._futures_by_id):
                answer = beam_fn_api_pb2.InstructionResponse(instruction_id=number, error=why)
                if future := self.control_conn._futures_by_id.pop(number, None):
                    future.set(answer)

    def _until_broken(read: Callable[..., None], *arguments: Any) -> None:
        with suppress(RpcError):
            read(*arguments)

    class Forked(Environment):
        """A worker forked on this machine."""

        def to_runner_api_parameter(self, context: Any) -> tuple[str, bytes]:
            return URN, b""

    class ForkRunner(FnApiRunner):
        """The embedded runner with forked workers; a bundle that fails ends them, for nobody needs the others' answers."""

        def run_via_runner_api(self, *arguments: Any) -> Any:
            self._num_workers = workers.count
            return super().run_via_runner_api(*arguments)

        def _execute_bundle(self, *arguments: Any) -> Any:
            try:
                return super()._execute_bundle(*arguments)
            except BaseException as error:
                workers.close()
                if workers.lost and isinstance(error, Exception):
                    raise RuntimeError(workers.lost) from error
                raise

    return ForkRunner(default_environment=Forked())


def serve() -> int:
    """Fork a worker for every line of the standard input; say on the standard output which one was lost."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver hears it too, and closes our input
    _import_everything()
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    alive, only_here = os.pipe()  # workers read the first end; it ends when this process does
    workers: set[int] = set()
    waiting = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 1 << 10)
        while (ended := _reap()) is not None:
            pid, status = ended
            workers.discard(pid)
            if status:
                print(f"a worker process ended: {_ending(status)}", flush=True)
                _kill(workers)
                return 1
        if 0 in ready:
            data = os.read(0, 1 << 16)
            if not data:
                break
            *lines, waiting = (waiting + data).split(b"\n")
            for line in lines:
                worker, address = line.decode().split(" ")
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    for end in (woken, wakes, only_here):
                        os.close(end)
                    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                    os.dup2(2, 1)
                    _work(worker, address, alive)
                workers.add(pid)
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


def _import_everything() -> None:
    """Import what workers need, and load the kernels that every run calls, so that they share it."""
    import pyarrow as pa

    from pipeline import starting

    starting.start()
    starting.import_beam()
    starting.import_numba()
    from apache_beam.runners.portability.fn_api_runner import worker_handlers  # noqa: F401
    from apache_beam.runners.worker import sdk_worker  # noqa: F401

    import pipeline.graph
    import pipeline.stages  # noqa: F401
    from filters.sketch import bands

    pa.set_cpu_count(1)
    bands(pa.array(["A first text loads what numba loads late."], pa.large_string()))


def _work(worker: str, address: str, alive: int) -> None:
    """Be a worker until the runner is done with it; never return."""
    status = 1
    try:
        threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
        from apache_beam.runners.portability.fn_api_runner.worker_handlers import FNAPI_RUNNER_CAPABILITIES
        from apache_beam.runners.worker.sdk_worker import SdkHarness

        SdkHarness(address, worker_id=worker, runner_capabilities=FNAPI_RUNNER_CAPABILITIES).run()
        status = 0
    except Exception:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _end_with_parent(alive: int) -> None:
    os.read(alive, 1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(serve())
