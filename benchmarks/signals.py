"""Documents and megabytes of text per CPU-second, for every signal that reads text.

    python benchmarks/signals.py [--documents N] [--data FOLDER] [--json]

Text is a mixture of web, books and many languages from the data folder; without one, the standard library's sources.
Times are CPU time of one thread, the best of three rounds, kernels compiled before.
"""

from __future__ import annotations

import argparse
import io
import json
import sysconfig
import time
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path

import pyarrow as pa
import zstandard

from filters.catalogue import WRITERS
from filters.signal import measure, needed

FILES = ("web/truth.jsonl.zst", "books/books.jsonl.zst", "multilingual/text.jsonl.zst")
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
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        for line in io.TextIOWrapper(stream, "utf-8", newline="\n"):
            record = json.loads(line)
            yield record.get("text") or record.get("gold_text") or ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object on the last line")
    arguments = parser.parse_args()

    found = texts(arguments.data, arguments.documents)
    megabytes = sum(len(text.encode()) for text in found) / 1e6
    batch = pa.record_batch(
        {"text": pa.array(found, pa.large_string()), "programming_language": pa.nulls(len(found), pa.string())}
    )
    everything = needed(WRITERS, WRITERS, batch.schema.names)
    print(f"{len(found):,} documents, {megabytes:.1f} MB")
    print(f"{'signal':<20}{'documents/s':>14}{'MB/s':>10}")
    figures: dict[str, float] = {}
    whole = 0.0
    for signal in everything:
        if "text" not in signal.reads:
            continue
        measure(batch.slice(0, 8), [signal])
        seconds = float("inf")
        for _ in range(ROUNDS):
            started = time.thread_time()
            measure(batch, [signal])
            seconds = min(seconds, time.thread_time() - started)
        whole += seconds
        figures[f"{signal.name}_documents_per_second"] = round(len(found) / seconds, 1)
        print(f"{signal.name:<20}{len(found) / seconds:>14,.0f}{megabytes / seconds:>10,.1f}")
    figures["all_documents_per_second"] = round(len(found) / whole, 1)
    print(f"{'all':<20}{len(found) / whole:>14,.0f}{megabytes / whole:>10,.1f}")
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
