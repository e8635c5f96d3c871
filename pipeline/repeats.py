"""Repeated text, without an engine: marks → claims → who keeps → spans → shorter texts.

Every occurrence of a repeat but the first ones goes. First is who comes first in the total order of documents, and in a
document what comes first in its text. So every word that goes is still there, in the same text around it, in an earlier
place: in one that stays, or in one that went because of a still earlier one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from filters.kernels import repeats as kernels
from filters.kernels.buffers import buffers
from filters.repeats import Marked
from pipeline.ledger import SPAN, SPANS
from pipeline.node import piece_and_row

CLAIM = 24
"""Bytes of a claim: two hashes, and the first byte and the byte past the last of what is claimed (32 bits each)."""
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)

CLAIMS = pa.schema(
    [
        pa.field("node", pa.int64()),
        pa.field("preference", pa.float64()),
        pa.field("priority", pa.int32()),
        pa.field("characters", pa.int64()),
        pa.field("content", pa.binary(16)),
        pa.field("id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("claims", pa.large_list(pa.binary(CLAIM))),
    ]
)
"""Documents with their claims, in the order of their texts, on what is repeated."""
GONE = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("start", pa.uint32()),
        pa.field("end", pa.uint32()),
        pa.field("keeper", pa.int64()),
        pa.field("id", pa.dictionary(pa.int32(), pa.string())),
        pa.field("source", pa.dictionary(pa.int32(), pa.string())),
    ]
)
"""Bytes of a piece's documents that go, and the document that keeps them: its node, id and source."""


def claims_batch(documents: pa.RecordBatch, claimed: Marked) -> pa.RecordBatch:
    """Return CLAIMS of the rows of `documents`, which has the other columns, that `claimed` names, in order."""
    rows = np.unique(claimed.rows)
    packed = np.empty((len(claimed.rows), 3), np.uint64)
    packed[:, :2] = claimed.hashes
    packed[:, 2] = (claimed.places[:, 1].astype(np.uint64) << _HALF) | claimed.places[:, 0].astype(np.uint64)
    claims = pa.Array.from_buffers(pa.binary(CLAIM), len(packed), [None, pa.py_buffer(packed)])
    bounds = np.append(np.searchsorted(claimed.rows, rows), len(packed))
    lists = pa.LargeListArray.from_arrays(pa.array(bounds, pa.int64()), claims)
    return documents.take(pa.array(rows)).append_column("claims", lists).select(CLAIMS.names).cast(CLAIMS)


def first_to_keep(documents: pa.RecordBatch) -> np.ndarray:
    """Return the rows of `documents` in the total order: preference, priority, more characters, content hash, node."""
    high, low = _packed(documents.column("content"), ">u8", 16).T
    names = ("node", "characters", "priority", "preference")
    node, characters, priority, preference = (np.asarray(documents.column(name)) for name in names)
    return np.lexsort((node, low, high, -characters, priority, preference))


