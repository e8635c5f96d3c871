"""All that the benchmark knows of the pipeline's inside: kernels on their own, the clustering state, what a run removed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

from filters.kernels.buffers import JIT, buffers
from filters.kernels.minhash import LANES, PLACES, minima
from filters.kernels.shingles import hash_shingles
from filters.sketch import PLAIN, bands
from pipeline.components import Components
from pipeline.dedup import LINK
from pipeline.store import Store

PERMUTATIONS = LANES


def best(run: Callable[[], object], rounds: int = 20) -> float:
    """Return the CPU seconds of the best of some rounds."""
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        run()
        seconds.append(time.process_time() - started)
    return min(seconds)


def sign(text: pa.Array) -> float:
    """Return the CPU seconds that text → signatures → band hashes takes."""
    bands(text[:10])
    return best(lambda: bands(text))


def permute(text: pa.Array, path: Path) -> float:
    """Return the CPU seconds that shingle hashes → signatures takes; write the hashes to a file for a peer."""
    offsets, hashes = hash_shingles(*buffers(text), PLAIN)  # in the order of the text, as signatures see them
    np.savez(path, hashes=hashes, offsets=offsets)
    lanes = np.empty((len(text), LANES), np.uint32)
    _permute(offsets[:2], hashes, lanes)
    return best(lambda: _permute(offsets, hashes, lanes))


@njit(**JIT)
def _permute(offsets: np.ndarray, hashes: np.ndarray, lanes: np.ndarray) -> None:
    places = np.empty(PLACES, np.uint32)
    for row in range(len(offsets) - 1):
        count = offsets[row + 1] - offsets[row]
        if count:
            minima(hashes[offsets[row] : offsets[row + 1]], count, places, lanes[row])


@dataclass(frozen=True)
class Document:
    """What a run of `neardup.ours` did with one document, by the numbers of the corpus: -1 where there is no survivor."""

    reason: str | None
    survivor: int
    similarity: float | None


def outcome(root: Path) -> dict[int, Document]:
    """Return what became of every document of a run."""
    store, found = Store(str(root)), {}
    for entry in store.read_json("pieces.json"):
        files = entry["piece"]["files"]
        ids = store.read_table(files["documents"], ["id"]).column("id").to_pylist()
        state = store.read_table(files["state"], ["reason", "survivor", "similarity"]).to_pylist()
        for name, row in zip(ids, state, strict=True):
            survivor = -1 if row["survivor"] is None else int(row["survivor"])
            found[int(name)] = Document(row["reason"], survivor, row["similarity"])
    return found


def kept(folder: Path) -> set[int]:
    """Return the numbers of the documents in a folder of Parquet files that a contender kept."""
    return {
        int(name)
        for path in folder.rglob("*.parquet")
        for name in pq.read_table(path, columns=["id"])["id"].to_pylist()
    }


def clustering_state(root: Path, documents: int) -> tuple[int, int]:
    """Return (bytes of the union-find over a run's links, documents that have a link)."""
    store = Store(str(root))
    parts = [np.frombuffer(store.read(name), LINK).reshape(-1, 2) for name in store.names("work/links")]
    state = Components(documents)
    for step in (state.mark, state.join):
        for part in parts:
            step(part)
    return state.bytes, len(np.unique(np.concatenate(parts)))
