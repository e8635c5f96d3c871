"""Make room in the run folder for what is published: the one moment at which an earlier run's files go."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline import manifest
from pipeline.lookup import FOLDER
from pipeline.numbering import group_of, part_name
from pipeline.store import Store

PARTS = ("documents", "ledger", "index", "rejects")


def lookup_name(group: int) -> str:
    """Return the public name of a group's file in `lookup`."""
    return f"{FOLDER}/part-{group:06}.parquet"


def shard_name(shard: int, shards: int) -> str:
    """Return the name of a shard, of so many."""
    return f"data-{shard:05}-of-{shards:05}.arrow"


def make_room(store: Store, numbers: Iterable[int], shards: int) -> None:
    """Remove the manifest, and then every file that this run does not publish under that name too.

    Called when all pieces are finished, and before any is published. Done twice it does no harm, not even when parts are
    published already.
    """
    for name in (manifest.NAME, manifest.OVER_BUDGET):  # first: without one of them nothing is taken for finished
        store.remove(name)
    numbers = list(numbers)
    wanted = {part_name(folder, number) for folder in PARTS for number in numbers}
    wanted |= {lookup_name(group_of(number)) for number in numbers}
    wanted |= {f"shards/{shard_name(shard, shards)}" for shard in range(shards)}
    for folder in (*PARTS, FOLDER, "shards"):
        stale = [name for name in store.names(folder) if name not in wanted]
        for _ in store.each(store.remove, stale):
            pass
