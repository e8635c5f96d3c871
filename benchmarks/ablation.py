"""Does our curation help? A pool of real text with planted noise and repeats, raw and curated, a model on each.

    python benchmarks/ablation.py [--out ablation] [--tokens 800000] [--seeds 2] [--megabytes 14] [--pool-only]

Needs the real data beside the checkout. Everything is drawn by seed; a rerun takes up what is there. `pool.py` makes the pool
and says what it is made of.

The raw arm is the whole pool: a recipe with no edit, rule or deduplication. The curated arm is the same pool through
`RECIPE`. What is measured are real documents that are not in the pool, as they are: neither arm has chosen them. All have one
tokenizer, learnt from further real documents. One more arm, `real`, has what a filter that knew the truth would keep: the real
documents of the pool, not deduplicated, with curated's mixture.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pool import CORPORA, DATA, SEED, write_pool

from pipeline.cli import main
from pipeline.recipe import parse
from pipeline.run import run, summary

RECIPE: dict[str, Any] = {
    "corpora": {
        "web": {
            "edits": ["repair_text"],
            "presets": ["gopher_repetition"],
            "rules": {
                "words": {"min": 50},
                "mean_word_length": {"min": 3, "max": 10},
                "stop_words": {"min": 2},
                "language_score": {"min": 0.5},
            },
        },
        "books": {
            "edits": ["repair_text"],
            "presets": ["gopher_repetition"],
            "rules": {"words": {"min": 100}, "language_score": {"min": 0.5}},
        },
        "code": {"presets": ["starcoder", "starcoder2"]},
        "multilingual": {
            "edits": ["repair_text"],
            "rules": {"characters": {"min": 20}, "top_2_gram": {"max": 0.3}, "encoded": {"max": 0.5}},
        },
    },
    "deduplicate": {
        "priority": ["books", "code", "multilingual", "web"],
        "exact": {"unit": "document"},
        "near": {"threshold": 0.8},
    },
    "sample": {
        "semantic": {"model": "bundled", "clusters": 64, "similarity": 0.98},
        "mixture": {"web": 0.25, "books": 0.25, "code": 0.25, "multilingual": 0.25},
    },
}


def recipe(pool: Path, arm: str) -> dict[str, Any]:
    """Return the recipe of an arm, or of what is measured."""
    curated, folder = arm == "curated", pool / arm if arm in ("clean", "real") else pool
    corpora = {}
    for name in CORPORA:
        columns = {"id": "id", "text": "text"}
        if name == "code":
            columns["programming_language"] = "programming_language"
        read = {"format": "jsonl", "paths": str(folder / f"{name}.jsonl")}
        corpora[name] = {"read": read, "columns": columns, **(RECIPE["corpora"][name] if curated else {})}
    whole = {"seed": SEED, "corpora": corpora, "shards": {"tokenizer": f"path:{pool / 'tokenizer.json'}"}}
    if curated:
        return whole | {key: RECIPE[key] for key in ("deduplicate", "sample")}
    return whole | ({"sample": {"mixture": RECIPE["sample"]["mixture"]}} if arm == "real" else {})


def measure(out: Path, megabytes: float, tokens: int, seeds: int, pool_only: bool) -> int:
    if not DATA.is_dir():
        print(f"no real data: {DATA} is not a folder (set CORPUSMILL_SHARED)")
        return 0
    out = out.resolve()
    if not (out / "pool" / "tokenizer.json").is_file():
        write_pool(out / "pool", megabytes)
    for name in ("raw", "curated", "clean", "real"):
        outcome = run(parse(recipe(out / "pool", name)), str(out / name))
        print(f"{name}:\n{summary(outcome)}")
    if pool_only:
        return 0
    given = {name: str(out / name) for name in ("raw", "curated", "clean")}
    given |= {"arm": f"real={out / 'real'}", "out": str(out / "ablation")}
    given |= {"tokens": str(tokens), "seeds": str(seeds), "longer": "1.5"}
    return main(["ablate", *(part for name, value in given.items() for part in (f"--{name}", value))])


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=Path("ablation"))
    arguments.add_argument(
        "--megabytes", type=float, default=14, help="characters of the pool, in millions: at least 8 (default: 14)"
    )
    arguments.add_argument("--tokens", type=int, default=800_000)
    arguments.add_argument("--seeds", type=int, default=2)
    arguments.add_argument("--pool-only", action="store_true", help="make pool and shards, and train nothing")
    given = arguments.parse_args()
    if given.megabytes < 8:
        arguments.error("--megabytes: at least 8 are wanted: a smaller pool has no short chapters to repeat")
    sys.exit(measure(given.out, given.megabytes, given.tokens, given.seeds, given.pool_only))
