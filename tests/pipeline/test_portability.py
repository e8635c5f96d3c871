"""The same recipe through Beam's job API, with external workers, on Prism and on Flink: the same published bytes.

Dask's part of the claim is in test_dask.py: each engine is compared with the embedded one on the same recipe.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from pipeline.recipe import parse
from pipeline.run import run
from tests.conftest import SHARED
from tests.pipeline.corpora import earlier, write_everything
from tests.pipeline.processes import environment, free_port, running, wait_for
from tests.pipeline.test_run import published

JAR = "CORPUSMILL_FLINK_JOB_SERVER_JAR"


@pytest.fixture(scope="module")
def prism(tmp_path_factory) -> Path:
    """Return a Prism that can be run: the one in $CORPUSMILL_PRISM, a packed one beside the checkout, or Beam's own."""
    given = os.environ.get("CORPUSMILL_PRISM")
    if given:
        return Path(given)
    for packed in sorted((SHARED / "tools").glob("prism-*.zst")):
        unpacked = tmp_path_factory.mktemp("prism") / "prism"
        with packed.open("rb") as source, unpacked.open("wb") as target:
            zstandard.ZstdDecompressor().copy_stream(source, target)
        unpacked.chmod(0o755)
        return unpacked
    for cached in sorted(Path.home().glob(".apache_beam/cache/prism/bin/*prism*")):
        return cached
    pytest.skip("no Prism: set CORPUSMILL_PRISM to one, or run Beam's PrismRunner once so that it is in Beam's cache")


@pytest.fixture(scope="module")
def flink_jar() -> Path:
    """Return Beam's job server for Flink."""
    given = os.environ.get(JAR)
    if not given:
        pytest.skip(f"no Flink: set {JAR} to Beam's job-server jar (beam-runners-flink-2.2-job-server-2.77.0.jar)")
    if not shutil.which("java"):
        pytest.skip("no Flink: there is no `java` on the path")
    return Path(given)


@contextmanager
def worker_pool(log: Path) -> Iterator[int]:
    """Run a pool that starts external workers when a runner asks for them; yield its port."""
    port = free_port()
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    with running(command, log, environment(PYTHONSAFEPATH="1")):
        wait_for(port)
        yield port


def same_as_embedded(tmp_path: Path, options: list[str]) -> None:
    """Assert that a run with these options of Beam publishes what the embedded runner does."""
    sources = tmp_path / "sources"
    one = parse(write_everything(sources), base=str(sources))
    run(parse(earlier(), base=str(sources)), str(sources / "earlier"))
    outcome = run(one, str(tmp_path / "there"), options=options)
    assert {reason for corpus in outcome.manifest["corpora"].values() for reason in corpus["documents"]["dropped"]} >= {
        *(
            "contaminated",
            "exact_duplicate",
            "near_duplicate",
            "near_duplicate_repository",
            "semantic_duplicate",
            "mixture",
        )
    }
    run(one, str(tmp_path / "embedded"))
    assert published(tmp_path / "there") == published(tmp_path / "embedded")


def external(pool: int) -> list[str]:
    return ["--environment_type=EXTERNAL", f"--environment_config=localhost:{pool}"]


def test_prism_publishes_the_same_bytes_as_the_embedded_runner(prism, tmp_path):
    job = free_port()
    command = [str(prism), f"--job_port={job}", "--serve_http=false"]
    with running(command, tmp_path / "log", environment()), worker_pool(tmp_path / "log") as pool:
        wait_for(job)
        options = ["--runner=PortableRunner", f"--job_endpoint=localhost:{job}", *external(pool)]
        same_as_embedded(tmp_path, options)


@pytest.mark.parametrize("parallelism", [1, 2])
def test_flink_publishes_the_same_bytes_as_the_embedded_runner(flink_jar, tmp_path, parallelism):
    with worker_pool(tmp_path / "log") as pool:
        options = ["--runner=FlinkRunner", f"--flink_job_server_jar={flink_jar}", "--flink_master=[local]"]
        same_as_embedded(tmp_path, [*options, f"--parallelism={parallelism}", *external(pool)])
