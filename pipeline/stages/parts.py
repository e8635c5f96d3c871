"""Stage files in parts: one file per piece, one part per bucket, so that a bucket is read without reading the rest.

A file begins with the places of its parts. Which files there are is a listing, a file as well: a bucket gets one message
that names it, not one from every piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.stages.work import Message, Messages, Work, pack
from pipeline.store import Store

BUCKET_BYTES = 64 << 20
"""Source bytes for which one more bucket is opened: what lies in a bucket fits one worker easily."""
LEAST, MOST = 8, 1 << 14
_PLACE = np.dtype("<i8")


def buckets(work: Work) -> int:
    """Return into how many buckets hashes and components are spread: by size, so that none grows with the corpus."""
    return int(max(LEAST, min(MOST, work.plan.source_bytes // BUCKET_BYTES)))


def write_parts(store: Store, name: str, parts: Sequence[bytes | memoryview]) -> None:
    """Write a file of as many parts as there are buckets; parts may be empty."""
    places = np.cumsum([(len(parts) + 1) * _PLACE.itemsize, *(len(part) for part in parts)]).astype(_PLACE)
    with store.create(name) as file:
        file.write(places.tobytes())
        for part in parts:
            if len(part):
                file.write(part)


def read_part(store: Store, name: str, bucket: int) -> bytes:
    """Return one part of a file that `write_parts` made."""
    size = _PLACE.itemsize
    start, stop = np.frombuffer(store.read_range(name, bucket * size, (bucket + 2) * size), _PLACE).tolist()
    return store.read_range(name, start, stop) if stop > start else b""


def map_part(store: Store, name: str, bucket: int) -> np.ndarray:
    """Return one part of a file as uint64, mapped where that can be: what is not looked at is not read."""
    size = _PLACE.itemsize
    if not store.local:
        return np.frombuffer(read_part(store, name, bucket), np.uint64)
    start, stop = np.frombuffer(store.read_range(name, bucket * size, (bucket + 2) * size), _PLACE).tolist()
    if start == stop:
        return np.zeros(0, np.uint64)
    return np.memmap(store.path(name), np.uint64, "r", start, ((stop - start) // 8,))


def share_out(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Write the listing of all files in parts that messages name; yield its name to every bucket.

    There are as many buckets as an entry says, or else as the plan has.
    """
    entries = sorted(Messages.unpack(messages).values, key=lambda entry: int(entry["number"]))
    name = work.key("listing", entries) + ".json"
    if not work.store.exists(name):
        work.store.write_json(name, entries)
    for bucket in range(entries[0].get("buckets", buckets(work))):
        yield bucket, pack({"listing": name})
