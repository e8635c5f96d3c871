"""Engines other than this machine: what `--engine` says as options of Beam, and what a Dask cluster needs besides.

A Dask cluster runs the graph through Beam's own DaskRunner. Before work starts, each of its workers is asked whether it
runs the same code and sees the run folder and the sources: what only this machine has is told at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import getitem
from typing import Any

from pipeline.plan import code
from pipeline.read.files import HOST, describe
from pipeline.read.source import SourceError
from pipeline.store import Store

DASK_RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"
GROUPS_PER_THREAD = 8
"""Partitions that a Dask worker's thread finds after each GroupByKey: enough that none waits long for the last."""
MOST_GROUPS = 256
"""A task for each in every stage: a scheduler has some 4,400 to deal out then."""
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
        with translated(min(MOST_GROUPS, GROUPS_PER_THREAD * threads), root):
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
def translated(partitions: int, root: str) -> Iterator[None]:
    """Let Beam's DaskRunner make few tasks of our graphs: one for each GroupByKey, and one for each partition of what follows.

    By itself it asks each partition for its share of every other, gives a GroupByKey as many partitions as it is given (one
    for a Create of one element, the sum for a Flatten, so that ours would start with one and end with thousands), and puts
    windows on each message, in tasks of their own, and takes them off. A small run of two workers took seconds for that.
    Tasks of one name are one task to a scheduler, whoever sent them: ours are named after the run folder, `root`, as well.
    """
    from apache_beam.runners.dask import transform_evaluator as dask
    from apache_beam.transforms.core import GroupByKey as BeamGroupByKey
    from dask.bag import Bag, concat
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    from pipeline.graph import ToOne

    class Fused(Bag):
        __dask_optimize__ = staticmethod(fused)

    def bag(name: str, tasks: Mapping[Any, Any], count: int, inputs: Sequence[Bag]) -> Bag:
        return Fused(HighLevelGraph.from_collections(name, tasks, dependencies=inputs), name, count)

    class ParDo(dask.ParDo):
        def apply(self, input_bag: Bag, side_inputs: Any = None) -> Bag:
            function = self.transform.fn
            if isinstance(function, BeamGroupByKey.ReifyWindows):
                return input_bag
            name = f"{type(function).__name__}-{tokenize(input_bag.name, self.applied.full_label, root)}"
            tasks = {(name, index): (do, function, (input_bag.name, index)) for index in range(input_bag.npartitions)}
            made = bag(name, tasks, input_bag.npartitions, [input_bag])
            made.to_one = isinstance(function, ToOne)
            return made

    class Flatten(dask.Flatten):
        def apply(self, input_bag: list[Bag], side_inputs: Any = None) -> Bag:
            made = concat(input_bag)
            made.branches = input_bag
            return made

    class GroupByKey(dask.GroupByKey):
        def apply(self, input_bag: Bag, side_inputs: Any = None) -> Bag:
            inputs = getattr(input_bag, "branches", [input_bag])
            count = 1 if all(getattr(one, "to_one", False) for one in inputs) else partitions
            token = tokenize(input_bag.name, count)
            parts = [key for one in inputs for key in one.__dask_keys__()]
            # by its key, a pair, the scheduler sees a group of one: what follows is then given to workers one by one
            whole = (f"group-{token}", 0)
            tasks: dict[Any, Any] = {whole: (group, parts, count)}
            tasks |= {(f"take-{token}", index): (getitem, whole, index) for index in range(count)}
            return bag(f"take-{token}", tasks, count, inputs)

    own = {"ParDo": ParDo, "Flatten": Flatten, "GroupByKey": GroupByKey}
    theirs = dict(dask.TRANSLATIONS)
    dask.TRANSLATIONS.update({kind: own.get(one.__name__, one) for kind, one in theirs.items()})
    try:
        yield
    finally:
        dask.TRANSLATIONS.update(theirs)


def fused(graph: Any, keys: Any, **_: Any) -> Any:
    """Return a graph in which tasks that follow each other are one, without those that would only give it another name."""
    from dask._task_spec import DependenciesMapping, resolve_aliases
    from dask.bag.core import optimize
    from dask.core import flatten, reverse_dict

    made = optimize(graph, keys)
    return resolve_aliases(made, set(flatten(keys)), reverse_dict(DependenciesMapping(made)))


def do(function: Any, elements: Iterable[Any]) -> list[Any]:
    """Return what a DoFn yields for elements."""
    function.setup()
    return [message for element in elements for message in function.process(element)]


def group(parts: Iterable[Iterable[tuple[int, Any]]], partitions: int) -> list[list[tuple[int, list[Any]]]]:
    """Return each key with its messages, dealt to partitions in the order of keys: none has more than one key above another.

    Messages are small, and those of all pieces fit any worker (docs/architecture.md says how small).
    """
    groups: dict[int, list[Any]] = {}
    for part in parts:
        for key, value in part:
            groups.setdefault(key, []).append(value)
    every = sorted(groups.items())
    return [every[index::partitions] for index in range(partitions)]
