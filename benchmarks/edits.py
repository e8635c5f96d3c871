"""Pages and characters per CPU-second through the edits, on the pages of a folder of WARC files.

    python benchmarks/edits.py [--documents N] [--data FOLDER] [--json]

CPU time of this process and its workers, one thread, after a warm-up; the best of three rounds (one for trafilatura). A
megabyte of nested tags is timed beside them.
"""

from __future__ import annotations

import argparse
import json
import resource
from pathlib import Path

import pyarrow as pa

from pipeline.document import Reject
from pipeline.edit import edit
from pipeline.edits import deadline
from pipeline.read import Source, read, units

PRECISE_PAGES = 200


def pages(data: Path, documents: int) -> pa.RecordBatch:
    """Return the first `documents` pages of the folder's WARC files."""
    batches: list[pa.RecordBatch] = []
    for unit in units(Source("web", "warc", (str(data / "web" / "crawl-*.warc.gz"),))):
        batches += [batch for batch in read(unit) if not isinstance(batch, Reject)]
    return pa.Table.from_batches(batches).slice(0, documents).combine_chunks().to_batches()[0]


def cpu_seconds() -> float:
    """Return the processor time this process and its ended workers have used."""
    deadline.close()
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def seconds(batch: pa.RecordBatch, names: list[str], rounds: int) -> float:
    """Return the CPU time of the edits over the batch, the best of `rounds`."""
    edit(batch.slice(0, 5), names)
    taken = []
    for _ in range(rounds):
        started = cpu_seconds()
        edit(batch, names)
        taken.append(cpu_seconds() - started)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    batch = pages(arguments.data, arguments.documents)
    text, _ = edit(batch, ["main_text"])
    nested = batch.slice(0, 1).set_column(
        batch.schema.get_field_index("text"),
        batch.schema.field("text"),
        pa.array(["<div>" * 220_000], pa.large_string()),
    )
    few = batch.slice(0, min(PRECISE_PAGES, batch.num_rows))
    figures = {"main_text_pages_per_second": batch.num_rows / seconds(batch, ["main_text"], 3)}
    figures["main_text_precise_pages_per_second"] = few.num_rows / seconds(few, ["main_text_precise"], 1)
    characters = sum(len(one) for one in text.column("text").to_pylist())
    for name in ("repair_text", "nfc", "gutenberg", "c4_lines"):
        figures[f"{name}_million_characters_per_second"] = characters / 1e6 / seconds(text, [name], 3)
    figures["megabyte_of_nested_tags_seconds"] = seconds(nested, ["main_text"], 3)
    print(f"{batch.num_rows} pages, {characters / 1e6:.1f} million characters of text")
    for figure, value in figures.items():
        print(f"{figure:45} {value:12.4g}")
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
