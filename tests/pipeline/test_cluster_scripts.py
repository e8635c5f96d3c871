"""The scripts of `cluster/`: Dask's are run for real; of Flink's, whose engine is not there, what can be seen without it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.corpora import recipe, write_corpora
from tests.pipeline.processes import BIN, ROOT, environment, free_port

SCRIPTS = ROOT / "cluster"
pytest.importorskip("distributed", reason="needs the extra [dask]")


@pytest.fixture
def script(tmp_path):
    """Run a script with its state in the test's folder."""
    port = free_port()

    def run(name: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        settings = {"CORPUSMILL_BIN": str(BIN), "CORPUSMILL_STATE": str(tmp_path / "state"), "CORPUSMILL_WORKERS": "2"}
        env = environment(**settings, CORPUSMILL_PORT=str(port), **more)
        command = ["sh", str(SCRIPTS / name), *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=280)

    yield run
    run("dask.sh", "stop")


@pytest.mark.parametrize("name", ["dask.sh", "flink.sh"])
def test_help_names_every_verb_and_setting(script, name):
    shown = script(name, "help")
    assert (shown.returncode, shown.stderr) == (0, "")
    code = (SCRIPTS / name).read_text(encoding="utf-8")
    verbs = re.findall(r"(?m)^(\w+)\)$", code)
    assert len(verbs) >= 3
    assert all(f"{name} {verb}" in shown.stdout for verb in verbs)
    settings = {part.split("}")[0].split(":")[0] for part in code.split("${")[1:] if part.startswith("CORPUSMILL_")}
    assert all(setting in shown.stdout for setting in settings)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("dask.sh", ["begin"], "unknown: begin"),
        ("dask.sh", ["workers", "8786"], "HOST:PORT"),
        ("dask.sh", ["submit", "h:1"], "recipe"),
        ("flink.sh", ["submit", "h:1", "recipe.yaml"], "set CORPUSMILL_FLINK_JOB_SERVER_JAR"),
        ("flink.sh", ["submit", "8081", "recipe.yaml"], "HOST:PORT"),
        ("flink.sh", ["stop"], "no pool was started here"),
    ],
)
def test_what_cannot_be_done_is_told(script, name, arguments, message):
    done = script(name, *arguments, CORPUSMILL_FLINK_JOB_SERVER_JAR="")
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]


def test_a_cluster_is_started_used_and_stopped(script, tmp_path):
    write_corpora(tmp_path / "sources")
    (tmp_path / "sources" / "recipe.yaml").write_text(json.dumps(recipe()), encoding="utf-8")
    started = script("dask.sh", "scheduler")
    assert started.returncode == 0, started.stderr
    address = started.stdout.removeprefix("scheduler: ").strip()
    assert "runs already" in script("dask.sh", "scheduler").stderr
    assert script("dask.sh", "workers", address).stdout.startswith("workers: 2 on ")
    assert script("dask.sh", "status").stdout.count(": runs (process ") == 2
    arguments = [str(tmp_path / "sources" / "recipe.yaml"), "--out", str(tmp_path / "run")]
    done = script("dask.sh", "submit", address, *arguments, "--quiet")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "manifest.json").read_bytes())["documents"]["rejected"] == 3
    assert script("dask.sh", "stop").stdout == "workers: stopped\nscheduler: stopped\n"
    assert script("dask.sh", "status").stdout == "scheduler: none\nworkers: none\n"
    assert not list(Path(tmp_path / "state").glob("spill*"))


def test_a_worker_without_a_scheduler_ends_and_says_so(script):
    done = script("dask.sh", "workers", f"127.0.0.1:{free_port()}", CORPUSMILL_DEATH_SECONDS="3")
    assert done.returncode == 2
    assert "the workers ended" in done.stderr
