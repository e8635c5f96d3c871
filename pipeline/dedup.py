"""Exact and near duplicates, without an engine: rows of hashes → links → components → who stays.

A document is a node: a number. Equal hashes bring nodes together; they never decide. The members of a component are
walked in a total order, and one is removed only as a copy of, or as verified to be similar to, one that stays.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from filters.kernels import near
from filters.kernels.runs import deal, pairs_of_equal
from pipeline.components import Components

ROW = np.dtype([("hash", "<u8"), ("row", "<u4")])
LINK = np.dtype("<i8")

TOGETHER = 1 << 16
"""Members that are walked at a time, or those of one component if it has more: a walk needs about 2 KB for each."""


def hash_rows(
    rows: np.ndarray, content: pa.Array, bands: pa.Array | None, buckets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (bounds int64 [buckets + 1], ROWs): rows of equal hash, of whatever piece, are in the same bucket.

    Where near duplicates are looked for (`bands` is not None) a document has one row per band: equal content has equal
    bands. A document without bands, and every one where `bands` is None, has one row for its content.
    """
    known = np.zeros(len(rows), bool) if bands is None else np.asarray(bands.is_valid())
    hashes = [words_of(content)[~known, :1]]
    if bands is not None:
        hashes.append(words_of(bands)[known])
    documents = [np.repeat(rows[where], one.shape[1]) for where, one in zip((~known, known), hashes, strict=False)]
    bounds, dealt, of = deal(np.concatenate([one.ravel() for one in hashes]), np.concatenate(documents), buckets)
    found = np.empty(len(dealt), ROW)
    found["hash"], found["row"] = dealt, of
    return bounds, found


def links(hashes: np.ndarray, documents: np.ndarray, fresh: int = 0) -> np.ndarray:
    """Return links int64 [links, 2] between the documents (int64) of one bucket that have equal hashes (uint64).

    They are the fewest that join them: each document of a component of the bucket is linked to its smallest. Hashes that
    only documents before `fresh` have are passed over: those have been compared with each other in an earlier run.
    """
    pairs = pairs_of_equal(hashes, documents, fresh)
    names, ends = np.unique(pairs, return_inverse=True)
    found = Components(len(names))
    found.mark(ends.reshape(-1, 2))
    found.join(ends.reshape(-1, 2))
    _, roots = found.within(0, len(names))
    other = roots != np.arange(len(names))
    return np.column_stack([names[roots[other]], names[other]]).astype(LINK, copy=False)


