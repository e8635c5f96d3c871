"""The corpora of the benchmark: generated, seeded, the same on every machine, written as Parquet that every contender reads.

A document is 560 words of a Zipf-distributed vocabulary, 3.5 KB. Three in ten are planted: an earlier document with up to
12 of its words changed. Every word is a hash of (seed, document, position), so any part is made alone, in little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

WORDS, VOCABULARY, PLANTED, EDITS = 560, 50_000, 0.3, 12
ROWS_PER_FILE, ROWS_PER_GROUP = 12_500, 2500
_SEED = 0x5EED


def uniform(*numbers: np.ndarray | int) -> np.ndarray:
    """Return numbers in [0, 1) that are a function of integers (splitmix64 of one after the other)."""
    state = np.zeros(1, np.uint64)
    for number in (_SEED, *numbers):
        state = (state ^ np.asarray(number).astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x1234567)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)) * 2.0**-53


def vocabulary() -> pa.Array:
    """Return VOCABULARY words, then the same with a comma, with a full stop, and with a full stop and a new line."""
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    chosen = letters[(uniform(1, np.arange(VOCABULARY * 9).reshape(-1, 9)) * len(letters)).astype(int)]
    lengths = 1 + (uniform(2, np.arange(VOCABULARY)) * 9).astype(int)
    words = ["".join(row[:length]) for row, length in zip(chosen, lengths, strict=True)]
    return pa.array([word + end for end in ("", ",", ".", ".\n") for word in words], pa.string())


_CHANCES = np.cumsum(1 / np.arange(2, VOCABULARY + 2))
_CHANCES /= _CHANCES[-1]


def sources(numbers: np.ndarray) -> np.ndarray:
    """Return for each document the original that it is a near duplicate of; an original names itself."""
    found = numbers.astype(np.int64)
    while (copies := np.flatnonzero((uniform(3, found) < PLANTED) & (found > 0))).size:
        found[copies] = (uniform(4, found[copies]) * found[copies]).astype(np.int64)
    return found


def texts(numbers: np.ndarray, words: pa.Array) -> pa.Array:
    """Return the texts of some documents."""
    return _written(numbers, sources(numbers)[:, None], words)


def _written(numbers: np.ndarray, origin: np.ndarray, words: pa.Array) -> pa.Array:
    """Return texts whose word at each position is that of `origin` [documents, 1 or WORDS], then edited if a copy's."""
    position = np.arange(WORDS)
    chosen = np.searchsorted(_CHANCES, uniform(5, origin, position))
    edits = np.where(origin[:, 0] == numbers, 0, 1 + (uniform(6, numbers) * EDITS).astype(int))
    for edit in range(EDITS if origin.shape[1] == 1 else 0):
        rows = np.flatnonzero(edits > edit)
        places = (uniform(7, numbers[rows], edit) * WORDS).astype(int)
        chosen[rows, places] = (uniform(8, numbers[rows], edit) * VOCABULARY).astype(int)
    mark = uniform(9, origin, position)
    end = np.where(mark < 0.05, 1, np.where(mark < 0.11, 2, np.where(mark < 0.13, 3, 0)))
    end[:, -1] = 2
    pieces = words.take(pa.array((chosen + end * VOCABULARY).ravel()))
    bounds = pa.array(np.arange(len(numbers) + 1, dtype=np.int32) * WORDS)
    return pc.binary_join(pa.ListArray.from_arrays(bounds, pieces), " ")


def write_generated(folder: Path, count: int, make: Callable[[np.ndarray, pa.Array], pa.Array] = texts) -> Path:
    """Write `count` documents below a folder, if they are not there yet; return the folder."""
    if (folder / ".done").exists():
        return folder
    words = vocabulary()
    for start in range(0, count, ROWS_PER_FILE):
        groups = range(start, min(count, start + ROWS_PER_FILE), ROWS_PER_GROUP)
        parts = (np.arange(one, min(one + ROWS_PER_GROUP, count, start + ROWS_PER_FILE)) for one in groups)
        _write(folder / f"{start // ROWS_PER_FILE:05}.parquet", ((part, make(part, words)) for part in parts))
    (folder / ".done").touch()
    return folder


def write_texts(folder: Path, given: list[str]) -> Path:
    """Write given texts below a folder, numbered; return the folder."""
    for start in range(0, len(given), ROWS_PER_FILE):
        part = np.arange(start, min(len(given), start + ROWS_PER_FILE))
        column = pa.array([given[number] for number in part], pa.string())
        _write(folder / f"{start // ROWS_PER_FILE:05}.parquet", [(part, column)])
    return folder


def _write(path: Path, parts: Iterator[tuple[np.ndarray, pa.Array]] | list[tuple[np.ndarray, pa.Array]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        for numbers, column in parts:
            ids = pa.array([f"{number:09}" for number in numbers])
            writer.write_batch(pa.RecordBatch.from_arrays([ids, column], schema=schema), row_group_size=ROWS_PER_GROUP)


def _one_shingle(numbers: np.ndarray, words: pa.Array) -> pa.Array:
    own = _written(numbers, numbers[:, None], words)
    return pc.binary_join_element_wise(pa.scalar("All rights reserved by nobody.", pa.string()), own, "\n")


def _template(shared: float) -> Callable[[np.ndarray, pa.Array], pa.Array]:
    """Return what makes pages whose first words, this share of them, are all the same."""

    def pages(numbers: np.ndarray, words: pa.Array) -> pa.Array:
        return _written(numbers, np.where(np.arange(WORDS) < shared * WORDS, 0, numbers[:, None]), words)

    return pages


def _half_of_all(numbers: np.ndarray, words: pa.Array) -> pa.Array:
    return _written(numbers, np.where(numbers % 2 == 0, 0, numbers)[:, None], words)


def _no_shingles(numbers: np.ndarray, words: pa.Array) -> pa.Array:
    return pa.array([f"{'#' * 3480} {number} and three words" for number in numbers.tolist()], pa.string())


def _identical(numbers: np.ndarray, words: pa.Array) -> pa.Array:
    return texts(np.zeros(1, np.int64), words).take(pa.array(np.zeros(len(numbers), np.int64)))


ADVERSARIAL: dict[str, Callable[[np.ndarray, pa.Array], pa.Array]] = {
    "one_shingle_in_all": _one_shingle,
    "one_band_in_all": _template(0.876),  # pages 78 % alike: nearly every pair has a band in common, and stays
    "half_a_template": _template(0.667),
    "all_at_the_threshold": _template(0.889),
    "half_of_all_in_one_cluster": _half_of_all,
    "no_shingles": _no_shingles,
    "all_identical": _identical,
}
"""Unkind corpora, by what is unkind in them; as many bytes as the generated one."""
