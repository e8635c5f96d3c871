"""Evaluation items found in documents: speed, and precision and recall on planted truth; plain n-grams in the same run.

    python benchmarks/decontamination.py [--documents N] [--data FOLDER] [--vectors FOLDER] [--json]

Documents are 3.5 KB of Zipf-distributed words, seeded; items are 20,000 of 15 to 60 such words. One document in ten holds an
item, in which every so many words one is changed, left out or put in; one in ten holds a decoy: the first six words of an
item, or all of them in another order. The peer is what GPT-3 (13 words) and datatrove (12) do: a document that has an
n-gram of an item, letter for letter after lower-casing, is reported; in plain Python, on a tenth of the documents. Where
the data folder is, the same on the planted truth of the vectors, and on all real documents, which hold no item.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zstandard
from planted import SETS, planted, unpacked

from filters.contamination import Index, Items
from pipeline.evaluation import items_of
from pipeline.recipe import parse

ITEMS, WORDS, PLAIN = 20_000, 560, 12
EDITS = (0, 20, 15, 12, 9, 7, 5)
"""One word in so many is edited; 0: none."""
SHARED = Path(__file__).resolve().parents[2] / "shared"
FILES = ("web/truth.jsonl.zst", "books/books.jsonl.zst", "multilingual/text.jsonl.zst", "neardup/neardup.jsonl.zst")


def generate(count: int) -> tuple[list[str], list[str], np.ndarray]:
    """Return (items, documents, what is in each: the place in EDITS of its item, -1 for nothing, -2 for a decoy)."""
    random = np.random.default_rng(1)
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    vocabulary = np.array(["".join(random.choice(letters, random.integers(1, 10))) for _ in range(50_000)])
    chances = np.cumsum(1 / np.arange(2, 50_002))

    def words(size: int) -> np.ndarray:
        return np.searchsorted(chances, random.random(size) * chances[-1])

    items = [words(random.integers(15, 61)) for _ in range(ITEMS)]
    documents, holds = [], np.full(count, -1)
    for number in range(count):
        body = words(WORDS)
        if number % 5 == 0:
            item = items[random.integers(ITEMS)]
            if number % 10 == 0:
                holds[number] = number // 10 % len(EDITS)
                block = _edited(random, item, EDITS[holds[number]])
            else:
                holds[number] = -2
                block = item[:6] if number % 20 == 5 else random.permutation(item)
            at = random.integers(WORDS)
            body = np.concatenate([body[:at], block, body[at:]])
        documents.append(" ".join(vocabulary[body].tolist()) + ".")
    return [" ".join(vocabulary[item].tolist()) for item in items], documents, holds


def _edited(random: np.random.Generator, item: np.ndarray, every: int) -> np.ndarray:
    if not every:
        return item
    words = item.tolist()
    for at in range(len(words) - 1 - random.integers(every), 0, -every):
        kind, other = random.integers(3), int(random.integers(50_000))
        words[at : at + (kind != 2)] = [] if kind == 1 else [other]
    return np.array(words)


def index(items: list[str] | pa.Array) -> Index:
    return Index(Items.of(pa.array(items, pa.large_string()) if isinstance(items, list) else items))


def rows_found(known: Index, documents: list[str]) -> set[int]:
    """Return which documents hold an item, as we find it: a batch at a time."""
    found: set[int] = set()
    for start in range(0, len(documents), 4096):
        texts = pa.array(documents[start : start + 4096], pa.large_string())
        found |= {start + one.row for one in known.find(texts)}
    return found


def plain_grams(texts: list[str], width: int) -> set[str]:
    return {gram for text in texts for gram in _grams(text, width)}


def plain_found(known: set[str], documents: list[str], width: int) -> set[int]:
    """Return which documents have an n-gram of an item."""
    return {row for row, text in enumerate(documents) if not known.isdisjoint(_grams(text, width))}


def _grams(text: str, width: int) -> Iterator[str]:
    words = re.findall(r"\w+", text.lower())
    return (" ".join(words[at : at + width]) for at in range(len(words) - width + 1))


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    started = time.process_time()
    result = function(*arguments)
    return result, time.process_time() - started


def quality(found: set[int], truth: set[int], count: int | None = None) -> dict[str, float]:
    truth = {row for row in truth if count is None or row < count}
    right = len(found & truth)
    return {"precision": right / len(found) if found else 1.0, "recall": right / len(truth) if truth else 1.0}


def real_documents(data: Path) -> Iterator[str]:
    for name in FILES:
        for line in unpacked(data / name).split("\n"):
            if line:
                record = json.loads(line)
                yield record.get("text") or record.get("gold_text") or ""
    with (data / "code/trees.tar.zst").open("rb") as file:
        raw = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                yield content.read().decode("utf-8", "replace")


def on_real_data(data: Path, vectors: Path) -> dict[str, float]:
    """Return precision and recall by document on the planted truth, and how many real documents are reported."""
    recipe = parse({"corpora": {"a": {"read": {"format": "text", "paths": "."}}}, "decontaminate": SETS}, str(data))
    items = items_of(recipe).column("text").combine_chunks()
    known, grams = index(items), {width: plain_grams(items.to_pylist(), width) for width in (8, 12, 13)}
    documents = planted(data, vectors)
    texts = [document["text"] for document in documents]
    truth = {row for row, document in enumerate(documents) if document["type"] == "plant"}
    real = list(real_documents(data))
    figures: dict[str, float] = {"real_items": len(items), "real_documents": len(real)}
    ways = {"ours": lambda some: rows_found(known, some)}
    for width in grams:
        ways[f"plain_{width}_grams"] = lambda some, width=width: plain_found(grams[width], some, width)
    for name, find in ways.items():
        for figure, value in quality(find(texts), truth).items():
            figures[f"planted_{figure}_{name}"] = value
        figures[f"real_documents_reported_{name}"] = len(find(real))
    return figures


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    arguments.add_argument("--documents", type=int, default=40_000, metavar="N", help="at least 1,000")
    arguments.add_argument("--data", type=Path, default=SHARED / "data")
    arguments.add_argument("--vectors", type=Path, default=SHARED / "vectors")
    arguments.add_argument("--json", action="store_true", help="print one object {figure: value} as the last line")
    options = arguments.parse_args()
    count = max(1000, options.documents)
    items, documents, holds = generate(count)
    rows_found(index(items[:100]), documents[:100])

    known, indexing = timed(index, items)
    seconds = []
    for _ in range(3):
        found, spent = timed(rows_found, known, documents)
        seconds.append(spent)
    some = documents[: count // 10]
    grams = plain_grams(items, PLAIN)
    peer, peer_seconds = timed(plain_found, grams, some, PLAIN)
    truth = set(np.flatnonzero(holds >= 0).tolist())
    ours, theirs = count / min(seconds), len(some) / peer_seconds
    figures: dict[str, float] = {
        "documents": count,
        "bytes_per_document": sum(map(len, some)) / len(some),
        "items_indexed_per_second": ITEMS / indexing,
        "decontamination_documents_per_second": ours,
        f"plain_{PLAIN}_grams_documents_per_second": theirs,
        f"times_plain_{PLAIN}_grams": ours / theirs,
        "precision": quality(found, truth)["precision"],
        f"precision_plain_{PLAIN}_grams": quality(peer, truth, len(some))["precision"],
    }
    for place, every in enumerate(EDITS):
        mine = set(np.flatnonzero(holds == place).tolist())
        name = f"recall_one_edit_in_{every}" if every else "recall_unedited"
        figures[name] = quality(found & mine, mine)["recall"]
        figures[f"{name}_plain_{PLAIN}_grams"] = quality(peer & mine, mine, len(some))["recall"]
    if options.data.is_dir() and options.vectors.is_dir():
        figures |= on_real_data(options.data, options.vectors)
    for figure, value in figures.items():
        print(f"{figure:50} {value:14,.{0 if value >= 100 or value == int(value) else 3}f}")
    if options.json:
        print(json.dumps({figure: round(value, 4) for figure, value in figures.items()}))


if __name__ == "__main__":
    main()
