"""Which documents are duplicates: from hashes to links, from links to components, from components to decisions.

Documents are known by their nodes (int64 numbers). Hashes that are equal link documents; linked documents make
components; the members of a component are walked in a total order, and one is removed only if its exact similarity to
a member already kept, with which it shares a band, reaches the threshold. Components bring candidates together; they
never decide. So every removed document is as similar to its own survivor as was asked for, however long a chain it
stands in, and what is kept is its own fixed point.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit

from filters.kernels.buffers import JIT

ROW = np.dtype([("hash", "<u8"), ("node", "<i8")])
LINK = np.dtype([("first", "<i8"), ("other", "<i8")])
MESSAGE_BYTES = 1 << 20
BANDS = 14


def hash_rows(
    nodes: np.ndarray, content: pa.Array, bands: pa.Array | None, buckets: int
) -> Iterator[tuple[int, bytes]]:
    """Yield (bucket, packed rows of hash and node): one hash for the content of each document, and one for each band.

    `content` is binary(16), `bands` binary(112) or null where a document has no shingle. Equal hashes share a bucket.
    """
    words = np.frombuffer(_bytes(content), "<u8").reshape(-1, 2)
    hashes, owners = [words[:, 0]], [nodes]
    if bands is not None:
        known = np.asarray(bands.is_valid())
        hashes.append(np.frombuffer(_bytes(bands.drop_null()), "<u8"))
        owners.append(np.repeat(nodes[known], BANDS))
    rows = np.empty(sum(map(len, hashes)), ROW)
    rows["hash"], rows["node"] = np.concatenate(hashes), np.concatenate(owners)
    bucket = (rows["hash"] >> np.uint64(32)) % np.uint64(buckets)
    order = np.argsort(bucket, kind="stable")
    rows, bucket = rows[order], bucket[order]
    starts = np.flatnonzero(np.diff(bucket, prepend=np.uint64(buckets)))
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        for message in _messages(rows[start:stop]):
            yield int(bucket[start]), message


def links(values: Iterable[bytes]) -> Iterator[bytes]:
    """Yield packed links (first, other) between the documents of one bucket whose hashes are equal.

    Every row of a run of equal hashes is linked to the smallest node of the run; a link is yielded once.
    """
    rows = np.concatenate([np.frombuffer(value, ROW) for value in values] or [np.empty(0, ROW)])
    order = np.lexsort((rows["node"], rows["hash"]))
    hashes, nodes = rows["hash"][order], rows["node"][order]
    begins = np.ones(len(rows), bool)
    begins[1:] = hashes[1:] != hashes[:-1]
    first = nodes[np.flatnonzero(begins)][np.cumsum(begins) - 1] if len(rows) else nodes
    found = np.empty(len(rows), LINK)
    found["first"], found["other"] = first, nodes
    found = np.unique(found[found["first"] != found["other"]])
    yield from _messages(found)


def components(values: Iterable[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return (nodes int64 sorted, for each the smallest node of its component) of all documents that have a link.

    Holds 8 bytes for each of these documents beside the links and the answer.
    """
    found = np.concatenate([np.frombuffer(value, LINK) for value in values] or [np.empty(0, LINK)])
    nodes = np.unique(np.concatenate([found["first"], found["other"]]))
    parent = np.arange(len(nodes))
    _unite(parent, np.searchsorted(nodes, found["first"]), np.searchsorted(nodes, found["other"]))
    return nodes, nodes[parent]


