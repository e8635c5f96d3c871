"""A page that cannot be extracted costs itself; an extractor that does not work raises; nothing outlives its parent."""

from __future__ import annotations

import multiprocessing
import multiprocessing.queues
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.edits import deadline
from pipeline.edits.deadline import ExtractionError, Failure, Worker
from pipeline.edits.extract import main_text

PAGE = "<main><h1>Title</h1><p>Seoul is 서울, and 𝒥 is one character.</p></main>"
ROOT = Path(__file__).resolve().parents[2]
# a hundred unclosed elements that a parser opens again in each of the paragraphs: gigabytes, if nothing stops it
BOMB = "<p>" + "".join(f"<font color={n}>" for n in range(300)) + "<p>x" * 300_000


def gone(process_id: int) -> bool:
    """Return whether a process has ended (a zombie that nobody waited for has, too)."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def becomes_true(claim: object, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not (now := claim()) and time.monotonic() < until:  # type: ignore[operator]
        time.sleep(0.02)
    return bool(now)


@pytest.mark.parametrize("page", [PAGE, "", "\ud800 lone", "<p>" + "긴 글 " * 300_000, "\0<p>a\0b"])
def test_a_worker_gives_what_the_extractor_gives_here(page: str) -> None:
    assert deadline.extract("main_text", page) == main_text(page.encode("utf-8", "replace").decode())


def test_a_page_past_its_deadline_costs_itself_and_the_next_page_gets_a_new_worker() -> None:
    started = time.monotonic()
    assert deadline.extract("main_text", BOMB) in (Failure("deadline"), Failure("memory"))
    assert time.monotonic() - started < 30
    assert deadline.extract("main_text", PAGE) == main_text(PAGE)


def test_a_crash_inside_a_library_costs_its_page_only() -> None:
    worker = Worker("main_text")
    os.kill(worker.process.pid, signal.SIGSEGV)
    assert worker.extract(PAGE) == Failure("crash")
    assert not worker.alive
    assert deadline.extract("main_text", PAGE) == main_text(PAGE)


def test_a_worker_killed_from_outside_is_nobodys_deadline() -> None:
    worker = Worker("main_text")
    worker.process.kill()
    with pytest.raises(ExtractionError, match="ended with -9"):
        worker.extract(PAGE)


def test_an_extractor_that_cannot_be_imported_raises_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trafilatura.py").write_text("import a_module_that_is_not_installed\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ExtractionError, match="No module named 'a_module_that_is_not_installed'"):
        Worker("main_text_precise")


def test_what_a_library_prints_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = 'def extract(page, **options):\n    print("=loud")\n    return page.upper()\n'
    (tmp_path / "trafilatura.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker = Worker("main_text_precise")
    assert worker.extract("abc") == "ABC"
    worker.close()


def test_a_worker_ends_when_its_parent_is_killed() -> None:
    program = (
        "import os, sys, signal\nfrom pipeline.edits.deadline import Worker\nworker = Worker('main_text')\n"
        "print(worker.process.pid, flush=True)\nsignal.pause()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert not gone(worker)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert becomes_true(lambda: gone(worker), 5)


def test_a_busy_worker_dies_of_its_deadline_though_its_parent_is_dead() -> None:
    program = (
        "import os, sys, threading, time\nfrom pipeline.edits.deadline import Worker\nworker = Worker('main_text')\n"
        "page = '<p>' + ''.join(f'<font a{n}>' for n in range(300)) + '<p>x' * 300_000\n"
        "threading.Thread(target=worker.extract, args=(page,), daemon=True).start()\ntime.sleep(1)\n"
        "print(worker.process.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment, check=False)
    assert becomes_true(lambda: gone(int(done.stdout)), 30)


def test_threads_do_not_mix_their_pages_up() -> None:
    wrong: list[object] = []

    def extract_many(number: int) -> None:
        for turn in range(40):
            page = f"<main><p>page {number} turn {turn} {'x' * number * 100}</p></main>"
            found = deadline.extract("main_text", page)
            if found != main_text(page):
                wrong.append(found)

    threads = [threading.Thread(target=extract_many, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def _extract_in_child(answers: multiprocessing.queues.Queue[object]) -> None:
    answers.put(deadline.extract("main_text", "<p>from the child</p>"))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_gets_workers_of_its_own() -> None:
    assert deadline.extract("main_text", PAGE) == main_text(PAGE)
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.queues.Queue[object] = context.Queue()
    children = [context.Process(target=_extract_in_child, args=(answers,)) for _ in range(2)]
    for child in children:
        child.start()
    assert [answers.get(timeout=60) for _ in children] == ["from the child"] * 2
    assert deadline.extract("main_text", PAGE) == main_text(PAGE)
    for child in children:
        child.join()
        assert child.exitcode == 0


def test_closing_ends_the_workers_and_the_next_page_starts_one() -> None:
    deadline.extract("main_text", PAGE)
    workers = [worker.process.pid for worker in deadline._pool.all]
    assert workers
    deadline.close()
    assert all(gone(worker) for worker in workers)
    assert deadline.extract("main_text", PAGE) == main_text(PAGE)
