"""Near-duplicate removal by the pipeline's own stages, from Parquet to Parquet: through Beam, and in a bare loop.

    python -m neardup.ours INPUT OUTPUT [--workers N] [--bare]

A run of the command does more (rules, tokens, shards). Here are the stages that near-duplicate removal needs, by their
names, and one more that writes the kept documents. A process starts as that of the command does: workers first, then Beam.
"""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from pathlib import Path

from pipeline import starting
from pipeline.workers import Workers


def run(source: str, target: str, bare: bool, workers: bool) -> None:
    starting.import_beam()
    if not workers:
        starting.import_numba()
        import neardup.stages  # noqa: F401
    from neardup import steps
    from pipeline.plan import make_plan, write_lists
    from pipeline.recipe import parse
    from pipeline.store import Store

    settings = {
        "corpora": {"all": {"read": {"format": "parquet", "paths": f"{Path(source).resolve()}/*.parquet"}}},
        "deduplicate": {"near": {"threshold": 0.8}},
    }
    made, inputs = make_plan(parse(settings), str(Path(target).resolve()))
    store = Store(made.root)
    store.write("recipe.yaml", made.recipe.to_json().encode())
    lists = write_lists(made, inputs, store)
    if bare:
        print(json.dumps(steps.in_a_loop(made, lists)))
    else:
        steps.through_beam(made, lists)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("input")
    arguments.add_argument("output")
    arguments.add_argument("--workers", type=int, default=1)
    arguments.add_argument("--bare", action="store_true", help="in a loop, without Beam")
    options = arguments.parse_args()
    several = options.workers > 1 and not options.bare
    with Workers(options.workers, plugins=False, modules=["neardup.stages"]) if several else nullcontext():
        starting.start()
        starting.do_without_pandas()
        run(options.input, options.output, options.bare, several)


if __name__ == "__main__":
    main()
