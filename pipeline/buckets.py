"""Which bucket of a ledger's column each document of a run's shards is in, so that losses can be told apart by it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.manifest import RunError
from pipeline.store import Store


def buckets(run: str, column: str) -> tuple[list[str], np.ndarray]:
    """Return the buckets' names and each document's, int32, -1 where the ledger says nothing.

    Numbers fall into quarters of the kept documents; lists are empty or not; other values are themselves. The order of the
    shards' documents is that of the ledger's kept rows. Raises RunError where the ledger has no such column.
    """
    store = Store(run)
    parts = []
    for name in store.names("ledger"):
        with store.open(name) as file:
            names = pa.parquet.read_schema(file).names
        if column not in names:
            raise RunError(f"{run}: the ledger has no column {column!r}; it has {', '.join(names)}")
        table = store.read_table(name, sorted({"reason", column}))
        parts.append(table.filter(pc.is_null(table.column("reason"))).column(column))
    if not parts:
        raise RunError(f"{run}: there is no ledger whose columns could part the documents")
    values = pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)
    return _of(values)


def _of(values: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    kind = values.type
    if pa.types.is_list(kind):
        some = pc.greater(pc.fill_null(pc.list_value_length(values), 0), 0)
        return ["none", "some"], np.asarray(some).astype(np.int32)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = pc.fill_null(values.cast(pa.float64()), float("nan")).to_numpy()
        known = np.isfinite(numbers)
        edges = np.unique(np.quantile(numbers[known], (0.25, 0.5, 0.75))) if known.any() else np.zeros(0)
        texts = [f"{edge:.4g}" for edge in edges]
        names = [f"to {texts[0]}", *(f"to {text}" for text in texts[1:]), f"above {texts[-1]}"] if texts else []
        return names, np.where(known, np.searchsorted(edges, numbers), -1).astype(np.int32)
    coded = values.cast(pa.string()).combine_chunks().dictionary_encode()
    return coded.dictionary.to_pylist(), pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
