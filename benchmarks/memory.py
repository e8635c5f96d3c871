"""What a run holds in memory as its corpus grows: generated corpora of N, 4 N and 16 N documents through the whole pipeline.

    python benchmarks/memory.py [--documents N] [--workers W] [--json]

Each corpus is run twice: by `corpusmill run`, with the memory of all its processes (shared pages counted once) and of the
largest one watched from outside; and in one process, where the kernel's high-water mark is reset before every call of a
stage, so that each stage shows its own peak over what was held before it. Needs Linux's /proc.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

WORDS = 500
FILE_DOCUMENTS = 5000
TIMES = (1, 4, 16)
RECIPE: dict[str, Any] = {
    "seed": 5,
    "corpora": {
        name: {"read": {"format": "jsonl", "paths": f"{name}/*.jsonl"}, "presets": ["gopher_quality", "fineweb"]}
        for name in ("web", "books")
    },
    "deduplicate": {"exact": {"unit": "document"}, "near": {"threshold": 0.8}},
    "sample": {"semantic": {"clusters": 64, "similarity": 0.95}, "mixture": {"web": 0.6, "books": 0.4}},
    "shards": {"tokenizer": {"train": 8192}, "tokens": 4_000_000},
}


def generate(folder: Path, documents: int) -> None:
    """Write a corpus of lines of made-up words, as frequent as words are; every tenth document is nearly another one."""
    chance = np.random.default_rng(1)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    vocabulary = np.array(["".join(chance.choice(letters, size)) for size in chance.integers(2, 9, 30_000)])
    vocabulary[:12] = ["the", "be", "to", "of", "and", "that", "have", "with", "in", "a", "is", "it"]
    odds = 1 / np.arange(3, len(vocabulary) + 3)
    odds /= odds.sum()
    size = min(FILE_DOCUMENTS, -(-documents // 4))
    for start in range(0, documents, size):
        corpus = folder / ("web", "books")[start // size % 2]
        corpus.mkdir(parents=True, exist_ok=True)
        with (corpus / f"{start:08}.jsonl").open("w", encoding="utf-8") as file:
            texts = chance.choice(vocabulary, (min(documents - start, size), WORDS), p=odds)
            texts[9::10, :-3] = texts[8::10, :-3][: len(texts[9::10])]
            for number, words in enumerate(texts, start):
                lines = [" ".join(words[at : at + 10]).capitalize() + "." for at in range(0, WORDS, 10)]
                file.write(json.dumps({"id": f"document-{number}", "text": "\n".join(lines)}) + "\n")


def watched(command: list[str]) -> dict[str, float]:
    """Run a command; return the peak of the memory of all its processes, of the largest, and its seconds."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    tree, largest = 0, 0
    while process.poll() is None:
        sizes = [_size(pid) for pid in _family(process.pid)]
        tree = max(tree, sum(shared for shared, _ in sizes))
        largest = max([largest, *(resident for _, resident in sizes)])
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return {"tree_bytes": tree, "largest_bytes": largest, "seconds": round(time.monotonic() - started, 1)}


def _family(root: int) -> list[int]:
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                waiting += [int(child) for child in task.read_text().split()]
            except OSError:  # it has ended meanwhile
                continue
    return found


def _size(pid: int) -> tuple[int, int]:
    """Return (bytes, pages shared with others counted in part; resident bytes) of a process; 0 once it has ended."""
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    except OSError:
        return 0, 0
    return tuple(int(lines[name].split()[0]) * 1024 for name in ("Pss", "Rss"))  # type: ignore[return-value]


def stages(recipe: str, out: str) -> dict[str, int]:
    """Run a recipe in this process; return the most that a call of each stage held beyond what was held before it."""
    from pipeline.recipe import load
    from pipeline.run import run
    from pipeline.stages import STAGES

    found: dict[str, int] = {}

    def measured(name: str, stage: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def run_stage(*arguments: Any) -> Iterator[Any]:
            Path("/proc/self/clear_refs").write_text("5")
            before = _status("VmRSS")
            yield from stage(*arguments)
            found[name] = max(found.get(name, 0), _status("VmHWM") - before)

        return run_stage

    for name, stage in list(STAGES.items()):
        STAGES[name] = measured(name, stage)
    run(load(recipe), out)
    return found


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def measure(documents: int, workers: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        generate(root, documents)
        recipe = root / "recipe.yaml"
        recipe.write_text(json.dumps(RECIPE))
        command = [sys.executable, "-m", "pipeline.cli", "run", str(recipe), "--out", str(root / "run"), "--quiet"]
        figures: dict[str, Any] = watched([*command, "--workers", str(workers)])
        one = [sys.executable, __file__, "--stages-of", str(recipe), str(root / "again")]
        figures["stages"] = json.loads(subprocess.run(one, capture_output=True, text=True, check=True).stdout)
        return {"documents": documents, **figures}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--stages-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stages_of:
        print(json.dumps(stages(*arguments.stages_of)))
        return 0
    measure(200, arguments.workers)  # compiles what is not compiled yet, which takes memory of its own
    sizes = []
    for times in TIMES:
        sizes.append(measure(times * arguments.documents, arguments.workers))
        found = sizes[-1]
        tree, largest = (found[name] / 1e6 for name in ("tree_bytes", "largest_bytes"))
        print(f"{found['documents']:>9,} documents: {tree:,.0f} MB in all, {largest:,.0f} MB in the largest process")
    print(f"\n{'stage':<24}" + "".join(f"{found['documents']:>12,}" for found in sizes) + "   MB beyond what was held")
    for name in sorted(sizes[-1]["stages"], key=lambda stage: -sizes[-1]["stages"][stage]):
        print(f"{name:<24}" + "".join(f"{found['stages'][name] / 1e6:>12,.1f}" for found in sizes))
    more = {name: sizes[2][name] - sizes[1][name] for name in ("tree_bytes", "largest_bytes")}
    documents = sizes[2]["documents"] - sizes[1]["documents"]
    print(f"\neach document more: {more['tree_bytes'] / documents:,.0f} bytes in all processes")
    if arguments.json:
        growth = {f"{name}_growth_per_4x": round(sizes[2][name] / sizes[1][name] - 1, 3) for name in more}
        print(json.dumps({"sizes": sizes, **growth, "bytes_per_document": round(more["tree_bytes"] / documents, 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
