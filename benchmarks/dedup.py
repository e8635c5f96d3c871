"""Documents per CPU-second through the near-duplicate search, its memory and its growth; datasketch in the same run.

    python benchmarks/dedup.py [--documents N] [--json]

Documents are 3.5 KB of Zipf-distributed words, seeded; three in ten are planted: copies of an earlier one with up to 12
words changed. CPU time of one thread after a warm-up; signatures: the best of three rounds. datasketch 14 × 8 gets a
tenth of the documents and removes whatever its index finds, unverified.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from datasketch import MinHash, MinHashLSH

from filters.sketch import bands, content_hash, shingles
from pipeline.dedup import Members, Removed, components, hash_rows, links, walk

WORDS, PLANTED, EDITS, BATCH, BUCKETS, THRESHOLD = 560, 0.3, 12, 4096, 16, 0.8


def generate(count: int) -> tuple[pa.Array, np.ndarray]:
    """Return documents, and for each the one it was copied from, -1 if it was not."""
    random = np.random.default_rng(1)
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    vocabulary = np.array(["".join(random.choice(letters, random.integers(1, 10))) for _ in range(50_000)])
    chances = np.cumsum(1 / np.arange(2, 50_002))
    planted = random.random(count) < PLANTED
    source = np.where(planted, (random.random(count) * np.arange(count)).astype(int), -1)
    source[0] = -1
    texts: list[np.ndarray] = []
    for index in range(count):
        if source[index] >= 0:
            words = texts[source[index]].copy()
            edits = random.integers(0, EDITS + 1)
            words[random.integers(0, WORDS, edits)] = random.integers(0, 50_000, edits)
        else:
            words = np.searchsorted(chances, random.random(WORDS) * chances[-1])
        texts.append(words)
    return pa.array((" ".join(vocabulary[words].tolist()) + "." for words in texts), pa.large_string()), source


def deduplicate(text: pa.Array) -> Removed:
    """Run every step as the pipeline does, a batch at a time, without an engine and without files."""
    measured, by_bucket = [], defaultdict(list)
    for start in range(0, len(text), BATCH):
        batch = text.slice(start, BATCH)
        measured.append((content_hash(batch), bands(batch)))
        nodes = np.arange(start, start + len(batch))
        for bucket, value in hash_rows(nodes, *measured[-1], BUCKETS):
            by_bucket[bucket].append(value)
    nodes, roots = components(link for values in by_bucket.values() for link in links(values))
    parts = []
    for number, (content, hashes) in enumerate(measured):
        mine = np.flatnonzero(nodes // BATCH == number)
        rows = pa.array(nodes[mine] - number * BATCH)
        some = text.slice(number * BATCH, BATCH).take(rows)
        offsets, numbers = shingles(some)
        parts.append(
            Members(
                component=roots[mine],
                node=nodes[mine],
                priority=np.zeros(len(mine), np.int32),
                characters=np.array([len(one) for one in some.to_pylist()], np.int64),
                content=np.frombuffer(b"".join(content.take(rows).to_pylist()), np.uint8).reshape(-1, 16),
                bands=np.frombuffer(b"".join(hashes.take(rows).to_pylist()), np.uint64).reshape(-1, 14),
                shingle_offsets=offsets,
                shingles=numbers,
            )
        )
    return walk(Members.concat(parts), THRESHOLD)


def template(similarity: float, count: int = 10_000, size: int = 550) -> Members:
    """Return members that all share one band hash and whose shingle sets are, pair by pair, of one similarity."""
    random = np.random.default_rng(2)
    shared = round(size * 2 * similarity / (1 + similarity))
    common = np.broadcast_to(random.integers(0, 1 << 63, shared, dtype=np.uint64), (count, shared))
    own = random.integers(0, 1 << 63, (count, size - shared), dtype=np.uint64)
    hashes = random.integers(0, 1 << 63, (count, 14), dtype=np.uint64)
    hashes[:, 0] = 1
    return Members(
        component=np.zeros(count, np.int64),
        node=np.arange(count),
        priority=np.zeros(count, np.int32),
        characters=np.full(count, 3500),
        content=random.integers(0, 256, (count, 16), dtype=np.uint8),
        bands=hashes,
        shingle_offsets=np.arange(count + 1) * size,
        shingles=np.sort(np.concatenate([common, own], axis=1), axis=1).ravel(),
    )


def datasketch_signatures(texts: list[str]) -> list[MinHash]:
    words = [re.findall(r"[^\W_]+", text.lower()) for text in texts]
    grams = [[" ".join(one[i : i + 5]).encode() for i in range(len(one) - 4)] for one in words]
    return MinHash.bulk(grams, num_perm=112, seed=1)


def datasketch_duplicates(texts: list[str]) -> int:
    """Return how many documents datasketch's index finds to share a band with an earlier one that it kept."""
    index, removed = MinHashLSH(num_perm=112, params=(14, 8)), 0
    for number, signature in enumerate(datasketch_signatures(texts)):
        if index.query(signature):
            removed += 1
        else:
            index.insert(number, signature)
    return removed


def seconds(function: Callable[[Any], object], argument: Any) -> float:
    started = time.process_time()
    function(argument)
    return time.process_time() - started


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    arguments.add_argument("--documents", type=int, default=40_000, metavar="N", help="at least 1,000")
    arguments.add_argument("--json", action="store_true", help="print one object {figure: value} as the last line")
    options = arguments.parse_args()
    count = max(1000, options.documents)
    text, source = generate(count)
    deduplicate(text.slice(0, 500))

    signing = min(seconds(bands, text) for _ in range(3))
    sizes = [count // 4, count // 2, count]
    times = [seconds(deduplicate, text.slice(0, size)) for size in sizes]
    slope = np.polyfit(np.log(sizes), np.log(times), 1)[0]
    tracemalloc.start()
    removed = deduplicate(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    gone, copies = np.isin(np.arange(count), removed.node), np.flatnonzero(source >= 0)
    some = text.slice(0, count // 10).to_pylist()
    peer_signing, peer_removing = seconds(datasketch_signatures, some), seconds(datasketch_duplicates, some)

    figures = {
        "documents": count,
        "bytes_per_document": sum(map(len, some)) / len(some),
        "signatures_documents_per_second": count / signing,
        "near_duplicates_documents_per_second": count / times[-1],
        "peak_bytes_per_document": peak / count,
        "growth_exponent": float(slope),
        "removed": len(removed.node),
        "share_of_planted_pairs_not_both_kept": float((gone[copies] | gone[source[copies]]).mean()),
        "seconds_for_10000_pages_of_a_template_half_alike": seconds(lambda one: walk(one, THRESHOLD), template(0.5)),
        "seconds_for_10000_pages_of_a_template_just_unlike": seconds(lambda one: walk(one, THRESHOLD), template(0.78)),
        "datasketch_signatures_documents_per_second": len(some) / peer_signing,
        "datasketch_near_duplicates_documents_per_second": len(some) / peer_removing,
        "signatures_times_datasketch": (count / signing) / (len(some) / peer_signing),
        "near_duplicates_times_datasketch": (count / times[-1]) / (len(some) / peer_removing),
    }
    for figure, value in figures.items():
        print(f"{figure:50} {value:14,.{0 if value >= 100 else 3}f}")
    if options.json:
        print(
            json.dumps({figure: round(value, 3) if math.isfinite(value) else None for figure, value in figures.items()})
        )


if __name__ == "__main__":
    main()
