"""The same recipe on a real Dask cluster: a scheduler and workers, as processes and as hosts; also when one is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from pipeline.cli import main
from pipeline.engine import EngineError, options_of
from pipeline.manifest import RunError
from pipeline.recipe import parse
from pipeline.run import run
from tests.conftest import SHARED
from tests.pipeline.corpora import documents, earlier, recipe, write_corpora, write_everything, write_jsonl
from tests.pipeline.hosts import Host, namespaces, plain
from tests.pipeline.processes import environment, free_port, running, s3_server, wait_for
from tests.pipeline.test_run import PUBLISHED, published

pytest.importorskip("distributed", reason="needs the extra [dask]")
DASK = [sys.executable, "-m", "dask"]


@dataclass
class Cluster:
    """A scheduler, and a process group for each worker."""

    engine: str
    workers: list[subprocess.Popen[bytes]]
    logs: Path


@contextmanager
def cluster(hosts: list[Host], logs: Path, env: dict[str, str]) -> Iterator[Cluster]:
    """Run a scheduler here and one worker with one thread on each host, and wait until all have come."""
    from distributed import Client

    here, port = hosts[0].here, free_port()
    with ExitStack() as stack:
        scheduler = [*DASK, "scheduler", "--host", here, "--port", str(port), "--no-dashboard"]
        stack.enter_context(running(scheduler, logs / "scheduler.log", env))
        wait_for(port, here)
        started = []
        for host in hosts:
            folder = logs / host.name
            folder.mkdir()
            command = [*DASK, "worker", f"tcp://{here}:{port}", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
            command += ["--local-directory", str(folder) if not host.prefix else "."]
            command += ["--death-timeout", "60", "--name", host.name]
            started.append(stack.enter_context(host.running(command, logs / f"{host.name}.log", env)))
        with Client(f"tcp://{here}:{port}", timeout=60) as client:
            client.wait_for_workers(len(hosts), timeout=120)
        yield Cluster(f"dask://{here}:{port}", started, logs)


@pytest.fixture(scope="module")
def local_cluster(tmp_path_factory) -> Iterator[Cluster]:
    with plain(2) as hosts, cluster(hosts, tmp_path_factory.mktemp("cluster"), environment()) as found:
        yield found


def test_two_dask_workers_publish_the_same_bytes_as_the_embedded_runner(local_cluster, tmp_path):
    sources = tmp_path / "sources"
    one = parse(write_everything(sources), base=str(sources))
    run(parse(earlier(), base=str(sources)), str(sources / "earlier"))
    run(one, str(tmp_path / "dask"), options=options_of(local_cluster.engine))
    run(one, str(tmp_path / "embedded"))
    assert published(tmp_path / "dask") == published(tmp_path / "embedded")
    assert run(one, str(tmp_path / "dask"), options=options_of(local_cluster.engine)).already


def test_a_stage_that_fails_is_told_in_one_line(local_cluster, tmp_path):
    source = "import pyarrow as pa\nfrom filters.signal import signal\n\n\n"
    source += "@signal(zero=pa.int32())\ndef zero(text):\n    return 1 // 0\n"
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    write_jsonl(tmp_path / "a.jsonl", documents(3))
    own = {"corpora": {"a": {"read": {"format": "jsonl", "paths": "a.jsonl"}, "rules": {"zero": {"min": 1}}}}}
    with pytest.raises(RunError, match=r"the run failed: .*division"):
        run(
            parse({**own, "plugins": "mine.py"}, base=str(tmp_path)),
            str(tmp_path / "run"),
            options=options_of(local_cluster.engine),
        )


def test_an_address_that_is_none_or_where_no_scheduler_is_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pipeline.engine.CONNECT_SECONDS", 1)
    with pytest.raises(EngineError, match=r"give dask://HOST:PORT"):
        options_of("dask:8786")
    write_jsonl(tmp_path / "a.jsonl", documents(3))
    (tmp_path / "recipe.yaml").write_text("corpora: {a: {read: {format: jsonl, paths: a.jsonl}}}", encoding="utf-8")
    command = ["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run"), "--quiet"]
    assert main([*command, "--engine", f"dask://127.0.0.1:{free_port()}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no Dask scheduler answers" in line


@pytest.fixture(params=["namespaces", "processes"])
def hosts(request, tmp_path) -> Iterator[list[Host]]:
    """Two hosts: in namespaces, with nothing of this machine's but the network; and as plain processes, which always can be."""
    with ExitStack() as stack:
        if request.param == "processes":
            yield stack.enter_context(plain(2))
            return
        try:
            found = stack.enter_context(namespaces(2, tmp_path))
        except PermissionError as error:
            pytest.skip(f"no hosts in namespaces: {error}")
        yield found


def submitted(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "pipeline.cli", "run", *command, "--quiet"]
    return subprocess.run(whole, env=env, capture_output=True, text=True, timeout=1200)


