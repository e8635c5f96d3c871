"""Workers as separate hosts: each in a network namespace of its own, joined to ours by a bridge, and with no file of ours.

A host shares nothing with another but the network: its mount namespace hides a folder, so what lies there is this
machine's alone. Where namespaces may not be made, hosts are plain processes, and the test says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.pipeline.processes import running


@dataclass(frozen=True)
class Host:
    """Where a worker runs: `prefix` starts a command there; `here` is our address as the host sees it."""

    name: str
    prefix: tuple[str, ...]
    here: str

    @contextmanager
    def running(self, command: Sequence[str], log: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        with running([*self.prefix, *command], log, env) as process:
            yield process


@contextmanager
def plain(count: int) -> Iterator[list[Host]]:
    """Yield hosts that are none: processes on this machine."""
    yield [Host(f"worker-{number}", (), "127.0.0.1") for number in range(count)]


@contextmanager
def namespaces(count: int, hidden: Path) -> Iterator[list[Host]]:
    """Yield hosts in namespaces, from which `hidden` is an empty folder; raise PermissionError where none may be made."""
    if os.geteuid() or not shutil.which("ip") or not shutil.which("unshare"):
        raise PermissionError("hosts of their own need root, `ip` (iproute2) and `unshare` (util-linux)")
    number = os.getpid() % 250
    name, network = f"cm{os.getpid()}", f"198.18.{number}"
    with ExitStack() as stack:

        def step(command: str, undo: str | None = None) -> None:
            done = subprocess.run(command.split(), capture_output=True, text=True)
            if done.returncode:
                raise PermissionError(f"`{command}` failed: {done.stderr.strip()}")
            if undo:
                stack.callback(subprocess.run, undo.split(), capture_output=True)

        step(f"ip link add {name} type bridge", f"ip link del {name}")
        step(f"ip addr add {network}.1/24 dev {name}")
        step(f"ip link set {name} up")
        hosts = []
        for index in range(count):
            host = f"{name}-{index}"
            step(f"ip netns add {host}", f"ip netns del {host}")
            step(f"ip link add {name}v{index} type veth peer name eth0 netns {host}")
            step(f"ip link set {name}v{index} master {name} up")
            step(f"ip -n {host} addr add {network}.{index + 11}/24 dev eth0")
            step(f"ip -n {host} link set eth0 up")
            step(f"ip -n {host} link set lo up")
            inside = f'hostname worker-{index}; mount -t tmpfs none {hidden} && cd {hidden} && exec "$@"'
            prefix = ("ip", "netns", "exec", host, "unshare", "--mount", "--uts", "sh", "-c", inside, "sh")
            step(" ".join(prefix[:6]) + " --uts true")
            hosts.append(Host(f"worker-{index}", prefix, f"{network}.1"))
        yield hosts
