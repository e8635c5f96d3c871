"""Tokens per CPU-second read from a folder of shards in shuffled batches: ours, `np.memmap`, and `datasets`.

    python benchmarks/shards.py [--documents N] [--json]

Batches are 8 windows of 2,049 tokens gathered as int64, in a random order, as a trainer gathers them; `datasets` gives
its documents, in order, as it can do no windows. CPU time of one thread, the best of three rounds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from pipeline.shard import ShardInfo, schema, write_shard
from pipeline.shards import Shards, index_files

WINDOW, BATCH, BATCHES, ROUNDS = 2049, 8, 2000, 3
MEAN_TOKENS = 660
TOKENIZER = json.dumps({"model": {"vocab": {"": 65_535}}}).encode()


def write(path: Path, documents: int) -> ShardInfo:
    """Write one shard of documents of random tokens; lengths are spread as those of web pages are."""
    chance = np.random.default_rng(7)
    lengths = np.maximum(1, chance.lognormal(np.log(MEAN_TOKENS) - 0.5, 1.0, documents).astype(np.int64))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = chance.integers(0, 65_536, offsets[-1], np.uint16)
    names = [field.name for field in schema(ids.dtype)][:6]
    columns = pa.table(
        {name: [f"{name}-{at % 3 if name == 'corpus' else at}" for at in range(documents)] for name in names}
    )
    with path.open("wb") as stream:
        return write_shard(stream, path.name, columns, offsets, ids)


def windows(tokens: np.ndarray, order: np.ndarray) -> int:
    """Gather shuffled batches of windows; return how many tokens they hold."""
    batch = np.empty((BATCH, WINDOW), np.int64)
    for first in range(0, len(order), BATCH):
        for row, window in enumerate(order[first : first + BATCH]):
            batch[row] = tokens[window * WINDOW : (window + 1) * WINDOW]
    return len(order) * WINDOW


def best(run: Callable[[], int]) -> float:
    """Return the tokens per CPU-second of a run that returns its tokens."""
    rates = []
    for _ in range(ROUNDS):
        started = time.process_time()
        tokens = run()
        rates.append(tokens / (time.process_time() - started))
    return max(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=24_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        started = time.process_time()
        info = write(folder / "data-00000.arrow", options.documents)
        writing = time.process_time() - started
        for name, data in index_files([info], TOKENIZER, 0, {}).items():
            (folder / name).write_bytes(data)
        started = time.process_time()
        opened = Shards.open(folder)
        figures["verify_mb_per_cpu_second"] = info.bytes / 1e6 / (time.process_time() - started)
        started = time.perf_counter()
        Shards.open(folder, verify=False)
        figures["open_milliseconds_without_verifying"] = (time.perf_counter() - started) * 1e3

        there = info.tokens // WINDOW
        order = np.random.default_rng(1).integers(0, there, BATCH * BATCHES)
        mapped = np.memmap(folder / info.file, info.dtype, "r", info.token_offset, (info.tokens,))
        loaded = datasets.load_from_disk(temporary).with_format("numpy", columns=["input_ids"])
        documents = min(2000, options.documents)
        rates = {
            "shards": best(lambda: windows(opened.tokens(0), order)),
            "memmap": best(lambda: windows(mapped, order)),
            "datasets": best(lambda: sum(len(loaded[at]["input_ids"]) for at in range(documents))),
        }
    print(
        f"{options.documents} documents, {info.tokens} tokens, {info.bytes / 1e6:.1f} MB, made in {writing:.1f} CPU-s"
    )
    for name, rate in rates.items():
        figures[f"{name}_million_tokens_per_cpu_second"] = rate / 1e6
        print(f"{name:10}{rate / 1e6:10.1f} million tokens per CPU-second")
    print(f"verified at {figures['verify_mb_per_cpu_second']:.0f} MB per CPU-second")
    if options.json:
        print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
