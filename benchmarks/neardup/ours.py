"""Near-duplicate removal by the pipeline's own stages, from Parquet to Parquet: through Beam, and in a bare loop.

    python -m neardup.ours INPUT OUTPUT [--workers N] [--bare]

A run of the command does more (rules, tokens, shards). Here are the stages that near-duplicate removal needs, by their
names, and one more that writes the kept documents; `STEPS` is wired once, for Beam and for the loop alike.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import starting

starting.start(plugins=False)
starting.import_beam()  # as a run of the command does
starting.import_numba()

from filters.signal import signal
from pipeline import graph
from pipeline.plan import Lists, Plan, make_plan, write_lists
from pipeline.recipe import parse
from pipeline.stages import STAGES
from pipeline.stages.work import Message, Messages, Work, work_of
from pipeline.store import Store
from pipeline.workers import Workers, runner

STEPS = (
    # what it makes, how its messages meet, the stage, what it takes
    ("units", "each", "name_listed", ("lists",)),
    ("read", "by key", "read_unit", ("units",)),
    ("measured", "by key", "measure_piece", ("read",)),
    ("pieces", "each", "decide_piece", ("measured",)),
    ("hashes", "each", "hash_piece", ("pieces",)),
    ("listed", "all in one", "share_out", ("hashes",)),
    ("links", "by key", "link_bucket", ("listed",)),
    ("members", "all in one", "connect", ("links",)),
    ("gathered", "by key", "gather_members", ("pieces", "members")),
    ("files", "all in one", "share_out", ("gathered",)),
    ("removed", "by key", "walk_bucket", ("files",)),
    ("decided", "by key", "drop_duplicates", ("pieces", "removed")),
    ("kept", "each", "write_kept", ("decided",)),
    ("counted", "all in one", "count_kept", ("kept",)),
)


def write_kept(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Write the documents of a piece that nothing dropped, as the last of datatrove's stages does."""
    piece = Messages.unpack(messages).piece
    table = work.store.read_table(piece.files["documents"], ["id", "text"])
    alive = work.columns(piece, "state", ["reason"]).column("reason").is_null()
    work.store.write_table(f"kept/{number:012}.parquet", table.filter(alive))
    yield number, piece.pack()


def count_kept(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Write where the pieces lie, for whoever looks at what was removed."""
    pieces = Messages.unpack(messages).pieces
    work.store.write_json("pieces.json", [json.loads(piece.pack()) for piece in pieces])
    yield 0, b"{}"


@signal(characters=pa.int32())
def characters(text: pa.Array) -> pa.Array:
    """Return how many characters each text has: by that the walk orders. A run counts them with all of its statistics."""
    return pc.utf8_length(text)


def prepare() -> None:
    """Make this process's stages those of the benchmark: two more, and no columns but those that duplicates need."""
    STAGES.update(write_kept=write_kept, count_kept=count_kept)
    Plan.signals = lambda plan, corpus: (characters, plan.writers["content_hash"], plan.writers["bands"])


class Stage(graph.Stage):
    """A stage of the pipeline, or of the benchmark, in a worker process."""

    def setup(self) -> None:
        prepare()
        super().setup()


def through_beam(made: Plan, lists: Lists, workers: int) -> None:
    """Run the steps as the pipeline's own graph runs its stages, on the embedded runner."""
    import apache_beam as beam

    def build(pipeline: beam.Pipeline, made: Plan, lists: Lists) -> None:
        named = beam.Create(first(lists), reshuffle=False).with_output_types(tuple[int, bytes])
        made_so_far = {"lists": pipeline | named}
        for name, meeting, stage, takes in STEPS:
            inputs = [made_so_far[one] for one in takes]
            if meeting == "all in one":
                inputs = [
                    one | f"{name}: to one {index}" >> beam.ParDo(graph.ToOne()).with_output_types(tuple[int, bytes])
                    for index, one in enumerate(inputs)
                ]
            merged = inputs[0] if len(inputs) == 1 else inputs | f"{name}: merge" >> beam.Flatten()
            if meeting != "each":
                merged = merged | f"{name}: group" >> beam.GroupByKey()
            ran = beam.ParDo(Stage(made.to_json(), stage)).with_output_types(tuple[int, bytes])
            made_so_far[name] = merged | f"{name}: {stage}" >> ran

    graph.build = build
    with Workers(workers) if workers > 1 else nullcontext() as processes:
        graph.run(made, lists, [], runner(processes) if processes else None)


def first(lists: Lists) -> list[Message]:
    """Return the messages that everything starts from."""
    return [(number, name.encode()) for number, name in enumerate(lists.units)]


def in_a_loop(made: Plan, lists: Lists) -> dict[str, float]:
    """Run the steps one after the other without an engine; return the CPU seconds of each."""
    work = work_of(made.to_json())
    made_so_far = {"lists": first(lists)}
    spent: dict[str, float] = {}
    for name, meeting, stage, takes in STEPS:
        started = time.process_time()
        together: dict[int, list[list[bytes]]] = defaultdict(list)
        for key, message in (message for one in takes for message in made_so_far[one]):
            key = 0 if meeting == "all in one" else key
            if meeting == "each" or not together[key]:
                together[key].append([])
            together[key][-1].append(message)
        made_so_far[name] = [
            message for key, groups in together.items() for one in groups for message in STAGES[stage](work, key, one)
        ]
        spent[stage] = spent.get(stage, 0.0) + time.process_time() - started
    return spent


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("input")
    arguments.add_argument("output")
    arguments.add_argument("--workers", type=int, default=1)
    arguments.add_argument("--bare", action="store_true", help="in a loop, without Beam")
    options = arguments.parse_args()
    prepare()
    settings = {
        "corpora": {"all": {"read": {"format": "parquet", "paths": f"{Path(options.input).resolve()}/*.parquet"}}},
        "deduplicate": {"near": {"threshold": 0.8}},
    }
    made, inputs = make_plan(parse(settings), str(Path(options.output).resolve()))
    store = Store(made.root)
    store.write("recipe.yaml", made.recipe.to_json().encode())
    lists = write_lists(made, inputs, store)
    if options.bare:
        print(json.dumps(in_a_loop(made, lists)))
    else:
        through_beam(made, lists, options.workers)


if __name__ == "__main__":
    from neardup import ours  # workers must find this module under its name

    ours.main()
