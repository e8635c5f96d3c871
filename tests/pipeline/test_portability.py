"""The same recipe on Beam's portable runner Prism, over the job API, with external workers: the same published bytes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zstandard

from pipeline.recipe import parse
from pipeline.run import run
from tests.conftest import SHARED
from tests.pipeline.corpora import recipe, write_corpora
from tests.pipeline.test_run import published


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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


@pytest.fixture
def endpoints(prism, tmp_path) -> Iterator[tuple[int, int]]:
    """Start Prism and a pool of external workers; yield their ports; leave no process behind."""
    job, pool = free_port(), free_port()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONSAFEPATH": "1"}
    workers = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={pool}"]
    with ExitStack() as stack:
        log = stack.enter_context((tmp_path / "log").open("wb"))
        for command in ([str(prism), f"--job_port={job}", "--serve_http=false"], workers):
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
            stack.callback(process.wait)
            stack.callback(lambda one=process: os.killpg(one.pid, 15))
        for port in (job, pool):
            _wait_for(port)
        yield job, pool


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing answers on port {port}")


def test_prism_publishes_the_same_bytes_as_the_embedded_runner(endpoints, tmp_path):
    job, pool = endpoints
    write_corpora(tmp_path / "sources")
    semantic = recipe(sample={"semantic": {"model": "bundled", "clusters": 3, "similarity": 0.9}})
    plan = parse(semantic, base=str(tmp_path / "sources"))
    options = [
        "--runner=PortableRunner",
        f"--job_endpoint=localhost:{job}",
        "--environment_type=EXTERNAL",
        f"--environment_config=localhost:{pool}",
    ]
    run(plan, str(tmp_path / "prism"), options=options)
    run(plan, str(tmp_path / "embedded"))
    assert published(tmp_path / "prism") == published(tmp_path / "embedded")
    shutil.rmtree(tmp_path / "prism")
