"""Tokens per CPU-second: our kernels against `tokenizers` and `tiktoken`, with the same merges, on the same text.

    python benchmarks/tokens.py [--documents N] [--data FOLDER] [--json]

Text is a mixture of web, books, code and many languages from the data folder; without one, the standard library's
sources. All give the same ids (checked); times are CPU time of one thread, the best of three interleaved rounds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sysconfig
import time
from collections.abc import Callable, Iterator
from itertools import islice, zip_longest
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread for everyone; read when the library is imported

import numpy as np
import pyarrow as pa
import tiktoken
import zstandard

from pipeline.tokens import OURS, Tokenizer, splitting
from pipeline.vocabulary import train_tokenizer

FILES = ("web/truth.jsonl.zst", "books/books.jsonl.zst", "code/trees.jsonl.zst", "multilingual/text.jsonl.zst")
VOCABULARY = 32_768
ROUNDS = 3


def texts(data: Path, documents: int) -> list[str]:
    """Return documents, in turn from each file, of at most 100,000 characters."""
    if not data.is_dir():
        paths = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
        return [path.read_text("utf-8", "replace")[:100_000] for path in paths[:documents]]
    turns = zip_longest(*(_records(data / name) for name in FILES))
    return list(islice((text[:100_000] for turn in turns for text in turn if text), documents))


def _records(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8", newline="\n"):
            record = json.loads(line)
            yield record.get("text") or record.get("gold_text") or ""


def peer(data: bytes, tokenizer: Tokenizer) -> tiktoken.Encoding:
    """Return tiktoken with the same merges: its ranks are our ids, which follow the order of merges."""
    ranks = {tokenizer.decode_bytes([token]): token for token in range(tokenizer.vocabulary_size)}
    del ranks[tokenizer.decode_bytes([tokenizer.end_of_text])]
    return tiktoken.Encoding("ours", pat_str=splitting(OURS), mergeable_ranks=ranks, special_tokens={})


def measure(runs: dict[str, Callable[[], np.ndarray]]) -> dict[str, float]:
    """Return the CPU seconds of each run, the best of some rounds; every run must give the same ids."""
    seconds = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        found: list[np.ndarray] = []
        for name, run in runs.items():
            started = time.process_time()
            found.append(run())
            seconds[name] = min(seconds[name], time.process_time() - started)
        if not all(np.array_equal(found[0], ids) for ids in found[1:]):
            raise SystemExit("the encoders disagree")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=3000)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    documents = texts(options.data, options.documents)
    started = time.process_time()
    data = train_tokenizer(documents, VOCABULARY)
    training = time.process_time() - started
    tokenizer = Tokenizer.from_json(data)
    encoding = peer(data, tokenizer)
    array = pa.array(documents, pa.large_string())
    tokenizer.encode(array[:1])  # compiles, or loads what was compiled

    def by_tiktoken() -> np.ndarray:
        return np.concatenate([[*encoding.encode_ordinary(text), tokenizer.end_of_text] for text in documents])

    megabytes = sum(len(text.encode()) for text in documents) / 1e6
    seconds = measure(
        {
            "kernels": lambda: tokenizer.encode(array)[1],
            "tokenizers": lambda: tokenizer.encode_slowly(array)[1],
            "tiktoken": by_tiktoken,
        }
    )
    tokens = len(tokenizer.encode(array)[1])
    print(f"{len(documents)} documents, {megabytes:.1f} MB, {tokens} tokens, trained in {training:.1f} CPU-s")
    print(f"{'':12}{'MB/s':>8}{'Mtokens/s':>12}{'documents/s':>13}")
    for name, spent in seconds.items():
        print(f"{name:12}{megabytes / spent:8.1f}{tokens / 1e6 / spent:12.2f}{len(documents) / spent:13.0f}")
    if options.json:
        figures = {f"{name}_mb_per_cpu_second": round(megabytes / spent, 2) for name, spent in seconds.items()}
        ratios = {
            f"times_{name}": round(seconds[name] / seconds["kernels"], 2) for name in seconds if name != "kernels"
        }
        print(json.dumps({**figures, **ratios, "megabytes": round(megabytes, 1), "tokens": tokens}))


if __name__ == "__main__":
    main()
