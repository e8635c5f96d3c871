"""Near-duplicate removal as steps, each a stage of the pipeline, wired once: for Beam and for a bare loop alike."""

from __future__ import annotations

import time
from collections import defaultdict

from pipeline.plan import Lists, Plan

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

Message = tuple[int, bytes]


def through_beam(made: Plan, lists: Lists) -> None:
    """Run the steps as the pipeline's own graph runs its stages, on the embedded runner."""
    import apache_beam as beam

    from pipeline import graph

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
            ran = beam.ParDo(graph.Stage(made.to_json(), stage)).with_output_types(tuple[int, bytes])
            made_so_far[name] = merged | f"{name}: {stage}" >> ran

    graph.build = build
    graph.run(made, lists, [])


def first(lists: Lists) -> list[Message]:
    """Return the messages that everything starts from."""
    return [(number, name.encode()) for number, name in enumerate(lists.units)]


def in_a_loop(made: Plan, lists: Lists) -> dict[str, float]:
    """Run the steps one after the other without an engine; return the CPU seconds of each."""
    from pipeline.stages import STAGES
    from pipeline.stages.work import work_of

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
