"""Documents and megabytes of text per CPU-second that each reader gives, decompression included.

    python benchmarks/reading.py [--documents N] [--data FOLDER] [--json]

Sources are those of the data folder, and the same texts written anew in other formats to a temporary folder; of each
the first N documents are read. CPU time of one thread, the best of three rounds, files in the page cache.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import zstandard

from pipeline.document import Reject
from pipeline.read import Source, Unit, read, units

ROUNDS = 3


def lines(path: Path, documents: int) -> list[bytes]:
    """Return the first lines of a .jsonl.zst file."""
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return list(islice(io.BufferedReader(stream), documents))


def members(path: Path, documents: int) -> Iterator[tuple[str, bytes]]:
    """Yield the first files of a .tar.zst archive."""
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for number, member in enumerate(one for one in archive if one.isfile()):
                if number == documents:
                    return
                content = archive.extractfile(member)
                yield member.name, content.read() if content else b""


def sources(data: Path, folder: Path, documents: int) -> Iterator[tuple[str, Source]]:
    """Yield (what it is, source): the data folder's own, and their texts written into `folder` in other formats."""
    short = lines(data / "multilingual" / "text.jsonl.zst", documents)
    (folder / "short.jsonl").write_bytes(b"".join(short))
    (folder / "books.jsonl").write_bytes(b"".join(lines(data / "books" / "books.jsonl.zst", documents)))
    rows = [{name: row.get(name) for name in ("id", "text")} for row in map(json.loads, short)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "short.parquet", compression="zstd", row_group_size=5000)
    for number, (_, content) in enumerate(members(data / "code" / "trees.tar.zst", documents)):
        target = folder / "tree" / f"{number // 500}" / f"{number}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    yield "WARC, gzip", Source("a", "warc", (str(data / "web" / "crawl-*.warc.gz"),))
    yield "WET, gzip", Source("a", "wet", (str(data / "web" / "crawl-*.wet.gz"),))
    yield "JSONL, zstd, books", Source("a", "jsonl", (str(data / "books" / "books.jsonl.zst"),))
    yield "JSONL, plain, books", Source("a", "jsonl", (str(folder / "books.jsonl"),))
    yield "JSONL, zstd, short texts", Source("a", "jsonl", (str(data / "multilingual" / "text.jsonl.zst"),))
    yield "JSONL, plain, short texts", Source("a", "jsonl", (str(folder / "short.jsonl"),))
    yield "Parquet, zstd, short texts", Source("a", "parquet", (str(folder / "short.parquet"),))
    yield "code, tar.zst", Source("a", "code", (str(data / "code" / "trees.tar.zst"),))
    yield "code, folder", Source("a", "code", (str(folder / "tree"),))
    yield "text, files", Source("a", "text", (str(folder / "tree" / "*" / "*.py"),))


def read_some(cut: list[Unit], documents: int) -> tuple[int, int]:
    """Read at least `documents` documents, or all there are; return how many, and the bytes of their text."""
    count = size = 0
    for unit in cut:
        for batch in read(unit):
            if isinstance(batch, Reject):
                continue
            count += batch.num_rows
            size += pc.sum(pc.binary_length(batch.column("text"))).as_py() or 0
            if count >= documents:
                return count, size
    return count, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object on the last line")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        parser.exit(message=f"{arguments.data}: no such folder; there is nothing to read\n")

    figures: dict[str, float] = {}
    print(f"{'source':<28}{'documents':>10}{'MB of text':>12}{'MB/s':>8}{'documents/s':>13}")
    with tempfile.TemporaryDirectory() as folder:
        for what, source in sources(arguments.data, Path(folder), arguments.documents):
            cut = units(source)
            seconds = float("inf")
            for _ in range(ROUNDS):
                started = time.thread_time()
                count, size = read_some(cut, arguments.documents)
                seconds = min(seconds, time.thread_time() - started)
            print(f"{what:<28}{count:>10,}{size / 1e6:>12.1f}{size / 1e6 / seconds:>8.0f}{count / seconds:>13,.0f}")
            figures["_".join(what.lower().replace(",", "").replace(".", "_").split()) + "_mb_per_second"] = round(
                size / 1e6 / seconds, 1
            )
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
