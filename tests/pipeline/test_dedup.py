"""Deduplication by its laws, on planted truth, on chains, and on real texts whose every similar pair is known."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.kernels import near
from filters.kernels.minhash import BANDS
from filters.kernels.shingles import is_unspaced
from filters.sketch import bands, content_hash, shingles
from pipeline.components import Components
from pipeline.dedup import LINK, Members, Removed, hash_rows, links, walk


@dataclass
class Sketched:
    """Documents as the walk sees them, all in memory."""

    members: Members
    content: pa.Array
    bands: pa.Array


def sketch(texts: list[str], nodes: np.ndarray | None = None, priority: list[int] | None = None) -> Sketched:
    column = pa.array(texts, pa.large_string())
    content, hashes = content_hash(column), bands(column)
    offsets, numbers = shingles(column)
    known = np.asarray(hashes.is_valid())
    table = np.zeros((len(texts), BANDS), np.uint64)
    table[known] = np.frombuffer(b"".join(hashes.drop_null().to_pylist()), np.uint64).reshape(-1, BANDS)
    members = Members(
        component=np.zeros(len(texts), np.int64),
        node=np.arange(len(texts), dtype=np.int64) if nodes is None else nodes,
        fixed=np.zeros(len(texts), np.int8),
        preference=np.zeros(len(texts)),
        priority=np.array(priority or [0] * len(texts), np.int32),
        characters=np.array([len(text) for text in texts], np.int64),
        content=np.frombuffer(b"".join(content.to_pylist()), np.uint8).reshape(-1, 16),
        bands=table,
        size=np.diff(offsets),
        address=numbers.ctypes.data + 8 * offsets[:-1],
        held=(numbers,),
    )
    return Sketched(members, content, hashes)


def take(members: Members, rows: np.ndarray, component: np.ndarray | None = None) -> Members:
    some = members.take(rows)
    return some if component is None else replace(some, component=component)


def deduplicate(
    sketched: Sketched, threshold: float | None = 0.8, buckets: int = 8, pieces: int = 3, seed: int = 0
) -> Removed:
    """Do what the graph does: hash pieces, link buckets, connect, walk; everything arrives in a random order."""
    random = np.random.default_rng(seed)
    members, count = sketched.members, len(sketched.members.node)
    order = np.argsort(members.node)  # a document is its place among all while hashes meet
    by_bucket: list[list[np.ndarray]] = [[] for _ in range(buckets)]
    bounds = np.linspace(0, count, pieces + 1).astype(int)
    for start, stop in random.permutation(np.column_stack([bounds[:-1], bounds[1:]])):
        mine = pa.array(order[start:stop])
        column = sketched.bands.take(mine) if threshold is not None else None
        places, rows = hash_rows(np.arange(start, stop), sketched.content.take(mine), column, buckets)
        for bucket, (first, last) in enumerate(pairwise(places.tolist())):
            by_bucket[bucket].append(rows[first:last])
    found = []
    for parts in by_bucket:
        rows = np.concatenate([parts[index] for index in random.permutation(len(parts))])
        found.append(links(rows["hash"], rows["row"].astype(np.int64)))
    nodes, roots = components([found[index] for index in random.permutation(len(found))], count)
    mixed = random.permutation(len(nodes))
    return walk(take(members, order[nodes[mixed]], roots[mixed]), threshold)


def components(found: list[np.ndarray], documents: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (linked documents, sorted; the number of each one's component)."""
    merged = Components(documents)
    for step in (merged.mark, merged.join):
        for links_of in found:
            step(links_of)
    return merged.within(0, documents)


def same(one: Removed, other: Removed) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def jaccard(members: Members, node: int, other: int) -> float:
    sets = []
    for one in (node, other):
        row = int(np.flatnonzero(members.node == one)[0])
        sets.append(set(members.shingles(row).tolist()))
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def hold_to_the_laws(sketched: Sketched, threshold: float, removed: Removed) -> None:
    """Every survivor stays; every removed one is as similar to its survivor as it says; the kept are a fixed point."""
    members = sketched.members
    assert not np.isin(removed.survivor, removed.node).any()
    assert (np.diff(removed.node) > 0).all()
    content = {int(node): row.tobytes() for node, row in zip(members.node, members.content, strict=True)}
    for node, survivor, similarity, exact in zip(
        removed.node, removed.survivor, removed.similarity, removed.exact, strict=True
    ):
        assert exact == (content[int(node)] == content[int(survivor)])
        if exact:
            assert similarity == 1
        else:
            assert similarity == np.float32(jaccard(members, node, survivor))
            assert jaccard(members, node, survivor) >= threshold
    kept = np.flatnonzero(~np.isin(members.node, removed.node))
    again = Sketched(take(members, kept), sketched.content.take(pa.array(kept)), sketched.bands.take(pa.array(kept)))
    assert len(deduplicate(again, threshold).node) == 0


VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]


def families(count: int, seed: int, words: int = 60) -> list[str]:
    """Texts with planted copies and near copies of every degree, chains among them."""
    random = np.random.default_rng(seed)
    texts: list[list[str]] = []
    while len(texts) < count:
        text = random.choice(VOCABULARY, words).tolist()
        texts.append(text)
        for _ in range(int(random.integers(0, 6))):
            text = list(text if random.random() < 0.5 else texts[-1])
            for _ in range(int(random.integers(0, 4))):
                text[int(random.integers(len(text)))] = str(random.choice(VOCABULARY))
            texts.append(text[: int(random.integers(words - 6, words + 1))])
    return [" ".join(texts[index]) for index in random.permutation(len(texts))[:count]]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_removed_resemble_their_survivor_and_the_kept_are_a_fixed_point(seed, threshold):
    sketched = sketch(families(150, seed))
    removed = deduplicate(sketched, threshold)
    assert 5 < len(removed.node) < 130
    hold_to_the_laws(sketched, threshold, removed)


@pytest.mark.parametrize("threshold", [None, 0.8])
def test_neither_order_nor_buckets_nor_pieces_change_what_is_removed(threshold):
    texts = families(300, 5) + families(100, 5)[:40] + ["", "", "one two", "one two"]
    sketched = sketch(texts, nodes=np.random.default_rng(1).permutation(len(texts)).astype(np.int64) << 32)
    expected = deduplicate(sketched, threshold)
    assert expected.exact.sum() > 10
    for seed, (buckets, pieces) in enumerate([(1, 1), (2, 5), (97, 2), (8, 40)]):
        assert same(deduplicate(sketched, threshold, buckets, pieces, seed), expected)


def naive(members: Members, threshold: float) -> dict[int, int]:
    """The walk as its docstring says it, with Python's sets: removed node → survivor."""
    rows = sorted(
        range(len(members.node)),
        key=lambda i: (members.priority[i], -members.characters[i], members.content[i].tobytes(), members.node[i]),
    )
    kept: list[int] = []
    found: dict[int, int] = {}
    firsts: dict[bytes, int] = {}
    for row in rows:
        node, content = int(members.node[row]), members.content[row].tobytes()
        if content in firsts:
            found[node] = found.get(firsts[content], firsts[content])
            continue
        firsts[content] = node
        best = (threshold, 0, -1)
        for rank, other in enumerate(kept):
            if set(members.bands[row].tolist()) & set(members.bands[other].tolist()):
                similarity = jaccard(members, node, int(members.node[other]))
                if similarity >= threshold:
                    best = max(best, (similarity, -rank, int(members.node[other])))
        if best[2] >= 0:
            found[node] = best[2]
        else:
            kept.append(row)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_walk_is_its_naive_twin(seed):
    random = np.random.default_rng(seed)
    texts = families(60, seed + 10)
    sketched = sketch([*texts, *texts[:10]], priority=random.integers(0, 3, 70).tolist())
    removed = walk(sketched.members, 0.7)
    assert dict(zip(removed.node.tolist(), removed.survivor.tolist(), strict=True)) == naive(sketched.members, 0.7)


def test_who_stays_is_of_the_first_corpus_then_the_longest():
    base = " ".join(VOCABULARY[:60])
    texts = [base, base + " and so", base, "Some other text that resembles none of these at all."]
    removed = deduplicate(sketch(texts, priority=[1, 1, 0, 0]))
    assert removed.node.tolist() == [0, 1]
    assert removed.survivor.tolist() == [2, 2]
    assert removed.exact.tolist() == [True, False]
    removed = deduplicate(sketch(texts))
    assert removed.node.tolist() == [0, 2]
    assert removed.survivor.tolist() == [1, 1]
    assert not removed.exact.any()  # copies of a near duplicate name the one that stays, not each other
    assert (removed.similarity == np.float32(56 / 58)).all()


def test_without_a_threshold_only_copies_go():
    removed = deduplicate(sketch(["a b c d e f", "a b c d e f.", "a b c d e f", "", ""]), None)
    assert removed.node.tolist() == [2, 4] or removed.survivor.tolist() == [0, 3]
    assert removed.exact.all()


def test_short_texts_are_duplicates_only_of_their_copies():
    texts = ["Page not found", "page not found!", "Page not found", "", " ", ""]
    removed = deduplicate(sketch(texts))
    assert removed.node.tolist() == [2, 5]
    assert removed.survivor.tolist() == [0, 3]


