"""`corpusmill ablate`: from shards of raw and curated text to an answer: how many times the tokens does raw text need?

Nothing here is imported before it is needed: the command's help does not wait for torch.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

FAILED = 2
TOKENS, SEEDS, LONGER = 1_000_000, 2, 2.0
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command understands to a parser."""
    parser.add_argument("--raw", required=True, metavar="RUN", help="run folder, or folder of shards, of the raw text")
    parser.add_argument(
        "--curated", required=True, metavar="RUN", help="the same text curated, with the same tokenizer"
    )
    parser.add_argument(
        "--arm", action="append", default=[], metavar="NAME=RUN", help="another one to compare, such as a peer's output"
    )
    parser.add_argument(
        "--clean", metavar="RUN", help="documents to measure on, in no arm (default: those held out of curated)"
    )
    parser.add_argument("--out", required=True, help="where results go; arms that are there are not computed again")
    parser.add_argument("--tokens", type=int, default=TOKENS, help=f"that every arm reads (default: {TOKENS:,})")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many trainings per arm (default: {SEEDS})")
    parser.add_argument(
        "--longer",
        type=float,
        default=LONGER,
        metavar="TIMES",
        help=f"raw reads on to this multiple, to see when it gets where curated is (default: {LONGER:g})",
    )
    parser.add_argument("--preset", default="tiny-cpu", help="size of the model: tiny-cpu (default), 100m")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="arms side by side (default: one per core; one on a GPU)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, only the result")


def run(arguments: argparse.Namespace) -> int:
    """Compare as the arguments say; return 0, or 2 after one line that says what is wrong."""
    from importlib.util import find_spec

    from train.command import safe

    def fail(message: str) -> int:
        print(safe(message).replace("\n", "\\n"), file=sys.stderr)
        return FAILED

    missing = [name for name in ("torch", "safetensors") if find_spec(name) is None]
    if missing:
        return fail(f"training needs {' and '.join(missing)}: pip install 'corpusmill[train]'")
    from ablate.arms import CLEAN, CURATED, RANDOM, RAW, prepared
    from ablate.folder import Folder
    from ablate.report import MARKDOWN, write
    from ablate.workers import ArmError, computed
    from loader.choice import DataError
    from pipeline.shards import ShardError
    from train.config import ConfigError, preset
    from train.hardware import best_device
    from train.loop import TrainingError, check_size

    named = [one.partition("=") for one in arguments.arm]
    paths = {RAW: arguments.raw, CURATED: arguments.curated, **{name: path for name, _, path in named}}
    paths |= {CLEAN: arguments.clean} if arguments.clean else {}
    for name, sign, _ in named:
        if not sign or not re.fullmatch(NAME, name) or name in (RAW, CURATED, RANDOM, CLEAN):
            return fail(
                f"--arm {name}{sign}…: reads NAME=RUN, with a name of its own, not raw, curated, random or clean"
            )
    if len({name for name, _, _ in named}) < len(named):
        return fail("--arm: every arm needs a name of its own")
    for option in ("tokens", "seeds", "longer"):
        if not 1 <= getattr(arguments, option) < 1e15:
            return fail(f"--{option} {getattr(arguments, option)}: at least 1 is wanted")
    for name, path in paths.items():
        if "://" in path:
            return fail(f"{path}: shards are mapped into memory, so they must be on a local disk")
        if not (Path(path) / "shards").is_dir() and not (Path(path) / "manifest.json").is_file():
            return fail(f"{name}: {path}: no shards there; `corpusmill run RECIPE --out {path}` makes a run folder")
    if arguments.workers < 0:
        return fail(f"--workers {arguments.workers}: 0, which is one per core, or more are wanted")
    out, cores = Path(arguments.out), os.cpu_count() or 1
    jobs = (3 + len(named)) * arguments.seeds
    workers = min(jobs, arguments.workers or (1 if best_device().type == "cuda" else cores))
    try:
        folders = {name: Folder.open(Path(path)) for name, path in paths.items()}
        config = preset(arguments.preset, folders[CURATED].shards.vocabulary_size)
        check_size(config, best_device())
        out.mkdir(parents=True, exist_ok=True)
        threads = max(1, cores // workers)
        seeds = range(arguments.seeds)
        comparison = prepared(folders, out, config, arguments.tokens, arguments.longer, seeds, threads)
        if not arguments.quiet:
            for note in comparison.notes:
                print(safe(f"note: {note}"), file=sys.stderr)
        results = computed(comparison.jobs, out, workers, arguments.quiet)
        answer = write(out, comparison, results)
    except (ArmError, ConfigError, DataError, ShardError, TrainingError, OSError) as error:
        return fail(str(error))
    print(answer)
    print(safe(f"report: {out / MARKDOWN}"))
    return 0
