"""What a whole run costs, stage by stage: CPU seconds in our stages, and outside them (Beam, planning, start-up).

    python benchmarks/run.py [--recipe recipes/shared-data.yaml] [--json]

The run goes to a new folder, in one process, so that every second can be given to a stage. Stages are our kernels and the
libraries they call; what is outside them is the price of the engine and of starting.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.recipe import load
from pipeline.run import run
from pipeline.stages import STAGES

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "shared-data.yaml"


def timed(stage: Callable[..., Iterator[Any]], spent: dict[str, float]) -> Callable[..., Iterator[Any]]:
    """Return the stage with its CPU time added up, not counting what its messages cost once they left it."""

    def run_stage(*arguments: Any) -> Iterator[Any]:
        messages = stage(*arguments)
        while True:
            started = time.process_time()
            try:
                message = next(messages)
            except StopIteration:
                return
            finally:
                spent[stage.__name__] = spent.get(stage.__name__, 0.0) + time.process_time() - started
            yield message

    return run_stage


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default=str(RECIPE))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    spent: dict[str, float] = {}
    for name, stage in list(STAGES.items()):
        STAGES[name] = timed(stage, spent)
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(load(arguments.recipe), folder, workers=1)
    total = time.process_time()
    for name, seconds in sorted(spent.items(), key=lambda entry: -entry[1]):
        print(f"{name:<18}{seconds:>8.2f} CPU-s  {seconds / total:>6.1%}")
    outside = total - sum(spent.values())
    print(f"{'outside stages':<18}{outside:>8.2f} CPU-s  {outside / total:>6.1%}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    read = outcome.manifest["documents"]["read"]
    print(f"{read:,} documents, {outcome.seconds:.0f} s, {total:.0f} CPU-s, peak {peak / 1e6:,.0f} MB in one process")
    if arguments.json:
        figures = {f"{name}_cpu_seconds": round(seconds, 2) for name, seconds in spent.items()}
        figures |= {"outside_share": round(outside / total, 4), "documents_per_cpu_second": round(read / total, 1)}
        print(json.dumps(figures | {"peak_bytes": peak}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
