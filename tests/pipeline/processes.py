"""Real servers for tests, in processes of their own; and a proxy that cuts connections to them, or answers for them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(port: int, host: str = "127.0.0.1", seconds: float = 60) -> None:
    """Return once something listens; raise TimeoutError if nothing does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as client:
            client.settimeout(1)
            if client.connect_ex((host, port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing answers on {host}:{port}")


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process of ours: this checkout is what it imports."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{BIN}:{os.environ['PATH']}", **more}


@contextmanager
def running(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process, and the processes it starts, until the block ends; its words go to a file."""
    with log.open("ab") as stream:
        process = subprocess.Popen(command, env=env, stdout=stream, stderr=stream, start_new_session=True)
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
                process.wait(3)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        process.wait()


@contextmanager
def s3_server(log: Path, host: str = "127.0.0.1") -> Iterator[dict[str, str]]:
    """Run an S3 server with a bucket `corpora`; yield the environment in which S3 clients find it."""
    import boto3

    port = free_port()
    with running([sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)], log, environment()):
        wait_for(port, host)
        found = s3_environment(f"http://{host}:{port}")
        client = boto3.client(
            "s3",
            endpoint_url=found["AWS_ENDPOINT_URL"],
            aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
            region_name=found["AWS_DEFAULT_REGION"],
        )
        client.create_bucket(Bucket="corpora")
        client.close()
        yield found


def s3_environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


Fault = str | int
"""What becomes of a request: "cut" ends its connection half-way through the body, a number is the status it is answered."""


class Proxy:
    """A proxy before a server on this machine, which does to requests what networks and busy servers do.

    `faults` names them: (bytes of the request line, how many times, fault). `met` says which came to pass.
    """

    def __init__(self, port: int) -> None:
        self.faults: list[tuple[bytes, int, Fault]] = []
        self.met: list[tuple[bytes, Fault]] = []
        self._target = port
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Pass a connection on, request by request; where one side is gone, end the other's."""
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
            threading.Thread(target=_pump, args=(server, client), daemon=True).start()
            with client.makefile("rb") as requests, suppress(OSError):
                self._pass(requests, client, server)
            _end(client, server)

    def _pass(self, requests: BufferedReader, client: socket.socket, server: socket.socket) -> None:
        while head := _head(requests):
            fault, length = self._fault(head), _length(head)
            if isinstance(fault, int):
                answer = f"HTTP/1.1 {fault} Fault\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                client.sendall(answer.encode())  # at once: the client may wait for a word before its body
                client.shutdown(socket.SHUT_WR)
                requests.read(length)
                return
            server.sendall(head)
            left = length // 2 if fault else length
            while left and (piece := requests.read1(min(left, 1 << 16))):
                server.sendall(piece)
                left -= len(piece)
            if fault:
                return

    def _fault(self, head: bytes) -> Fault | None:
        line = head.split(b"\r\n", 1)[0]
        with self._lock:
            for index, (pattern, times, fault) in enumerate(self.faults):
                if pattern in line and times:
                    self.faults[index] = (pattern, times - 1, fault)
                    self.met.append((line, fault))
                    return fault
        return None


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    _end(source, target)


def _end(*connections: socket.socket) -> None:
    for one in connections:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _head(requests: BufferedReader) -> bytes:
    """Return the lines of a request up to the empty one; nothing at the end of the connection."""
    head = b""
    while line := requests.readline():
        head += line
        if line == b"\r\n":
            return head
    return b""


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(found[1]) if found else 0
