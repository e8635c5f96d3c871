"""Forked worker processes: what they give is what one process gives, and whatever ends a run ends them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.manifest import RunError
from pipeline.recipe import parse
from pipeline.run import run
from pipeline.workers import receive, send
from tests.pipeline.corpora import documents, write_jsonl

SIGNAL = """
import os, signal as signals, time
import pyarrow as pa
from filters.signal import signal

@signal(fate=pa.int32())
def fate(text):
    with open({pids!r} + f"/{{os.getpid()}}", "w"):
        pass
    {does}
    return [1] * len(text)
"""


def recipe_whose_signal(does: str, folder: Path) -> dict[str, object]:
    """Write two files of documents and a plugin that does something in each worker; return a recipe of them."""
    (folder / "pids").mkdir()
    (folder / "mine.py").write_text(SIGNAL.format(pids=str(folder / "pids"), does=does), encoding="utf-8")
    for number in range(4):
        write_jsonl(folder / f"{number}.jsonl", documents(20, 100 * number))
    corpora = {"a": {"read": {"format": "jsonl", "paths": "*.jsonl"}, "rules": {"fate": {"min": 0}}}}
    return {"corpora": corpora, "plugins": "mine.py", "shards": {"tokenizer": {"train": 300}}}


def workers(folder: Path) -> list[int]:
    return [int(path.name) for path in (folder / "pids").iterdir()]


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until(what, seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def start(recipe: dict[str, object], folder: Path) -> subprocess.Popen[bytes]:
    """Start a run of two workers in a process of its own."""
    script = (
        "import json, sys\nfrom pipeline.recipe import parse\nfrom pipeline.run import run\n"
        "run(parse(json.loads(sys.argv[1]), base=sys.argv[2]), sys.argv[2] + '/run', workers=2)"
    )
    command = [sys.executable, "-c", script, json.dumps(recipe), str(folder)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE)


def test_two_workers_share_the_work_and_neither_outlives_the_run(tmp_path):
    outcome = run(parse(recipe_whose_signal("pass", tmp_path), base=str(tmp_path)), str(tmp_path / "run"), workers=2)
    assert outcome.manifest["documents"]["read"] == 80
    assert len(workers(tmp_path)) == 2
    assert os.getpid() not in workers(tmp_path)
    assert not any(alive(pid) for pid in workers(tmp_path))


def test_what_a_stage_raises_fails_the_run_with_its_words(tmp_path):
    raising = recipe_whose_signal("raise ValueError('a fault of mine')", tmp_path)
    with pytest.raises(RunError, match="ValueError: a fault of mine"):
        run(parse(raising, base=str(tmp_path)), str(tmp_path / "run"), workers=2)
    assert not any(alive(pid) for pid in workers(tmp_path))


@pytest.mark.parametrize("number", ["SIGKILL", "SIGSEGV"])
def test_a_worker_that_dies_fails_the_run_at_once_and_says_of_what(number, tmp_path):
    dying = recipe_whose_signal(f"os.kill(os.getpid(), signals.{number})", tmp_path)
    started = time.monotonic()
    with pytest.raises(RunError, match=f"a worker process ended: {number}"):
        run(parse(dying, base=str(tmp_path)), str(tmp_path / "run"), workers=2)
    assert time.monotonic() - started < 150
    assert not any(alive(pid) for pid in workers(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_do_not_outlive_a_driver_that_is_ended(number, tmp_path):
    driver = start(recipe_whose_signal("time.sleep(600)", tmp_path), tmp_path)
    wait_until(lambda: len(workers(tmp_path)) == 2)
    os.kill(driver.pid, number)
    _, said = driver.communicate(timeout=30)
    assert driver.returncode != 0
    assert (b"KeyboardInterrupt" in said) == (number == signal.SIGINT)
    wait_until(lambda: not any(alive(pid) for pid in workers(tmp_path)), 10)


def test_workers_end_with_the_process_that_forked_them_and_the_run_fails(tmp_path):
    driver = start(recipe_whose_signal("time.sleep(600)", tmp_path), tmp_path)
    wait_until(lambda: len(workers(tmp_path)) == 2)
    (parent,) = {
        int(line.split()[1])
        for pid in workers(tmp_path)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("PPid:")
    }
    os.kill(parent, signal.SIGKILL)
    _, said = driver.communicate(timeout=120)
    assert driver.returncode != 0
    assert b"the process that forks the workers ended: SIGKILL" in said
    wait_until(lambda: not any(alive(pid) for pid in workers(tmp_path)), 10)


def test_a_worker_that_is_free_takes_the_next_call(tmp_path):
    does = """try:
        os.close(os.open({!r}, os.O_CREAT | os.O_EXCL))
        time.sleep(3)
    except FileExistsError:
        pass
    with open(f"{}-{{os.getpid()}}", "a") as file:
        file.write("x")""".format(str(tmp_path / "first"), tmp_path / "calls")
    recipe = recipe_whose_signal(does, tmp_path)
    for number in range(12):
        write_jsonl(tmp_path / f"{number}.jsonl", documents(3, 100 * number))
    run(parse(recipe, base=str(tmp_path)), str(tmp_path / "run"), workers=2)
    calls = sorted(len(path.read_text()) for path in tmp_path.glob("calls-*"))
    assert sum(calls) == 12
    assert calls[0] <= 3


@given(st.dictionaries(st.text(), st.integers()), st.lists(st.binary()))
def test_any_bytes_pass_from_one_end_to_the_other(head, parts):
    one, other = socket.socketpair()
    with one, other, other.makefile("rb") as stream:
        send(one, {"head": head}, parts)
        found = receive(stream)
        assert found is not None
        assert (found[0]["head"], found[1]) == (head, parts)
        one.sendall((100).to_bytes(8, "little") + b"{")
        one.close()
        assert receive(stream) is None
