"""One process, forked workers, Beam's own worker processes, and threads: CPU, clock, memory.

    python benchmarks/workers.py [--workers 2] [--rounds 1] [--json]             a corpus of one short document: start-up
    python benchmarks/workers.py --recipe recipes/shared-data.yaml [...]          a whole recipe as well

Each run goes to a new folder in a process of its own. Seconds on the clock mean something only on an idle machine; the
best of the rounds counts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from neardup.measure import Spent, spend


def command(recipe: str, out: Path, mode: str, workers: int) -> list[str]:
    base = [sys.executable, "-m", "pipeline.cli", "run", "--out", str(out), "--quiet", "--workers"]
    if mode in ("one_process", "forked"):
        return [*base, "1" if mode == "one_process" else str(workers), recipe]
    options = ["--runner=FnApiRunner", f"--direct_running_mode={mode}", f"--direct_num_workers={workers}"]
    return [*base, "1", recipe, "--", *options, "--default_sdk_harness_log_level=ERROR"]


MODES = ("one_process", "forked", "multi_processing", "multi_threading")


def best(recipe: str, mode: str, workers: int, rounds: int) -> Spent:
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            found.append(spend(command(recipe, Path(folder) / "run", mode, workers)))
    return min(found, key=lambda spent: spent.seconds)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--recipe")
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=1)
    arguments.add_argument("--modes", nargs="*", default=MODES, choices=MODES)
    arguments.add_argument("--json", action="store_true", help="print one object {figure: value} as the last line")
    options = arguments.parse_args()
    tiny = Path(tempfile.mkdtemp())
    (tiny / "one.txt").write_text("A text of a few words.")
    (tiny / "recipe.yaml").write_text(
        "corpora: {a: {read: {format: text, paths: one.txt}}}\nshards: {tokenizer: {train: 260}}\n"
    )
    figures: dict[str, float] = {}
    print(f"{'':20}{'CPU-s':>10}{'seconds':>10}{'peak MB':>10}{'processes':>10}")
    try:
        recipes = {"start_up": str(tiny / "recipe.yaml"), **({"recipe": options.recipe} if options.recipe else {})}
        for kind, recipe in recipes.items():
            for mode in options.modes:
                spent = best(recipe, mode, options.workers, options.rounds)
                print(
                    f"{kind:9}{mode:17}{spent.cpu_seconds:10.1f}{spent.seconds:10.1f}{spent.peak_bytes / 1e6:10.0f}"
                    f"{spent.processes:10}"
                )
                name = f"{kind}_{mode}"
                figures |= {f"{name}_cpu_seconds": spent.cpu_seconds, f"{name}_seconds": spent.seconds}
                figures[f"{name}_peak_bytes"] = spent.peak_bytes
    finally:
        shutil.rmtree(tiny)
    if options.recipe and {"one_process", "forked"} <= set(options.modes):
        figures["two_cores_vs_one"] = figures["recipe_one_process_seconds"] / figures["recipe_forked_seconds"]
        print(f"{'two_cores_vs_one':<36}{figures['two_cores_vs_one']:10.2f}")
    if options.json:
        print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