@njit(**JIT)
def _unite(parent: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Union-find with path halving; roots are the smallest of their component; `parent` ends up flat."""
    for number in range(len(left)):
        one, two = left[number], right[number]
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        while parent[two] != two:
            parent[two] = parent[parent[two]]
            two = parent[two]
        if one < two:
            parent[two] = one
        else:
            parent[one] = two
    for node in range(len(parent)):
        parent[node] = parent[parent[node]]


@dataclass(frozen=True)
class Members:
    """What the walk must know of the members of components: n documents, m shingle hashes in all."""

    component: np.ndarray  # int64 [n]
    node: np.ndarray  # int64 [n]
    priority: np.ndarray  # int32 [n], smaller survives
    characters: np.ndarray  # int64 [n], more survives
    content: np.ndarray  # uint8 [n, 16]
    bands: np.ndarray  # uint64 [n, 14], or [n, 0] where near duplicates are not looked for
    shingle_offsets: np.ndarray  # int64 [n + 1]
    shingles: np.ndarray  # uint64 [m], sorted and distinct for each document

    def to_batch(self) -> pa.RecordBatch:
        """Return the members as an Arrow batch, for a file."""
        columns = {name: pa.array(getattr(self, name)) for name in ("component", "node", "priority", "characters")}
        columns["content"] = pa.array([row.tobytes() for row in self.content], pa.binary(16))
        width = 8 * self.bands.shape[1]
        columns["bands"] = pa.array([row.tobytes() for row in self.bands], pa.binary(width) if width else pa.binary())
        columns["shingles"] = pa.LargeListArray.from_arrays(pa.array(self.shingle_offsets), pa.array(self.shingles))
        return pa.RecordBatch.from_pydict(columns)

    @staticmethod
    def from_batch(batch: pa.RecordBatch) -> Members:
        plain = {name: np.asarray(batch.column(name)) for name in ("component", "node", "priority", "characters")}
        rows = batch.num_rows
        content = np.frombuffer(_bytes(batch.column("content")), np.uint8).reshape(rows, 16)
        packed = _bytes(batch.column("bands"))
        bands = np.frombuffer(packed, "<u8").reshape(rows, len(packed) // 8 // rows if rows else 0)
        lists = batch.column("shingles")
        offsets = np.asarray(lists.offsets)
        return Members(
            **plain,
            content=content,
            bands=bands,
            shingle_offsets=offsets - (offsets[0] if len(offsets) else 0),
            shingles=np.asarray(lists.flatten()),
        )

    @staticmethod
    def concat(parts: Sequence[Members]) -> Members:
        joined = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Members)}
        lengths = np.concatenate([np.diff(part.shingle_offsets) for part in parts])
        joined["shingle_offsets"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Members(**joined)


@dataclass(frozen=True)
class Removed:
    """The duplicates found, sorted by node: each with its survivor and how similar it is to it."""

    node: np.ndarray  # int64
    survivor: np.ndarray  # int64
    similarity: np.ndarray  # float32, 1.0 for the same text
    exact: np.ndarray  # bool: the same text, byte for byte


def walk(members: Members, threshold: float | None) -> Removed:
    """Decide which members are duplicates; `threshold` None finds only those of the same text.

    The total order is priority, length (longer first), content hash, node. A text that a removed one repeats byte for
    byte shares its fate. The survivor named is the most similar kept one, of equals the first in the order.
    """
    words = np.ascontiguousarray(members.content).view(">u8").reshape(-1, 2)
    order = np.lexsort(
        (members.node, words[:, 1], words[:, 0], -members.characters, members.priority, members.component)
    )
    ordered = words[order]
    _, firsts, group = np.unique(ordered, axis=0, return_index=True, return_inverse=True)
    first = firsts[group.reshape(-1)]
    survivor = np.where(first == np.arange(len(order)), -1, first)
    similarity = np.ones(len(order), np.float32)
    exact = survivor >= 0
    if threshold is not None and members.bands.shape[1]:
        near = np.full(len(order), -1, np.int64)
        _walk(
            members.component[order],
            np.ascontiguousarray(members.bands[order]),
            members.shingle_offsets[:-1][order],
            np.diff(members.shingle_offsets)[order],
            members.shingles,
            exact,
            threshold,
            near,
            similarity,
        )
        leader = np.where(exact, first, np.arange(len(order)))
        chained = exact & (near[leader] >= 0)  # the text it repeats was itself a near duplicate
        survivor = np.where(near >= 0, near, np.where(chained, near[leader], survivor))
        similarity = similarity[leader]
        exact &= ~chained
    gone = np.flatnonzero(survivor >= 0)
    nodes = members.node[order]
    gone = gone[np.argsort(nodes[gone], kind="stable")]
    return Removed(nodes[gone], nodes[survivor[gone]], similarity[gone], exact[gone])


@njit(**JIT)
def _walk(
    component: np.ndarray,
    bands: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    shingles: np.ndarray,
    skip: np.ndarray,
    threshold: float,
    near: np.ndarray,
    similarity: np.ndarray,
) -> None:
    """Walk members in their order; `near` gets the place of each removed one's survivor.

    A table of band hashes leads to the kept members that have them: chains with an entry per kept member and band.
    """
    rows, count = bands.shape
    capacity = 64
    while capacity < 2 * rows * count:
        capacity *= 2
    mask = np.uint64(capacity - 1)
    keys = np.zeros(capacity, np.uint64)
    heads = np.full(capacity, -1, np.int64)
    following = np.full(rows * count, -1, np.int64)
    seen = np.full(rows, -1, np.int64)
    for row in range(rows):
        if skip[row] or sizes[row] == 0:
            continue
        best, closest = 0.0, -1
        for band in range(count):
            slot = _slot(keys, heads, mask, bands[row, band])
            entry = heads[slot]
            while entry >= 0:
                kept = entry // count
                entry = following[entry]
                if seen[kept] == row or component[kept] != component[row]:
                    continue
                seen[kept] = row
                jaccard = _jaccard(shingles, starts[row], sizes[row], starts[kept], sizes[kept], threshold)
                if jaccard >= threshold and (jaccard > best or (jaccard == best and kept < closest)):
                    best, closest = jaccard, kept
        if closest >= 0:
            near[row], similarity[row] = closest, best
            continue
        for band in range(count):
            slot = _slot(keys, heads, mask, bands[row, band])
            keys[slot] = bands[row, band]
            following[row * count + band] = heads[slot]
            heads[slot] = row * count + band


@njit(inline="always", **JIT)
def _slot(keys: np.ndarray, heads: np.ndarray, mask: int, key: int) -> Any:
    """Return the slot of a key: where it is, or the empty one where it belongs."""
    slot = (key ^ (key >> np.uint64(29))) & mask
    while heads[slot] >= 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(**JIT)
def _jaccard(shingles: np.ndarray, left: int, lefts: int, right: int, rights: int, threshold: float) -> float:
    """Return the similarity of two sorted sets, or 0 as soon as it cannot reach the threshold."""
    needed = threshold / (1.0 + threshold) * (lefts + rights) - 1e-9
    shared, one, two = 0, 0, 0
    while one < lefts and two < rights:
        if shared + min(lefts - one, rights - two) < needed:
            return 0.0
        a, b = shingles[left + one], shingles[right + two]
        shared += a == b
        one += a <= b
        two += b <= a
    return shared / (lefts + rights - shared)


def _bytes(column: pa.Array) -> bytes:
    return b"".join(column.to_pylist())


def _messages(rows: np.ndarray) -> Iterator[bytes]:
    step = MESSAGE_BYTES // rows.dtype.itemsize
    for start in range(0, len(rows), step):
        yield rows[start : start + step].tobytes()
