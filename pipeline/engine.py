"""Engines other than this machine: what `--engine` says as options of Beam, and what a Dask cluster needs besides.

A Dask cluster runs the graph through Beam's own DaskRunner. Before work starts, each of its workers is asked whether it
runs the same code and sees the run folder and the sources: what only this machine has is told at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.plan import code
from pipeline.read.files import HOST, describe
from pipeline.read.source import SourceError
from pipeline.store import Store

DASK_RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"
GROUPS_PER_THREAD = 8
"""Partitions that a Dask worker's thread finds after each GroupByKey: enough that none waits long for the last."""
MOST_GROUPS = 256
"""Each depends on all of the stage before, and a scheduler keeps the square of them in mind."""
CONNECT_SECONDS = 10


class EngineError(ValueError):
    """An engine that cannot be used: says which, what was found, and what would be right."""


def options_of(engine: str) -> list[str]:
    """Return the options of Beam for `dask://HOST:PORT`, the address of a scheduler; raise EngineError."""
    found = re.fullmatch(r"dask://(\[[0-9a-fA-F:]+\]|[\w.-]+):(\d+)/?", engine)
    if not found:
        raise EngineError(f"--engine {engine}: give dask://HOST:PORT; other engines are named by options after `--`")
    # one list of work units to a partition: the default is 128
    return [f"--runner={DASK_RUNNER}", f"--dask_client_address=tcp://{found[1]}:{found[2]}", "--dask_partition_size=1"]


def address_of(options: Sequence[str]) -> str | None:
    """Return the address of the Dask scheduler that Beam's options name; None if they name no Dask cluster."""
    given = [option.split("=", 1)[1] for option in options if option.startswith("--dask_client_address=")]
    return given[-1] if given else None


@contextmanager
def prepared(options: Sequence[str], root: str, sources: Mapping[str, str]) -> Iterator[None]:
    """Make a Dask cluster ready to run a graph, where Beam's options name one; `sources` has versions by path.

    Raises EngineError where it cannot be reached, has no workers, or one that lacks what it needs.
    """
    address = address_of(options)
    if address is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise EngineError(
            f"{address}: Dask is not installed here; `pip install 'corpusmill[dask]'` brings it"
        ) from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError) as error:
        raise EngineError(f"{address}: no Dask scheduler answers ({type(error).__name__})") from None
    try:
        threads = sum(client.nthreads().values())
        if not threads:
            raise EngineError(f"{address}: the Dask cluster has no workers; start some: dask worker {address}")
        asked = client.run(lacking, root, code(), dict(sources), on_error="return")
        wrong = [f"{worker}: {_said(answer)}" for worker, answer in sorted(asked.items()) if answer]
        if wrong:
            raise EngineError("\n".join(wrong))
        with _groups(min(MOST_GROUPS, GROUPS_PER_THREAD * threads)):
            yield
    finally:
        client.close()


def lacking(root: str, version: str, sources: Mapping[str, str]) -> str:
    """Return what this worker lacks to take part in a run; nothing if it is fit for it."""
    if code() != version:
        return f"{HOST} runs another version of corpusmill; install the same on all machines"
    if not Store(root).exists("recipe.yaml"):
        return f"{HOST} does not see the run folder {root}; it must be on storage that all workers share, such as s3://"
    for path, expected in sources.items():
        try:
            found = describe(path).version
        except SourceError as error:
            return f"{error}; sources must be on storage that all workers share, such as s3://"
        if found != expected:
            return (
                f"{path} is another file on {HOST} ({found}, not {expected}); sources must be the same for all workers"
            )
    return ""


def _said(answer: object) -> str:
    if isinstance(answer, ModuleNotFoundError):
        return f"{answer}; install corpusmill on every worker"
    return str(answer).splitlines()[0] if not isinstance(answer, Exception) else f"{type(answer).__name__}: {answer}"


@contextmanager
def _groups(partitions: int) -> Iterator[None]:
    """Let every GroupByKey of Beam's DaskRunner have this many partitions, and cost two tasks for each.

    By itself it has as many as it is given, which is one for a Create of one element and the sum for a Flatten, so that
    ours would start with one and end with thousands; and it makes a task of every pair of them. Messages are so small
    that each partition may as well be given those of all, and take its own.
    """
    from apache_beam.runners.dask import transform_evaluator as dask

    class GroupByKey(dask.GroupByKey):
        def apply(self, input_bag: Any, side_inputs: Any = None) -> Any:
            from dask.bag import Bag
            from dask.base import tokenize
            from dask.highlevelgraph import HighLevelGraph

            token = tokenize(input_bag, partitions)
            shared = [(f"share-{token}", number) for number in range(input_bag.npartitions)]
            tasks: dict[tuple[str, int], tuple[Any, ...]] = {
                key: (share, (input_bag.name, key[1]), partitions) for key in shared
            }
            tasks |= {(f"take-{token}", number): (take, shared, number) for number in range(partitions)}
            graph = HighLevelGraph.from_collections(f"take-{token}", tasks, dependencies=[input_bag])
            return Bag(graph, f"take-{token}", partitions)

    ours = next(kind for kind, operation in dask.TRANSLATIONS.items() if operation is dask.GroupByKey)
    dask.TRANSLATIONS[ours] = GroupByKey
    try:
        yield
    finally:
        dask.TRANSLATIONS[ours] = dask.GroupByKey


def share(items: Iterable[tuple[int, Any]], partitions: int) -> dict[int, list[tuple[int, Any]]]:
    """Return messages by the partition that groups those of their key."""
    shares: dict[int, list[tuple[int, Any]]] = {}
    for item in items:
        # keys are multiples of powers of two, or count up: this spreads both evenly
        mixed = (item[0] * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 32
        shares.setdefault(mixed * partitions >> 32, []).append(item)
    return shares


def take(shares: Iterable[Mapping[int, list[tuple[int, Any]]]], partition: int) -> list[tuple[int, list[Any]]]:
    """Return the groups of one partition: each key with its messages."""
    from apache_beam.runners.dask.transform_evaluator import defenestrate

    groups: dict[int, list[Any]] = {}
    for given in shares:
        for key, value in given.get(partition, ()):
            groups.setdefault(key, []).append(defenestrate(value))
    return list(groups.items())
