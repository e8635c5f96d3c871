"""What a whole run costs, stage by stage: CPU seconds in our stages, and outside them (Beam, planning, start-up).

    python benchmarks/run.py [--recipe recipes/shared-data.yaml] [--json]

The run goes to a new folder, in one process, so that every second can be given to a stage. Stages are our kernels and the
libraries they call; what is outside them is the price of the engine and of starting. From what each call of a stage cost
follows what N cores could at best do with the stages (what is outside them not counted): with the embedded runner's split of
a stage's messages in turns, and with workers that take the next message when they are done with one. Either waits for all
of a stage before it begins the next.
"""

from __future__ import annotations

import argparse
import heapq
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


def timed(stage: Callable[..., Iterator[Any]], spent: dict[str, list[float]]) -> Callable[..., Iterator[Any]]:
    """Return the stage with the CPU time of each call noted, not counting what its messages cost once they left it."""

    def run_stage(*arguments: Any) -> Iterator[Any]:
        messages = stage(*arguments)
        spent.setdefault(stage.__name__, []).append(0.0)
        call = len(spent[stage.__name__]) - 1
        while True:
            started = time.process_time()
            try:
                message = next(messages)
            except StopIteration:
                return
            finally:
                spent[stage.__name__][call] += time.process_time() - started
            yield message

    return run_stage


def in_turns(calls: list[float], cores: int) -> float:
    """Return the time that a stage takes when its calls are dealt out in turns before it starts."""
    return max(sum(calls[core::cores]) for core in range(cores))


def as_free(calls: list[float], cores: int) -> float:
    """Return the time that a stage takes when a core that is free takes the next call."""
    busy = [0.0] * cores
    for seconds in calls:
        heapq.heapreplace(busy, busy[0] + seconds)
    return max(busy)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default=str(RECIPE))
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    calls: dict[str, list[float]] = {}
    for name, stage in list(STAGES.items()):
        STAGES[name] = timed(stage, calls)
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(load(arguments.recipe), folder, workers=1)
    total = time.process_time()
    spent = {name: sum(seconds) for name, seconds in calls.items()}
    for name, seconds in sorted(spent.items(), key=lambda entry: -entry[1]):
        several = f"{len(calls[name]):>5} calls, the longest {max(calls[name]):.2f}"
        print(f"{name:<18}{seconds:>8.2f} CPU-s  {seconds / total:>6.1%}  {several}")
    outside = total - sum(spent.values())
    print(f"{'outside stages':<18}{outside:>8.2f} CPU-s  {outside / total:>6.1%}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    read = outcome.manifest["documents"]["read"]
    print(f"{read:,} documents, {outcome.seconds:.0f} s, {total:.0f} CPU-s, peak {peak / 1e6:,.0f} MB in one process")
    ideal = {
        f"stages_on_{arguments.cores}_cores_{way.__name__}": sum(spent.values())
        / sum(way(seconds, arguments.cores) for seconds in calls.values())
        for way in (in_turns, as_free)
    }
    for name, times in ideal.items():
        print(f"{name.replace('_', ' ')}: at best {times:.2f} times one")
    if arguments.json:
        figures = {f"{name}_cpu_seconds": round(seconds, 2) for name, seconds in spent.items()}
        figures |= {"outside_share": round(outside / total, 4), "documents_per_cpu_second": round(read / total, 1)}
        figures |= {name: round(times, 3) for name, times in ideal.items()}
        print(json.dumps(figures | {"peak_bytes": peak}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
