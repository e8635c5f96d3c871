"""CPU-seconds, memory, recall and precision of cutting repeated text; a plain dictionary of windows in the same run.

    python benchmarks/repeats.py [--documents N] [--json]

Documents are Zipf-distributed words of 3.5 KB on average, seeded. Planted in them: in one of ten a passage of 50 to 400
words that another document has too, in a third a boilerplate line. Repeats of 50 words and of lines are cut as the
pipeline does it: files in parts, piece by piece of 16 MB, bucket by bucket, without an engine, in one process. CPU time of
all threads after a warm-up; memory is that of the process's peak above what it had when the corpus lay on disk.
The dictionary holds every window of 50 words of a part of the corpus as a string. 1 GB is 290,000 documents.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from filters.kernels.repeats import seen_more_than
from filters.kernels.shingles import hashing
from filters.repeats import Marked, Repeat, claim, mark
from pipeline.node import nodes_of
from pipeline.repeats import Cut, claims_batch, cut, decide
from pipeline.stages.parts import read_part, write_parts
from pipeline.stages.work import pack_rows
from pipeline.store import Store

WORDS, PIECE, BUCKETS, WINDOW = 560, 4600, 16, 50
REPEATS = (Repeat("words", WINDOW), Repeat("line", 20))
KEY = hashing(1)
LINE = "Copyright the owners of this site; all rights are reserved and none of them is given away"


class Planted:
    """A generator of documents that plants passages and remembers where: in characters, of each document."""

    def __init__(self, count: int) -> None:
        self._random = np.random.default_rng(1)
        letters = np.array(list("etaoinshrdlcumwfgypbvk"))
        sizes = self._random.integers(2, 10, 100_000)
        self._words = np.array(["".join(self._random.choice(letters, size)) for size in sizes])
        self._chances = np.cumsum(1 / np.arange(2, 100_002))
        self._passages = [self._text(int(n)) for n in self._random.integers(WINDOW, 400, max(1, count // 30))]
        self.passages: dict[tuple[int, int], list[tuple[int, int, int]]] = {}

    def _text(self, words: int) -> str:
        picked = np.searchsorted(self._chances, self._random.random(words) * self._chances[-1])
        return " ".join(self._words[picked].tolist())

    def piece(self, number: int, count: int) -> list[str]:
        texts = []
        for row in range(count):
            half = int(self._random.integers(10, WORDS - 10))
            before, after = self._text(half), self._text(WORDS - half)
            if self._random.random() < 0.1:
                which = int(self._random.integers(len(self._passages)))
                start, passage = len(before) + 1, self._passages[which]
                self.passages[number, row] = [(start, start + len(passage), which)]
                texts.append(f"{before} {passage} {after}")
            else:
                texts.append(f"{before} {after}")
            if self._random.random() < 0.33:
                texts[-1] += f"\n{LINE}\n"
        return texts


class Corpus:
    """A corpus on disk in pieces, and the steps of the pipeline on it: what is between steps lies in files."""

    def __init__(self, folder: str, planted: Planted, count: int) -> None:
        self.store = Store(folder)
        self.pieces: list[int] = []
        self.size = 0
        for number, start in enumerate(range(0, count, PIECE)):
            texts = pa.array(planted.piece(number, min(PIECE, count - start)), pa.large_string())
            self.size += texts.nbytes
            self.store.write_table(f"text-{number}", pa.table({"text": texts}))
            self.pieces.append(len(texts))

    def text(self, number: int) -> pa.Array:
        column = pq.read_table(self.store.path(f"text-{number}"), use_threads=False).column("text")
        return column.combine_chunks() if column.num_chunks > 1 else column.chunk(0)

    def mark(self) -> None:
        for number in range(len(self.pieces)):
            text, parts, places = self.text(number), [], []
            for repeat in REPEATS:
                marks = mark(text, repeat, KEY)
                for mine in _by_bucket(marks.hashes):
                    parts.append(marks.hashes[mine].tobytes())
                    where = np.column_stack([marks.rows[mine], marks.places[mine]])
                    places.append(where.astype(np.uint32).tobytes())
            write_parts(self.store, f"marks-{number}", parts)
            write_parts(self.store, f"places-{number}", places)

    def count(self) -> None:
        for part in range(BUCKETS * len(REPEATS)):
            marks = [
                np.frombuffer(read_part(self.store, f"marks-{n}", part), np.uint64) for n in range(len(self.pieces))
            ]
            often = seen_more_than(np.concatenate(marks), REPEATS[part // BUCKETS].occurrences)
            bits, at = [], 0
            for own in marks:
                bits.append(np.packbits(often[at : at + len(own)]).tobytes())
                at += len(own)
            write_parts(self.store, f"often-{part}", bits)

    def claim(self) -> int:
        claimed = 0
        for number in range(len(self.pieces)):
            text, parts = self.text(number), []
            documents = _documents(number, text)
            for kind, repeat in enumerate(REPEATS):
                chosen = []
                for part in range(kind * BUCKETS, (kind + 1) * BUCKETS):
                    where = np.frombuffer(read_part(self.store, f"places-{number}", part), np.uint32).reshape(-1, 3)
                    bits = np.frombuffer(read_part(self.store, f"often-{part}", number), np.uint8)
                    chosen.append(where[np.unpackbits(bits, count=len(where)).astype(bool)])
                found = np.concatenate(chosen).astype(np.int64)
                found = found[np.lexsort((found[:, 1], found[:, 0]))]
                marks = Marked(np.zeros(0, np.uint64), found[:, 0].copy(), found[:, 1:].copy())
                claims = claim(text, repeat, marks, KEY)
                claimed += len(claims.rows)
                for mine in _by_bucket(claims.hashes[:, 0]):
                    own = Marked(*(column[mine] for column in claims))
                    parts.append(pack_rows(claims_batch(documents, own)) if len(mine) else b"")
            write_parts(self.store, f"claims-{number}", parts)
        return claimed

    def decide(self) -> None:
        for part in range(BUCKETS * len(REPEATS)):
            data = [read_part(self.store, f"claims-{number}", part) for number in range(len(self.pieces))]
            batches = [pa.ipc.open_stream(one).read_next_batch() for one in data if one]
            gone = [b""] * len(self.pieces)
            for number, batch in decide(batches, REPEATS[part // BUCKETS].occurrences):
                gone[number] = pack_rows(batch)
            write_parts(self.store, f"gone-{part}", gone)

    def cut(self) -> Iterator[Cut]:
        for number in range(len(self.pieces)):
            gone = []
            for part in range(BUCKETS * len(REPEATS)):
                if data := read_part(self.store, f"gone-{part}", number):
                    gone.append((REPEATS[part // BUCKETS].unit, pa.ipc.open_stream(data).read_next_batch()))
            shorter = cut(self.text(number), gone)
            self.store.write_table(f"shorter-{number}", pa.table({"text": shorter.text}))
            yield shorter


def _by_bucket(hashes: np.ndarray) -> list[np.ndarray]:
    bucket = (hashes % np.uint64(BUCKETS)).astype(np.uint16)
    order = np.argsort(bucket, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(bucket, minlength=BUCKETS))])
    return [order[start:stop] for start, stop in pairwise(bounds)]


def _documents(number: int, text: pa.Array) -> pa.RecordBatch:
    rows = np.arange(len(text))
    columns = {
        "node": pa.array(nodes_of(number, rows)),
        "preference": pa.array(np.zeros(len(text))),
        "priority": pa.array(np.zeros(len(text), np.int32)),
        "characters": pa.array(np.zeros(len(text), np.int64)),
        "content": pa.array([int(node).to_bytes(8, "big") * 2 for node in nodes_of(number, rows)], pa.binary(16)),
        "id": pa.array([f"{number}-{row}" for row in rows]),
        "source": pa.array(["generated"] * len(text)),
    }
    return pa.RecordBatch.from_pydict(columns)


def dictionary(texts: list[str]) -> int:
    """Return how many windows of 50 words come again, as a plain dictionary finds them."""
    seen: set[str] = set()
    again = 0
    for text in texts:
        words = text.split()
        for first in range(len(words) - WINDOW + 1):
            window = " ".join(words[first : first + WINDOW])
            again += window in seen
            seen.add(window)
    return again


def score(planted: Planted, spans: list[list[list[dict]]]) -> tuple[float, float]:
    """Return (share of what is planted again that was cut, share of what was cut that is planted), in characters."""
    kept: dict[int, int] = {}
    wanted = hit = removed = within = 0
    for number, rows in enumerate(spans):
        for row, found in enumerate(rows):
            own = [(one["start"], one["end"]) for one in found or [] if one["unit"] == "words"]
            removed += sum(end - start for start, end in own)
            for start, end, which in planted.passages.get((number, row), []):
                inside = sum(max(0, min(end, b) - max(start, a)) for a, b in own)
                within += inside
                if which in kept:
                    wanted, hit = wanted + end - start, hit + inside
                kept.setdefault(which, row)
    return hit / max(1, wanted), within / max(1, removed)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    arguments.add_argument("--documents", type=int, default=20_000, metavar="N", help="at least 1,000")
    arguments.add_argument("--json", action="store_true", help="print one object {figure: value} as the last line")
    options = arguments.parse_args()
    count = max(1000, options.documents)
    for repeat in (*REPEATS, Repeat("bytes", 500), Repeat("paragraph", 20), Repeat("sentence", 20)):
        text = pa.array(["la la. " * 300] * 2, pa.large_string())
        claim(text, repeat, mark(text, repeat, KEY), KEY)
    figures: dict[str, float] = {"documents": count}
    with tempfile.TemporaryDirectory() as warm:
        small = Corpus(warm, Planted(200), 200)
        for step in (small.mark, small.count, small.claim, small.decide, lambda: list(small.cut())):
            step()
    with tempfile.TemporaryDirectory() as folder:
        planted = Planted(count)
        corpus = Corpus(folder, planted, count)
        figures["text_bytes"] = corpus.size
        base = peak()
        spans: list[list[list[dict]]] = []
        total = 0.0
        for name in ("mark", "count", "claim", "decide", "cut"):
            started = time.process_time()
            if name == "cut":
                spans = [shorter.spans.column("removed").to_pylist() for shorter in corpus.cut()]
            else:
                claims = getattr(corpus, name)()
                if name == "claim":
                    figures["claims"] = claims
            figures[f"{name}_seconds"] = time.process_time() - started
            total += figures[f"{name}_seconds"]
        figures["seconds"] = total
        figures["megabytes_per_second"] = corpus.size / total / 1e6
        figures["peak_bytes"] = peak()
        figures["peak_bytes_above_the_start"] = peak() - base
        figures["bytes_of_files_per_byte_of_text"] = (
            sum(
                file.stat().st_size
                for name in ("marks", "places", "claims", "gone", "often")
                for file in Path(folder).glob(f"{name}-*")
            )
            / corpus.size
        )
        figures["recall"], figures["precision"] = score(planted, spans)
        part = corpus.text(0).slice(0, 2000)
        for unit, size in (("words", WINDOW), ("bytes", 500), ("line", 20), ("paragraph", 20), ("sentence", 20)):
            started = time.process_time()
            mark(part, Repeat(unit, size), KEY)
            figures[f"mark_{unit}_megabytes_per_second"] = part.nbytes / (time.process_time() - started) / 1e6
        started = time.process_time()
        dictionary(part.to_pylist())
        figures["dictionary_megabytes_per_second"] = part.nbytes / (time.process_time() - started) / 1e6
        figures["times_the_dictionary"] = figures["megabytes_per_second"] / figures["dictionary_megabytes_per_second"]
    for figure, value in figures.items():
        print(f"{figure:50} {value:18,.{0 if value >= 1000 else 3}f}")
    if options.json:
        print(json.dumps({figure: round(value, 3) for figure, value in figures.items()}))


if __name__ == "__main__":
    main()