def decide(parts: Sequence[pa.RecordBatch], allowed: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield (piece, GONE) for each piece of whose documents something goes. Of equal claims the first `allowed` stay.

    `parts` are CLAIMS of one piece each.
    """
    if not parts:
        return
    parts = sorted(parts, key=lambda part: part.column("node")[0].as_py())
    documents = pa.concat_batches(parts)
    lists = documents.column("claims")
    bounds = np.asarray(lists.offsets) - lists.offsets[0].as_py()
    claims = _packed(lists.flatten(), "<u8", CLAIM)
    keeper = kernels.keepers(first_to_keep(documents), bounds, claims, allowed)
    gone = np.flatnonzero(keeper >= 0)
    if not len(gone):
        return
    nodes = np.asarray(documents.column("node"))
    pieces, rows = piece_and_row(nodes[np.searchsorted(bounds, gone, side="right") - 1])
    starts = np.flatnonzero(np.diff(pieces, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(gone)], strict=True):
        mine = gone[start:stop]
        kept_by, index = np.unique(keeper[mine], return_inverse=True)
        names = documents.select(["id", "source"]).take(pa.array(kept_by))
        arrays = [
            pa.array(rows[start:stop]),
            pa.array((claims[mine, 2] & _LOW).astype(np.uint32)),
            pa.array((claims[mine, 2] >> _HALF).astype(np.uint32)),
            pa.array(nodes[keeper[mine]]),
            *(pa.DictionaryArray.from_arrays(pa.array(index, pa.int32()), column) for column in names.columns),
        ]
        yield int(pieces[start]), pa.RecordBatch.from_arrays(arrays, schema=GONE)


@dataclass(frozen=True)
class Cut:
    """Texts without their repeats; which rows have nothing left (these keep their text); SPANS of every row."""

    text: pa.Array
    nothing_left: np.ndarray
    spans: pa.Table


def cut(text: pa.Array, gone: Sequence[tuple[str, pa.RecordBatch]]) -> Cut:
    """Cut out of texts what goes: (unit, GONE) each, of which there is one. What is left is as it was, end to end."""
    offsets, data = buffers(text)
    units = sorted({unit for unit, _ in gone})
    unit = np.repeat([units.index(unit) for unit, _ in gone], [batch.num_rows for _, batch in gone])
    rows, start, end, keeper = (
        np.concatenate([np.asarray(batch.column(name)).astype(np.int64) for _, batch in gone])
        for name in ("row", "start", "end", "keeper")
    )
    keepers, number = np.unique(keeper, return_inverse=True)
    who = number * len(units) + unit
    example = np.empty(len(keepers) * len(units), np.int64)  # an entry of each keeper and unit, to take the names from
    example[who] = np.arange(len(who))
    order = np.lexsort((unit, start, rows))
    places, whose = kernels.join(rows[order], start[order], end[order], who[order])
    shorter = _without(text, places)
    touched = np.unique(places[:, 0])
    blank = np.array([row for row in touched.tolist() if not shorter[row].as_py().strip()], np.int64)
    if len(blank):
        shorter = _without(text, places[~np.isin(places[:, 0], blank)])
    characters = kernels.in_characters(offsets, data, places)
    columns = [
        pa.array(characters[:, 1], pa.int32()),
        pa.array(characters[:, 2], pa.int32()),
        pa.array(units, pa.string()).take(pa.array(whose % len(units))),
        *(_taken([batch.column(name) for _, batch in gone], example[whose]) for name in ("id", "source")),
    ]
    bounds = np.searchsorted(places[:, 0], np.arange(len(text) + 1)).astype(np.int32)
    untouched = np.diff(bounds) == 0
    spans = pa.StructArray.from_arrays(columns, fields=list(SPAN))
    lists = pa.ListArray.from_arrays(pa.array(bounds), spans, mask=pa.array(untouched))
    removed = np.diff(np.concatenate([[0], np.cumsum(characters[:, 2] - characters[:, 1])])[bounds])
    sums = pa.array(removed, pa.int32(), mask=untouched)
    return Cut(shorter, blank, pa.Table.from_arrays([lists, sums], schema=SPANS))


def _without(text: pa.Array, places: np.ndarray) -> pa.Array:
    bounds, left = kernels.cut(*buffers(text), places)
    return pa.Array.from_buffers(pa.large_string(), len(text), [None, pa.py_buffer(bounds), pa.py_buffer(left)])


def _taken(columns: Sequence[pa.DictionaryArray], rows: np.ndarray) -> pa.Array:
    """Return the values of `rows` of all columns together, without writing out the others."""
    bases = np.cumsum([0, *(len(column.dictionary) for column in columns)])
    index = np.concatenate([np.asarray(c.indices) + base for c, base in zip(columns, bases[:-1], strict=True)])
    return pa.concat_arrays([column.dictionary for column in columns]).take(pa.array(index[rows]))


def _packed(array: pa.Array, kind: str, width: int) -> np.ndarray:
    """Return a fixed-size binary column as numbers, uint64 [rows, width / 8]."""
    size = width // 8
    found = np.frombuffer(array.buffers()[1] or b"", kind, len(array) * size, array.offset * width)
    return found.astype(np.uint64, copy=False).reshape(-1, size)