@dataclass(frozen=True)
class Members:
    """What a walk must know of the members of components; every array has one entry per member.

    `fixed` members are those of an earlier run: they come first, and stay. Of the others, the one with the smallest
    `preference` stays, and where that is equal, the one of the smallest `priority`.
    `content` is uint8 [n, 16]. `bands` is uint64 [n, bands]; a member without shingles has zeros, and where near
    duplicates are not looked for there are no bands. Shingles, `size` of each member, sorted and distinct, stay where
    they are: at an `address` inside one of the arrays that are `held`, which may be a file that is mapped.
    """

    component: np.ndarray
    node: np.ndarray
    fixed: np.ndarray
    preference: np.ndarray
    priority: np.ndarray
    characters: np.ndarray
    content: np.ndarray
    bands: np.ndarray
    size: np.ndarray
    address: np.ndarray
    held: tuple[np.ndarray, ...]

    def shingles(self, member: int) -> np.ndarray:
        """Return the shingles of one member, uint64."""
        numbers = (ctypes.c_uint64 * int(self.size[member])).from_address(int(self.address[member]))
        return np.ctypeslib.as_array(numbers)

    def take(self, rows: np.ndarray) -> Members:
        """Return some of the members; their shingles are not copied."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _EACH})

    def to_batch(self) -> pa.RecordBatch:
        """Return the members as rows of a record batch, without their shingles."""
        count = len(self.node)
        bands = pa.array(np.ascontiguousarray(self.bands, np.uint64).ravel())
        starts = pa.array(np.arange(count + 1, dtype=np.int64) * self.bands.shape[1])
        arrays = {
            "component": pa.array(self.component, pa.int64()),
            "node": pa.array(self.node, pa.int64()),
            "fixed": pa.array(self.fixed, pa.int8()),
            "preference": pa.array(self.preference, pa.float64()),
            "priority": pa.array(self.priority, pa.int32()),
            "characters": pa.array(self.characters, pa.int64()),
            "content": pa.Array.from_buffers(
                pa.binary(16), count, [None, pa.py_buffer(np.ascontiguousarray(self.content))]
            ),
            "bands": pa.LargeListArray.from_arrays(starts, bands),
            "size": pa.array(self.size, pa.int64()),
        }
        return pa.RecordBatch.from_pydict(arrays)

    @staticmethod
    def from_batch(batch: pa.RecordBatch, shingles: np.ndarray) -> Members:
        """Read members from a batch that `to_batch` made; `shingles` are those of all, one member after the other."""
        content, bands, size = (batch.column(name) for name in ("content", "bands", "size"))
        sizes = size.to_numpy()
        return Members(
            **{name: batch.column(name).to_numpy() for name in _PLAIN},
            content=words_of(content).view(np.uint8),
            bands=bands.flatten().to_numpy().reshape(len(bands), -1) if len(bands) else np.zeros((0, 0), np.uint64),
            size=sizes,
            address=shingles.ctypes.data + 8 * (np.cumsum(sizes) - sizes),
            held=(shingles,),
        )

    @staticmethod
    def concat(parts: Sequence[Members]) -> Members:
        """Return the members of all parts."""
        parts = [part for part in parts if len(part.node)] or list(parts[:1])
        together = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _EACH}
        return Members(**together, held=tuple(array for part in parts for array in part.held))


_PLAIN = ("component", "node", "fixed", "preference", "priority", "characters")
_EACH = (*_PLAIN, "content", "bands", "size", "address")


@dataclass(frozen=True)
class Removed:
    """Which members a walk removed, by node: whom each duplicates, how similar it is to that one (1 if `exact`).

    A survivor is never removed itself. Every array has one entry per removed member.
    """

    node: np.ndarray
    survivor: np.ndarray
    similarity: np.ndarray
    exact: np.ndarray


def walk(members: Members, threshold: float | None) -> Removed:
    """Return the duplicates among the members; `threshold` None: exact ones only.

    The order is: preference, priority, then more characters, then content hash, then node; so who stays depends on no
    other order. Fixed members come before all others and are never removed.
    A copy of an earlier member of its component is an exact duplicate of it. Another one is a near duplicate if its
    Jaccard similarity to a kept member of its component, with which it shares a band hash, is at least `threshold`; its
    survivor is the most similar such member, the earliest of equals. Copies of a near duplicate have its survivor and
    similarity. Of very many members some are left out: filters.kernels.near says which.
    """
    order = _order(members)
    members = members.take(order)
    first = _first(members)
    if threshold is None:
        survivor = np.where((first == np.arange(len(first))) | (members.fixed != 0), -1, first)
        similarity = np.ones(len(first))
    else:
        survivor, similarity = np.empty(len(first), np.int64), np.empty(len(first))
        for start, stop in _stretches(members.component):
            some = slice(start, stop)
            given = (members.fixed[some], members.bands[some], members.address[some], members.size[some])
            found, similarity[some] = near.walk(first[some] - start, *given, threshold)
            survivor[some] = np.where(found >= 0, found + start, -1)
    gone = np.flatnonzero(survivor >= 0)
    gone = gone[np.argsort(members.node[gone])]
    return Removed(
        node=members.node[gone],
        survivor=members.node[survivor[gone]],
        similarity=similarity[gone].astype(np.float32),
        exact=survivor[gone] == first[gone],
    )


def _order(members: Members) -> np.ndarray:
    """Return the rows in the order of the walk, one component after the other."""
    high, low = np.ascontiguousarray(members.content).view(">u8").astype(np.uint64).T
    keys = (members.node, low, high, -members.characters, members.priority, members.preference, -members.fixed)
    return np.lexsort((*keys, members.component))


def _first(members: Members) -> np.ndarray:
    """Return for each row the first one of its component and content."""
    high, low = np.ascontiguousarray(members.content).view(">u8").astype(np.uint64).T
    alike = np.lexsort((low, high, members.component))  # stable: copies stay in order
    same = np.column_stack([members.component.astype(np.uint64), high, low])[alike]
    starts = np.ones(len(alike), bool)
    starts[1:] = (same[1:] != same[:-1]).any(axis=1)
    first = np.empty(len(alike), np.int64)
    first[alike] = alike[starts][np.cumsum(starts) - 1]
    return first


def _stretches(component: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of whole components, so many that about TOGETHER members are walked at a time."""
    start = 0
    for stop in [*(np.flatnonzero(np.diff(component)) + 1).tolist(), len(component)]:
        if stop - start >= TOGETHER or stop == len(component):
            yield start, stop
            start = stop


def words_of(array: pa.Array) -> np.ndarray:
    """Return a fixed-size binary column as uint64 [rows, width / 8], without a copy."""
    if not pa.types.is_fixed_size_binary(array.type) or array.type.byte_width % 8:
        raise TypeError(f"hashes must be a fixed-size binary column of whole 64-bit numbers, not {array.type}")
    width = array.type.byte_width // 8
    if not len(array):
        return np.zeros((0, width), np.uint64)
    return np.frombuffer(array.buffers()[1], "<u8", len(array) * width, array.offset * width * 8).reshape(-1, width)
