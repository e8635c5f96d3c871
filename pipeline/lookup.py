"""Where a document is in the ledger: sorted hashes of ids and urls, so that `why` reads three row groups and not all parts.

One file for each group of pieces. A hash only says where to look; the ledger's row says whether it is the document.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from pipeline.store import Store

FOLDER = "lookup"
ROWS = pa.schema([pa.field("hash", pa.uint64()), pa.field("part", pa.int64()), pa.field("row", pa.int32())])
"""The hash of an id or url, the number of its part of the ledger, and its row there; sorted."""
ROW_GROUP = 1 << 14


def entries(part: int, ids: pa.ChunkedArray, urls: pa.ChunkedArray) -> pa.Table:
    """Return the ROWS of one part of the ledger: of each document its id, and its url where it is another string."""
    names, others = ids.to_pylist(), urls.to_pylist()
    found = [(_hash(name), row) for row, name in enumerate(names)]
    found += [(_hash(url), row) for row, url in enumerate(others) if url is not None and url != names[row]]
    hashes = np.fromiter((hash for hash, _ in found), np.uint64, len(found))
    rows = np.fromiter((row for _, row in found), np.int32, len(found))
    return pa.table([pa.array(hashes), pa.array(np.full(len(found), part, np.int64)), pa.array(rows)], schema=ROWS)


def merged(parts: Iterable[pa.Table]) -> pa.Table:
    return pa.concat_tables([ROWS.empty_table(), *parts]).sort_by([(name, "ascending") for name in ROWS.names])


def places(store: Store, document: str, most: int) -> tuple[list[tuple[int, int]], int]:
    """Return the first (part, row), `most` at most, of documents that have this id or url, and how many have it.

    No more than a row group is held.
    """
    wanted = _hash(document)
    first: list[tuple[int, int]] = []
    count = 0
    for name in store.names(FOLDER):
        with store.open(name) as file:
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
            for number in range(parquet.metadata.num_row_groups):
                known = parquet.metadata.row_group(number).column(0).statistics
                if known is not None and known.min <= wanted <= known.max:
                    table = parquet.read_row_group(number, use_threads=False)
                    same = pc.equal(table.column("hash"), pa.scalar(wanted, pa.uint64()))
                    found = pc.indices_nonzero(same).to_pylist()  # follow each other: rows are sorted
                    few = table.slice(found[0] if found else 0, min(len(found), most)).to_pydict()
                    first = sorted([*first, *zip(few["part"], few["row"], strict=True)])[:most]
                    count += len(found)
    return first, count


def _hash(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogatepass"))