def test_hosts_that_do_not_see_the_run_folder_or_the_sources_are_named(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", documents(3))
    (tmp_path / "recipe.yaml").write_text("corpora: {a: {read: {format: jsonl, paths: a.jsonl}}}", encoding="utf-8")
    logs = tmp_path.parent / f"{tmp_path.name}-logs"
    logs.mkdir()
    with ExitStack() as stack:
        try:
            found = stack.enter_context(namespaces(1, tmp_path))
        except PermissionError as error:
            pytest.skip(f"no hosts in namespaces: {error}")
        storage = stack.enter_context(s3_server(logs / "s3.log", found[0].here))
        env = environment(**storage)
        running_cluster = stack.enter_context(cluster(found, logs, env))
        for out, message in ((str(tmp_path / "run"), "does not see the run folder"), ("s3://corpora/run", "a.jsonl")):
            done = submitted([str(tmp_path / "recipe.yaml"), "--out", out, "--engine", running_cluster.engine], env)
            assert done.returncode == 2
            (line,) = done.stderr.splitlines()
            assert "worker-0" in line
            assert message in line
            assert "storage that all workers share" in line


def real_recipe(files: Callable[[str], None]) -> dict[str, Any]:
    """Return a recipe for a part of the real data, or for generated corpora where there is none; `files` gets what it reads."""
    whole = recipe()
    if (SHARED / "data" / "web").is_dir():
        for name in (
            "web/crawl-00.warc.gz",
            "web/crawl-01.wet.gz",
            "neardup/neardup.jsonl.zst",
            "books/books.jsonl.zst",
            "eval/BIG-Bench-Hard/bbh__navigate.json.zst",
        ):
            files(name)
        whole["corpora"] = {
            "web": {
                "read": {"format": "warc", "paths": "web/*.warc.gz"},
                "edits": ["main_text", "repair_text"],
                "presets": ["gopher_quality", "fineweb"],
            },
            "extracted": {"read": {"format": "wet", "paths": "web/*.wet.gz"}, "presets": ["gopher_quality"]},
            "neardup": {"read": {"format": "jsonl", "paths": "neardup/*.zst"}},
            "books": {"read": {"format": "jsonl", "paths": "books/*.zst"}, "edits": ["gutenberg"]},
        }
        whole["decontaminate"] = {
            "navigate": {"paths": "eval/BIG-Bench-Hard/bbh__navigate.json.zst", "fields": ["input"]}
        }
        whole["deduplicate"]["exact"] = [{"unit": "document"}, {"unit": "line", "characters": 40, "occurrences": 2}]
        whole["deduplicate"]["substring"] = {"words": 50}
        whole["deduplicate"]["priority"] = ["books", "web", "extracted", "neardup"]
        whole["shards"] = {"tokenizer": {"train": 2000}, "tokens": 1_000_000}
    else:
        whole["corpora"]["code"]["read"] = {"format": "text", "paths": "tree/project/*.py"}
    return whole | {"sample": {"semantic": {"model": "bundled", "clusters": 16, "similarity": 0.95}}}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_hosts_that_share_only_s3_lose_nothing_when_one_is_killed(hosts, tmp_path):
    logs = tmp_path.parent / f"{tmp_path.name}-logs"
    logs.mkdir()
    write_corpora(tmp_path / "generated")
    with s3_server(logs / "s3.log", hosts[0].here) as storage:
        env = environment(**storage)
        client = boto3.client("s3", **credentials(storage))

        def names(below: str) -> list[str]:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket="corpora", Prefix=below)
            return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

        def upload(name: str, folder: Path = SHARED / "data") -> None:
            client.upload_file(str(folder / name), "corpora", f"sources/{name}")

        whole = real_recipe(upload)
        if "neardup" not in whole["corpora"]:
            for path in (tmp_path / "generated").rglob("*"):
                if path.is_file():
                    upload(path.relative_to(tmp_path / "generated").as_posix(), tmp_path / "generated")
        client.put_object(Bucket="corpora", Key="sources/recipe.yaml", Body=json.dumps(whole).encode())
        command = ["s3://corpora/sources/recipe.yaml", "--workers", "1", "--out"]
        done = submitted([*command, str(tmp_path / "embedded")], env)
        assert done.returncode == 0, done.stderr

        with cluster(hosts, logs, env) as found:
            started = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", "run", *command, "s3://corpora/run", "--engine", found.engine],
                env=env,
                stderr=subprocess.PIPE,
                text=True,
            )
            _wait_until(lambda: len(names("run/work/measured/")) >= 2 or started.poll() is not None)
            assert started.poll() is None, started.communicate()[1]
            os.killpg(found.workers[0].pid, signal.SIGKILL)
            _, said = started.communicate(timeout=1200)
            assert started.returncode == 0, said
            assert found.workers[0].wait() == -signal.SIGKILL
        local = published(tmp_path / "embedded")
        assert {name: client.get_object(Bucket="corpora", Key=f"run/{name}")["Body"].read() for name in local} == local
        assert sorted(name for folder in PUBLISHED for name in names(f"run/{folder}/")) == sorted(
            f"run/{name}" for name in local if name != "manifest.json"
        )
        assert json.loads(local["manifest.json"])["documents"]["kept"] > 10
        client.close()
    shutil.rmtree(logs)


def credentials(storage: dict[str, str]) -> dict[str, str]:
    return {
        "endpoint_url": storage["AWS_ENDPOINT_URL"],
        "aws_access_key_id": storage["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": storage["AWS_SECRET_ACCESS_KEY"],
        "region_name": storage["AWS_DEFAULT_REGION"],
    }


def _wait_until(condition: Callable[[], bool], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)
