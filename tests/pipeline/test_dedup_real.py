"""Deduplication on chains of planted truth, and on real texts whose every similar pair is known."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard

from filters.kernels.shingles import is_unspaced
from tests.pipeline.sketched import (
    deduplicate,
    hold_to_the_laws,
    jaccard,
    sketch,
)


def records(path: Path) -> Iterator[dict[str, object]]:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        for line in io.TextIOWrapper(stream, encoding="utf-8", newline="\n"):
            yield json.loads(line)


def test_a_chain_loses_only_links_that_resemble_their_survivor(vectors):
    """200 texts, each 90 % similar to the next: components of candidates keep 1, and a verified walk at least 40."""
    texts = [str(record["text"]) for record in records(vectors / "chain.jsonl.zst")]
    sketched = sketch(texts)
    removed = deduplicate(sketched)
    assert len(texts) == 200
    assert 40 <= 200 - len(removed.node) < 150
    hold_to_the_laws(sketched, 0.8, removed)


def near_texts(data: Path, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    wanted = set(keys)
    files = {
        "neardup": ("neardup/neardup.jsonl.zst", "id", "text"),
        "web": ("web/truth.jsonl.zst", "record_id", "gold_text"),
        "books": ("books/books.jsonl.zst", "id", "text"),
        "multilingual": ("multilingual/text.jsonl.zst", "id", "text"),
    }
    found = {}
    for part, (file, name, text) in files.items():
        for record in records(data / file):
            if (part, str(record.get(name))) in wanted:
                found[part, str(record[name])] = str(record[text])
    return found


@pytest.mark.slow
def test_similar_pairs_of_real_texts_do_not_both_stay(data, vectors):
    """Of the pairs with an exact Jaccard similarity of 0.8, at most 0.2 % both stay; every removal is verified."""
    documents = pq.read_table(vectors / "near_docs.parquet").to_pylist()
    keys = [(row["part"], row["id"]) for row in documents]
    texts = near_texts(data, keys)
    assert set(texts) == set(keys)
    sketched = sketch([texts[key] for key in keys])
    removed = deduplicate(sketched)
    gone = {keys[node] for node in removed.node}
    pairs = [row for row in pq.read_table(vectors / "near_pairs.parquet").to_pylist() if row["jaccard"] >= 0.8]
    caught = sum((row["part_a"], row["id_a"]) in gone or (row["part_b"], row["id_b"]) in gone for row in pairs)
    assert len(pairs) == 1334
    assert caught / len(pairs) >= 0.998
    hold_to_the_laws(sketched, 0.8, removed)


@pytest.mark.slow
def test_similarity_is_the_known_one_where_scripts_have_spaces(data, vectors):
    pairs = pq.read_table(vectors / "near_pairs.parquet").to_pylist()[::9]
    ends = [[(row[f"part_{side}"], row[f"id_{side}"]) for side in "ab"] for row in pairs]
    texts = near_texts(data, (key for both in ends for key in both))
    keys = list(texts)
    members = sketch([texts[key] for key in keys]).members
    alone = np.array([is_unspaced(point) for point in range(0x110000)])
    spaced = {key for key, one in texts.items() if not alone[np.frombuffer(one.encode("utf-32-le"), np.uint32)].any()}
    compared = 0
    for row, both in zip(pairs, ends, strict=True):
        if spaced.issuperset(both):
            assert jaccard(members, *(keys.index(key) for key in both)) == row["jaccard"]
            compared += 1
    assert compared > 700
