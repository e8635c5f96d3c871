"""The command: folders of shards in, an answer out; arms that are there are not computed again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ablate import workers
from ablate.folder import Folder
from pipeline.cli import main
from pipeline.vocabulary import train_tokenizer
from tests.ablate.conftest import corpora, noisy
from tests.train.conftest import write_folder


@pytest.fixture(autouse=True)
def our_own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arms are computed in processes, which must find this very tree."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))


def test_from_shards_to_a_report_and_finished_arms_stay(
    folder: Callable[..., Folder],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    few = {name: ones[:12] for name, ones in corpora().items()}
    raw, curated, out = folder("raw", noisy(few)).path, folder("curated", few).path, tmp_path / "out"
    command = ["train", "ablate", "--raw", str(raw), "--curated", str(curated)]
    command += ["--out", str(out), "--tokens", "2000", "--seeds", "1", "--longer", "1"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "For curated's loss, raw needs" in printed.out
    assert "one seed has no range" in printed.err
    found = json.loads((out / "ablation.json").read_text())
    assert sorted(found["summary"]) == ["curated", "random", "raw"]
    assert found["summary"]["raw"]["tokens"]["mean"] >= 2000
    assert "| code |" in (out / "ablation.md").read_text()
    assert (out / "ablation.svg").read_text().startswith("<svg")

    started: list[str] = []
    monkeypatch.setattr(workers, "_start", lambda job, *rest: started.append(job.arm))
    (out / "ablation.md").unlink()
    assert main([*command, "--quiet"]) == 0
    assert not started
    assert (out / "ablation.md").is_file()
    assert json.loads((out / "ablation.json").read_text()) == found


def test_what_cannot_be_compared_is_one_line_and_code_2(
    folder: Callable[..., Folder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    mine = str(folder("mine").path)
    texts = corpora()
    other = str(write_folder(tmp_path / "other", texts, train_tokenizer(texts["code"], 400)))
    out = ["--out", str(tmp_path / "out")]
    for arguments, said in (
        (["--raw", other, "--curated", mine], "has the tokenizer"),
        (["--raw", str(tmp_path / "no\x1b"), "--curated", mine], "no shards there"),
        (["--raw", "s3://bucket/run", "--curated", mine], "local disk"),
        (["--raw", mine, "--curated", mine, "--arm", mine], "NAME=RUN"),
        (["--raw", mine, "--curated", mine, "--arm", f"raw={mine}"], "NAME=RUN"),
        (["--raw", mine, "--curated", mine, "--arm", f"a={mine}", "--arm", f"a={mine}"], "a name of its own"),
        (["--raw", mine, "--curated", mine, "--seeds", "0"], "at least 1"),
        (["--raw", mine, "--curated", mine, "--longer", "nan"], "at least 1"),
        (["--raw", mine, "--curated", mine, "--longer", "inf"], "at least 1"),
        (["--raw", mine, "--curated", mine, "--workers", "-1"], "--workers -1"),
        (["--raw", mine, "--curated", mine, "--preset", "huge"], "no preset"),
        (["--raw", mine, "--curated", mine, "--preset", "v3-671b"], "billion weights needs"),
    ):
        assert main(["ablate", *arguments, *out]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert len(error.splitlines()) == 1
        assert "\x1b" not in error


def children(of: int) -> list[int]:
    path = Path(f"/proc/{of}/task/{of}/children")
    return [int(one) for one in path.read_text().split()] if path.exists() else []


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for child processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_comparison_leaves_no_process_behind(
    folder: Callable[..., Folder], tmp_path: Path, number: signal.Signals
):
    mine = str(folder("mine").path)
    command = ["ablate", "--raw", mine, "--curated", mine, "--out", str(tmp_path / "out"), "--tokens", "900000"]
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *command, "--workers", "1"], stderr=subprocess.PIPE
    ) as run:
        deadline = time.monotonic() + 120
        while not (own := children(run.pid)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(own) == 1
        time.sleep(1)
        run.send_signal(number)
        assert run.wait(60) in (130, -signal.SIGKILL)
    while any(_alive(child) for child in own) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_alive(child) for child in own)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
