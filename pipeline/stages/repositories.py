"""Stages that remove near duplicates of whole repositories: forks, vendored copies, mirrors (DeepSeek-Coder, section 2).

A repository is the union of its documents' shingles. Of that union the SKETCH smallest hashes are kept: up to there the
similarity of two repositories is exact, beyond it is estimated with a standard error of sqrt(J (1 - J) / SKETCH): 0.0016
at 0.8. Repositories meet by MinHash bands, as documents do. They are walked in one process: those of the corpus of first
priority first, then the largest. That process holds some 500 bytes per repository, and 256 sketches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.kernels.buffers import buffers
from filters.kernels.minhash import LANES, bands, signatures
from filters.sketch import shingles
from pipeline.stages.parts import buckets, read_part, write_parts
from pipeline.stages.state import drop, removed_batch
from pipeline.stages.work import Message, Messages, Work, pack, pack_rows, whole
from pipeline.store import digest

SKETCH = 1 << 16
"""Hashes of a repository that are compared: the smallest of its shingles."""
REASON = "near_duplicate_repository"

_TABLE = pa.schema(
    [
        pa.field("repository", pa.string()),
        pa.field("priority", pa.int32()),
        pa.field("characters", pa.int64()),
        pa.field("lanes", pa.list_(pa.uint32(), LANES)),
        pa.field("shingles", pa.large_list(pa.uint64())),
    ]
)


@dataclass
class Repository:
    """A repository, or what one piece holds of it. `shingles`: the smallest hashes, sorted and distinct."""

    name: str
    priority: int
    characters: int
    lanes: np.ndarray
    shingles: np.ndarray

    def merged(self, other: Repository) -> Repository:
        """Return the union of both: in any order the same."""
        every = _smallest(np.concatenate([self.shingles, other.shingles]))
        priority = min(self.priority, other.priority)
        lanes = np.minimum(self.lanes, other.lanes)
        return Repository(self.name, priority, self.characters + other.characters, lanes, every)


def _smallest(hashes: np.ndarray) -> np.ndarray:
    """Return the SKETCH smallest of the distinct hashes, sorted."""
    hashes = np.sort(hashes)  # np.unique would first put them into a hash table, at ten times the cost
    return hashes[np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)]][:SKETCH]


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Jaccard similarity of two sets by their sketches: exact where neither is cut short."""
    limits = [sketch[-1] for sketch in (one, other) if len(sketch) == SKETCH]
    if limits:
        one, other = (sketch[: np.searchsorted(sketch, min(limits), side="right")] for sketch in (one, other))
    shared = len(np.intersect1d(one, other, assume_unique=True))
    union = len(one) + len(other) - shared
    return shared / union if union else 0.0


