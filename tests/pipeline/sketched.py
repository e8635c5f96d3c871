"""Documents as deduplication sees them, taken through its steps in memory, and the laws that every result is held to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from filters.kernels.minhash import BANDS
from filters.sketch import bands, content_hash, shingles
from pipeline.components import Components
from pipeline.dedup import Members, Removed, hash_rows, links, walk

VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]


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