@given(st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=30), max_size=6))
@settings(max_examples=200, deadline=None)
def test_components_are_those_of_a_naive_merge(values):
    groups: list[set[int]] = []
    for one, other in [link for value in values for link in value]:
        touched = [group for group in groups if one in group or other in group]
        groups = [group for group in groups if group not in touched] + [{one, other}.union(*touched)]
    packed = [np.array(value, LINK).reshape(-1, 2) for value in values]
    nodes, roots = components(packed, 41)
    assert nodes.tolist() == sorted(node for group in groups for node in group)
    by_root: dict[int, set[int]] = {}
    for node, root in zip(nodes.tolist(), roots.tolist(), strict=True):
        by_root.setdefault(root, set()).add(node)
    assert sorted(by_root.values(), key=min) == sorted(groups, key=min)
    assert all(nodes[root] == min(group) for root, group in by_root.items())  # whatever came first
    merged = Components(41)
    for step in (merged.mark, merged.join):
        for one in packed:
            step(one)
    cuts = [0, 7, 7, 30, 41]
    parts = [merged.within(start, stop) for start, stop in pairwise(cuts)]
    assert [
        start + row for (rows, _), start in zip(parts, cuts, strict=False) for row in rows.tolist()
    ] == nodes.tolist()
    assert [root for _, part in parts for root in part.tolist()] == roots.tolist()


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 30)), max_size=60), st.integers(0, 31))
@settings(max_examples=200, deadline=None)
def test_links_of_a_bucket_are_a_forest_that_joins_equal_hashes_of_new_documents(rows, fresh):
    by_hash: dict[int, list[int]] = {}
    for hash_, node in rows:
        by_hash.setdefault(hash_, []).append(node)
    naive = [(run[0], node) for run in by_hash.values() if max(run) >= fresh for node in run if node != run[0]]
    found = links(np.array([h for h, _ in rows], np.uint64), np.array([n for _, n in rows], np.int64), fresh)
    nodes, roots = components([np.array(naive, LINK).reshape(-1, 2)], 31)
    expected = [[int(nodes[root]), node] for node, root in zip(nodes.tolist(), roots.tolist(), strict=True)]
    assert found.tolist() == [pair for pair in expected if pair[0] != pair[1]]


def test_every_row_is_in_the_bucket_of_its_hash_once():
    random = np.random.default_rng(3)
    numbers = random.integers(0, 1 << 63, (20_000, 14), dtype=np.uint64)
    column = pa.array([row.tobytes() for row in numbers], pa.binary(112), mask=np.arange(20_000) % 10 == 0)
    content = pa.array([random.bytes(16) for _ in range(20_000)], pa.binary(16))
    bounds, rows = hash_rows(np.arange(20_000), content, column, 3)
    with_bands = np.arange(20_000) % 10 != 0
    expected = [(int(h), n) for n in np.flatnonzero(with_bands).tolist() for h in numbers[n]]
    expected += [(int.from_bytes(content[i].as_py()[:8], "little"), int(i)) for i in np.flatnonzero(~with_bands)]
    assert sorted(rows.tolist()) == sorted(expected)
    for bucket, (start, stop) in enumerate(pairwise(bounds)):
        assert (rows["hash"][start:stop] % 3 == bucket).all()
        assert stop > start


def test_nothing_comes_of_nothing():
    empty = sketch([])
    bounds, rows = hash_rows(np.zeros(0, np.int64), empty.content, empty.bands, 4)
    assert (bounds.tolist(), len(rows)) == ([0] * 5, 0)
    assert len(links(np.zeros(0, np.uint64), np.zeros(0, np.int64))) == 0
    assert [array.tolist() for array in components([], 5)] == [[], []]
    again = Members.from_batch(empty.members.to_batch(), np.zeros(0, np.uint64))
    assert len(walk(Members.concat([again]), 0.8).node) == 0


def test_what_an_earlier_run_kept_stays_and_comes_first():
    base = " ".join(VOCABULARY[:60])
    texts = [base, base + " and so", base + " and so on and on", base + " and so on and on", "a b c d e", "a b c d e"]
    members = sketch(texts).members
    fixed = replace(members, fixed=np.array([1, 1, 0, 0, 1, 1], np.int8))
    removed = walk(fixed, 0.8)
    assert removed.node.tolist() == [2, 3]
    assert removed.survivor.tolist() == [1, 1]
    assert walk(fixed, None).node.tolist() == [3]


