"""Deduplication without an engine: its laws, and the truth it is held to."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from filters.sketch import bands, content_hash, shingles
from pipeline.dedup import Members, Removed, components, hash_rows, links, walk
from tests.pipeline.corpora import edited, text


def deduplicate(texts, threshold=0.8, order=None, buckets=4, priority=None) -> Removed:
    """Run the whole in memory: the rows come in `order`, nodes stay those of `texts`."""
    order = np.arange(len(texts)) if order is None else order
    array = pa.array([texts[i] for i in order], pa.large_string())
    content, band = content_hash(array), bands(array)
    heaps: dict[int, list[bytes]] = {}
    for bucket, rows in hash_rows(order, content, band if threshold is not None else None, buckets):
        heaps.setdefault(bucket, []).append(rows)
    found = [link for heap in heaps.values() for link in links(heap)]
    nodes, roots = components(found)
    place = {int(node): i for i, node in enumerate(order)}
    rows = np.array([place[int(node)] for node in nodes], np.int64)
    chosen = array.take(pa.array(rows))
    known = band.take(pa.array(rows))
    packed = np.zeros((len(rows), 14), np.uint64)
    for i, value in enumerate(known.to_pylist()):
        if value is not None:
            packed[i] = np.frombuffer(value, "<u8")
    offsets, hashes = shingles(chosen)
    members = Members(
        component=roots,
        node=nodes,
        priority=np.zeros(len(rows), np.int32) if priority is None else np.asarray(priority, np.int32)[nodes],
        characters=np.array([len(t) for t in chosen.to_pylist()], np.int64),
        content=np.frombuffer(b"".join(content.take(pa.array(rows)).to_pylist()), np.uint8).reshape(len(rows), 16),
        bands=packed,
        shingle_offsets=offsets,
        shingles=hashes,
    )
    return walk(Members.concat([Members.from_batch(members.to_batch())]), threshold) if len(rows) else _nothing()


def _nothing() -> Removed:
    return Removed(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, bool))


def jaccard(left: str, right: str) -> float:
    offsets, hashes = shingles(pa.array([left, right], pa.large_string()))
    one, two = set(hashes[: offsets[1]].tolist()), set(hashes[offsets[1] :].tolist())
    return len(one & two) / len(one | two)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    base = [text(seed) for seed in range(60)]
    return [*base, *base[:5], *[edited(t) for t in base[3:12]], *[edited(edited(t)) for t in base[8:20]], "", "", "a b"]


def test_neither_order_nor_buckets_change_what_is_removed(texts):
    expected = deduplicate(texts)
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(texts))
        got = deduplicate(texts, order=order, buckets=1 + 5 * seed)
        for field in ("node", "survivor", "similarity", "exact"):
            assert np.array_equal(getattr(got, field), getattr(expected, field))


def test_every_removed_text_is_as_similar_to_its_survivor_as_was_asked(texts):
    removed = deduplicate(texts)
    assert len(removed.node) >= 20
    assert not set(removed.node) & set(removed.survivor)
    for node, survivor, similarity, exact in zip(*vars(removed).values(), strict=True):
        assert exact == (texts[node] == texts[survivor])
        if not exact:
            assert similarity >= 0.8
            assert jaccard(texts[node], texts[survivor]) == pytest.approx(similarity)


def test_what_is_kept_is_its_own_fixed_point(texts):
    removed = set(deduplicate(texts).node)
    kept = [t for i, t in enumerate(texts) if i not in removed]
    assert len(deduplicate(kept).node) == 0


def test_without_a_threshold_only_the_same_text_is_removed(texts):
    removed = deduplicate(texts, threshold=None)
    assert removed.exact.all()
    assert len(removed.node) == len(texts) - len(set(texts))


def test_the_corpus_named_first_survives():
    pair = [text(1), edited(text(1))]
    for priority, survivor in (([0, 1], 0), ([1, 0], 1)):
        assert deduplicate(pair, priority=priority).survivor.tolist() == [survivor]


def test_a_copy_of_a_near_duplicate_names_the_survivor_of_that():
    long = text(1)
    removed = deduplicate([long, long[: long.rfind(" ")], long[: long.rfind(" ")]])
    assert removed.survivor.tolist() == [0, 0]
    assert not removed.exact.any()


def test_nothing_is_linked_to_nothing():
    nodes, roots = components([])
    assert len(nodes) == len(roots) == 0
    assert list(links([])) == []


def test_no_member_of_a_chain_is_removed_for_one_it_is_not_similar_to(vectors):
    data = zstandard.ZstdDecompressor().stream_reader((vectors / "chain.jsonl.zst").read_bytes()).read()
    rows = [json.loads(line) for line in data.splitlines()]
    removed = deduplicate([row["text"] for row in rows])
    assert len(rows) - len(removed.node) >= 40
    for node, survivor in zip(removed.node, removed.survivor, strict=True):
        assert jaccard(rows[node]["text"], rows[survivor]["text"]) >= 0.8


def test_pairs_of_real_documents_that_are_similar_are_caught(vectors, data):
    texts = {}
    files = {"web": ("web/truth", "record_id", "gold_text"), "neardup": ("neardup/neardup", "id", "text")}
    files |= {name: (f"{name}/{file}", "id", "text") for name, file in (("books", "books"), ("multilingual", "text"))}
    wanted = pq.read_table(vectors / "near_docs.parquet", columns=["part", "id"]).to_pylist()
    names = {(row["part"], row["id"]) for row in wanted}
    for part, (file, key, field) in files.items():
        raw = zstandard.ZstdDecompressor().stream_reader((data / f"{file}.jsonl.zst").read_bytes()).read()
        for line in raw.split(b"\n"):
            if line:
                row = json.loads(line)
                if (part, row.get(key)) in names and len(row[field]) < 200_000:
                    texts[part, row[key]] = row[field]
    place = {name: number for number, name in enumerate(texts)}
    removed = set(deduplicate(list(texts.values()), buckets=16).node.tolist())
    pairs = [p for p in pq.read_table(vectors / "near_pairs.parquet").to_pylist() if p["jaccard"] >= 0.8]
    ends = [(place.get((p["part_a"], p["id_a"])), place.get((p["part_b"], p["id_b"]))) for p in pairs]
    ends = [(a, b) for a, b in ends if a is not None and b is not None]
    caught = sum(a in removed or b in removed for a, b in ends)
    assert len(ends) > 1000
    assert caught / len(ends) >= 0.95
