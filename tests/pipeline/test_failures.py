"""Runs that fail: one line that says what, where and what to do; earlier results stay; going on gives the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.manifest import RunError
from pipeline.plan import make_plan
from pipeline.recipe import parse
from pipeline.run import described, run
from tests.pipeline.corpora import recipe, write_corpora, write_jsonl

PUBLISHED = ("documents", "ledger", "rejects", "shards")


def published(root: Path) -> dict[str, bytes]:
    files = [path for folder in PUBLISHED for path in sorted((root / folder).iterdir())]
    return {str(path.relative_to(root)): path.read_bytes() for path in [*files, root / "manifest.json"]}


def command(folder: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "pipeline.cli", "run", str(folder / "recipe.yaml"), "--out", str(out), *more]


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    write_corpora(folder)
    (folder / "recipe.yaml").write_text(json.dumps(recipe()), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def finished(sources, tmp_path_factory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("run")
    run(parse(recipe(), base=str(sources)), str(root))
    return published(root)


def test_a_full_disk_is_told_and_costs_nothing_that_was_there(sources, finished, tmp_path):
    """A limit on the size of a file stands for the disk: writing beyond it fails in the same way."""
    root = tmp_path / "run"
    other = recipe(seed=4)
    other["corpora"].pop("web")
    other["deduplicate"]["priority"] = []
    run(parse(other, base=str(sources)), str(root))
    before = published(root)
    limited = ["bash", "-c", 'ulimit -f 16; exec "$@"', "limited", *command(sources, root, "--workers", "1")]
    failed = subprocess.run([*limited, "--quiet"], capture_output=True, text=True, timeout=250)
    assert failed.returncode == 2
    (line,) = failed.stderr.splitlines()
    assert "File too large: '" in line
    assert f"'{root}/work/" in line
    assert "make room and run the same command again" in line
    assert published(root) == before
    assert not list((root / "work" / "tmp").iterdir())
    run(parse(recipe(), base=str(sources)), str(root))
    assert published(root) == finished


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["work", "work/measured"])
def test_an_interrupted_run_ends_at_once_with_its_workers_and_can_be_taken_up(
    sources, finished, tmp_path, number, when
):
    root = tmp_path / "run"
    process = subprocess.Popen(
        command(sources, root, "--workers", "2"), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not (root / when).exists():
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert told.splitlines()[-1] == "interrupted; run the same command again to go on"
    while time.monotonic() < deadline and members(process.pid):
        time.sleep(0.1)
    assert not members(process.pid)
    run(parse(recipe(), base=str(sources)), str(root))
    assert published(root) == finished


def members(session: int) -> list[int]:
    """Return the processes of a session that are still there."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and os.getsid(int(folder.name)) == session:
                found.append(int(folder.name))
        except ProcessLookupError:
            pass
    return found


def test_a_signal_that_fails_is_named_with_its_line(tmp_path):
    head = "import pyarrow as pa\nfrom filters.signal import signal\n\n\n"
    (tmp_path / "mine.py").write_text(head + "@signal(mine=pa.int32())\ndef f(text):\n    return text[9]\n")
    write_jsonl(tmp_path / "a.jsonl", [{"id": "a", "text": "one"}])
    own = {"corpora": {"a": {"read": {"format": "jsonl", "paths": "a.jsonl"}, "rules": {"mine": {"min": 1}}}}}
    with pytest.raises(RunError, match=rf"signal 'f': IndexError: .*mine\.py:7\).*\(all of it: {tmp_path}/run/work/"):
        run(parse({**own, "plugins": "mine.py"}, base=str(tmp_path)), str(tmp_path / "run"))
    assert "IndexError" in (tmp_path / "run" / "work" / "failure.log").read_text()


def test_a_tokenizer_that_changed_is_no_finished_run(finished, sources, tmp_path):
    for name, size in (("a", 300), ("b", 400)):
        run(parse(recipe(shards={"tokenizer": {"train": size}}), base=str(sources)), str(tmp_path / name))
    given = tmp_path / "tokenizer.json"
    for name in ("a", "b", "b"):
        given.write_bytes((tmp_path / name / "shards" / "tokenizer.json").read_bytes())
        outcome = run(parse(recipe(shards={"tokenizer": f"path:{given}"}), base=str(sources)), str(tmp_path / "run"))
        assert (tmp_path / "run" / "shards" / "tokenizer.json").read_bytes() == given.read_bytes()
    assert outcome.already


def test_a_plan_says_what_will_be_slow(finished, sources, tmp_path):
    run(parse(recipe(), base=str(sources)), str(tmp_path / "run"))
    given = json.loads((tmp_path / "run" / "shards" / "tokenizer.json").read_bytes())
    for split, slow in ((None, False), ("[a-z]+", True)):
        if split:
            given["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": split}
        (tmp_path / "tokenizer.json").write_text(json.dumps(given), encoding="utf-8")
        own = recipe(shards={"tokenizer": f"path:{tmp_path}/tokenizer.json"})
        plan, _ = make_plan(parse(own, base=str(sources)), str(tmp_path / "other"))
        assert ("expression that the kernels do not know" in described(plan)) == slow
    large = {name: {**source, "largest": 100 << 20} for name, source in plan.sources.items()}
    assert "is read by one worker" in described(replace(plan, sources=large))
    assert "is read by one worker" not in described(plan)