def sketch_repositories(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Write what a piece holds of each repository, by bucket of its name; yield the file to all."""
    piece = Messages.unpack(messages).piece
    rows = work.alive(piece)
    names = whole(work.columns(piece, "documents", ["repository"]).take(pa.array(rows)), "repository")
    known = np.asarray(names.is_valid())
    if not known.any():
        return
    rows, names = rows[known], names.drop_null()
    priority = work.plan.priority(piece.corpus)
    name = work.key("repositories", piece.files["measured"], digest(rows.tobytes()), priority, buckets(work))
    if not work.store.exists(name):
        characters = work.columns(piece, "measured", ["characters"]).take(pa.array(rows)).column("characters")
        texts, sizes = work.text(piece, rows), characters.to_numpy()
        lanes, counts = signatures(*buffers(texts), work.plan.hashing)
        offsets, hashes = shingles(texts, work.plan.hashing)
        found: dict[int, list[Repository]] = {}
        for repository in sorted(set(names.to_pylist())):
            mine = np.flatnonzero(np.asarray(pc.equal(names, repository)) & (counts > 0))
            if len(mine):
                every = np.concatenate([hashes[offsets[row] : offsets[row + 1]] for row in mine])
                least = lanes[mine].min(axis=0)
                one = Repository(repository, priority, int(sizes[mine].sum()), least, _smallest(every))
                found.setdefault(_bucket_of(repository, buckets(work)), []).append(one)
        parts = [pack_rows(_packed(found[bucket])) if bucket in found else b"" for bucket in range(buckets(work))]
        write_parts(work.store, name, parts)
    yield 0, pack({"number": number, "file": name})


def _bucket_of(repository: str, count: int) -> int:
    return int(digest(repository)[:8], 16) % count


def _packed(repositories: list[Repository]) -> pa.RecordBatch:
    lanes = np.concatenate([one.lanes for one in repositories])
    arrays = [
        pa.array([one.name for one in repositories]),
        pa.array([one.priority for one in repositories], pa.int32()),
        pa.array([one.characters for one in repositories], pa.int64()),
        pa.FixedSizeListArray.from_arrays(pa.array(lanes), LANES),
        pa.LargeListArray.from_arrays(
            pa.array(np.cumsum([0, *(len(one.shingles) for one in repositories)])),
            pa.array(np.concatenate([one.shingles for one in repositories])),
        ),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_TABLE)


def _unpacked(data: bytes) -> Iterator[Repository]:
    for row in pa.ipc.open_stream(data).read_all().to_batches() if data else ():
        lanes = np.asarray(row.column("lanes").flatten()).reshape(-1, LANES)
        for index, one in enumerate(row.column("shingles")):
            name, priority, characters = (row.column(column)[index].as_py() for column in _TABLE.names[:3])
            yield Repository(name, priority, characters, lanes[index], np.asarray(one.values))


def merge_repositories(work: Work, bucket: int, messages: list[bytes]) -> Iterator[Message]:
    """Write the repositories of a bucket, put together from all pieces, one sketch a part; yield the file to all."""
    (listing,) = (value["listing"] for value in Messages.unpack(messages).values)
    name = work.key("merged", listing, bucket)
    if not work.store.exists(f"{name}.arrow"):
        found: dict[str, Repository] = {}
        for entry in work.store.read_json(listing):
            for one in _unpacked(read_part(work.store, entry["file"], bucket)):
                found[one.name] = found[one.name].merged(one) if one.name in found else one
        every = [found[key] for key in sorted(found)]
        write_parts(work.store, f"{name}-sketches", [one.shingles.tobytes() for one in every])
        bare = [Repository(one.name, one.priority, one.characters, one.lanes, one.shingles[:0]) for one in every]
        lanes = np.concatenate([np.zeros((0, LANES), np.uint32), *(one.lanes[None] for one in bare)])
        hashes = pa.array(bands(lanes, work.plan.hashing).ravel())
        table = _packed(bare) if bare else pa.RecordBatch.from_pylist([], schema=_TABLE)
        width = len(hashes) // len(bare) if bare else 1
        table = table.select(_TABLE.names[:3]).append_column("bands", pa.FixedSizeListArray.from_arrays(hashes, width))
        work.store.write(f"{name}.arrow", pack_rows(table))
    yield 0, pack({"merged": name})


def decide_repositories(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Walk all repositories in their order; write those that go, by bucket; yield the file to every piece."""
    together = Messages.unpack(messages)
    files = [value["merged"] for value in together.values]
    if not files:
        return
    settings = work.plan.recipe.deduplicate
    assert settings is not None
    assert settings.repositories is not None
    threshold = settings.repositories.threshold
    name = work.key("repositories-removed", files, threshold, buckets(work))
    if not work.store.exists(name):
        tables = [pa.ipc.open_stream(work.store.read(f"{file}.arrow")).read_all() for file in files]
        places = [(number, row) for number, table in enumerate(tables) for row in range(table.num_rows)]
        every = pa.concat_tables([table for table in tables if table.num_rows] or tables[:1]).combine_chunks()

        @lru_cache(maxsize=256)
        def sketch(index: int) -> np.ndarray:
            number, row = places[index]
            return np.frombuffer(read_part(work.store, f"{files[number]}-sketches", row), np.uint64)

        removed: list[list[dict[str, object]]] = [[] for _ in range(buckets(work))]
        names = every.column("repository").to_pylist()
        for gone, survivor, found in _walk(every, sketch, threshold):
            row = {"repository": names[gone], "survivor": names[survivor], "similarity": found}
            removed[_bucket_of(names[gone], buckets(work))].append(row)
        write_parts(
            work.store, name, [pack_rows(pa.RecordBatch.from_pylist(part)) if part else b"" for part in removed]
        )
    for piece in together.pieces:
        yield piece.number, pack({"repositories": name})


def _walk(every: pa.Table, sketch: Callable[[int], np.ndarray], threshold: float) -> Iterator[tuple[int, int, float]]:
    """Yield (repository that goes, the one it resembles most of those that stay, their similarity)."""
    column = {name: whole(every, name) for name in every.column_names}
    names = np.array(column["repository"].to_pylist())
    order = np.lexsort((names, -np.asarray(column["characters"]), np.asarray(column["priority"])))
    hashes = (
        np.asarray(column["bands"].flatten()).reshape(len(names), -1) if len(names) else np.zeros((0, 0), np.uint64)
    )
    _, places, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    met = np.where(counts[places] > 1, places, -1).reshape(
        hashes.shape
    )  # bands that only one has bring nobody together
    kept: dict[int, list[int]] = {}
    for index in order.tolist():
        own = [band for band in met[index].tolist() if band >= 0]
        candidates = {other for band in own for other in kept.get(band, ())}
        found = [(similarity(sketch(index), sketch(other)), other) for other in sorted(candidates)]
        best, survivor = max(found, key=lambda one: one[0], default=(0.0, -1))
        if best >= threshold:
            yield index, survivor, best
            continue
        for band in own:
            kept.setdefault(band, []).append(index)


def drop_repositories(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Give a piece the state in which the documents of removed repositories are dropped."""
    together = Messages.unpack(messages)
    piece = together.piece
    (file,) = {value["repositories"] for value in together.values} or {""}
    rows = work.alive(piece)
    names = whole(work.columns(piece, "documents", ["repository"]).take(pa.array(rows)), "repository").to_pylist()
    gone: dict[str, tuple[str, float]] = {}
    for bucket in sorted({_bucket_of(name, buckets(work)) for name in names if name is not None}) if file else ():
        data = read_part(work.store, file, bucket)
        for row in pa.ipc.open_stream(data).read_all().to_pylist() if data else ():
            gone[row["repository"]] = (row["survivor"], row["similarity"])
    mine = [index for index, name in enumerate(names) if name in gone]
    if mine:
        found = [gone[names[index]] for index in mine]
        batch = removed_batch(
            rows[mine],
            reason=[REASON] * len(mine),
            survivor=[survivor for survivor, _ in found],
            similarity=np.array([similar for _, similar in found]),
        )
        piece = drop(work, piece, "repositories-dropped", [pa.Table.from_batches([batch])])
    yield number, piece.pack()