def test_the_preferred_stays_before_priority_and_length():
    base = " ".join(VOCABULARY[:60])
    members = sketch([base + " and", base, base + " and so on"], priority=[0, 1, 1]).members
    for best in range(3):
        preference = np.where(np.arange(3) == best, -1.0, np.inf)
        removed = walk(replace(members, preference=preference), 0.8)
        assert set(removed.survivor.tolist()) == {best}
        assert len(removed.node) == 2


def packed(members: Members) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.uint64), *(members.shingles(row) for row in range(len(members.node)))])


def test_members_come_back_from_a_batch_and_from_their_parts():
    sketched = sketch(["one two three four five six", "no", *families(20, 3)])
    for members in (sketched.members, take(sketched.members, np.arange(5, 15))):
        parts = [take(members, part) for part in np.array_split(np.arange(len(members.node)), 3)]
        batches = [part.to_batch().append_column("id", pa.array(["x"] * len(part.node))) for part in parts]
        read = [Members.from_batch(batch, packed(part)) for batch, part in zip(batches, parts, strict=True)]
        again = Members.concat(read)
        assert np.array_equal(packed(again), packed(members))
        for name in set(vars(members)) - {"address", "held"}:
            assert np.array_equal(getattr(again, name), getattr(members, name)), name
            assert getattr(again, name).dtype == getattr(members, name).dtype, name


def test_exact_members_have_no_bands_and_travel_too():
    members = take(sketch(["a b c d e", "f g h i j", ""]).members, np.array([0, 1, 2, 0]))
    bare = replace(members, node=np.arange(4), bands=np.zeros((4, 0), np.uint64))
    again = Members.concat([Members.from_batch(bare.to_batch(), packed(bare))])
    assert again.bands.shape == (4, 0)
    assert walk(again, None).node.tolist() == [3]


@pytest.mark.parametrize("together", [1, 7, 50])
def test_components_walked_together_or_one_by_one_give_the_same(monkeypatch, together):
    sketched = sketch(families(200, 9))
    expected = deduplicate(sketched)
    monkeypatch.setattr("pipeline.dedup.TOGETHER", together)
    assert same(deduplicate(sketched), expected)


def test_hashes_of_another_type_are_refused():
    with pytest.raises(TypeError, match="fixed-size binary column of whole 64-bit numbers, not binary"):
        hash_rows(np.zeros(1, np.int64), pa.array([b"x" * 16], pa.binary()), None, 4)


@given(st.lists(st.sets(st.integers(0, 60), max_size=40), min_size=2, max_size=2), st.floats(0.01, 1))
@settings(max_examples=300, deadline=None)
def test_similarity_is_that_of_sets_or_below_the_bar(sets, bar):
    numbers = np.array([*sorted(sets[0]), *sorted(sets[1]), 0], np.uint64)
    size = np.array([len(sets[0]), len(sets[1])])
    address = numbers.ctypes.data + 8 * np.array([0, len(sets[0])])
    parities = np.zeros((2, near.PARITY_WORDS), np.uint64)
    for row in range(2):
        near.note_parities(address[row], size[row], parities[row])
    union = len(sets[0] | sets[1])
    exact = len(sets[0] & sets[1]) / union if union else 0
    if union:
        assert near.similarity(address, size, parities, 0, 1, bar) == (exact if exact >= bar else -1)


def test_a_hash_that_everybody_shares_costs_no_square_and_spoils_no_law():
    """20,000 unrelated members, all with one band hash in common: at most CANDIDATES comparisons each."""
    random = np.random.default_rng(2)
    count, size, close, far = 20_000, 30, near.CANDIDATES // 2, near.CANDIDATES * 5
    hashes = random.integers(0, 1 << 63, (count, 14), dtype=np.uint64)
    hashes[:, 3] = 99
    numbers = np.sort(random.integers(0, 1 << 63, (count, size), dtype=np.uint64), axis=1)
    numbers[close] = numbers[0]
    numbers[10 + far] = numbers[10]
    members = Members(
        component=np.zeros(count, np.int64),
        node=np.arange(count),
        fixed=np.zeros(count, np.int8),
        preference=np.zeros(count),
        priority=np.zeros(count, np.int32),
        characters=count - np.arange(count),
        content=random.integers(0, 256, (count, 16), dtype=np.uint8),
        bands=hashes,
        size=np.full(count, size),
        address=numbers.ctypes.data + 8 * size * np.arange(count),
        held=(numbers,),
    )
    removed = walk(members, 0.8)
    assert (removed.node.tolist(), removed.survivor.tolist()) == ([close], [0])
    assert len(walk(take(members, np.delete(np.arange(count), close)), 0.8).node) == 0


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
