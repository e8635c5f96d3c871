"""Sketches of a text by which equal and similar texts find each other: content hash, MinHash bands, shingles.

Similarity is the Jaccard similarity of the sets of shingles: five consecutive words, wherever in the text. A text of
fewer than five words has none: it can be an exact duplicate, never a near one, for so few words prove nothing about
the rest of it.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from itertools import pairwise

import numpy as np
import pyarrow as pa

from filters.kernels.buffers import buffers
from filters.kernels.minhash import BANDS, signatures
from filters.kernels.minhash import bands as hash_bands
from filters.kernels.shingles import Hashing, distinct_shingles, hashing
from filters.signal import Signal, signal

PLAIN = hashing(0)
"""The hashing of the signals of this module; `sketches` gives those of another one."""


@signal(content_hash=pa.binary(16))
def content_hash(text: pa.Array) -> pa.Array:
    """Return the first 128 bits of the SHA-256 of the key and the exact bytes of each text.

    A cryptographic one, because equal hashes decide with nothing else: nobody shall write a page that displaces a book.
    """
    return _content(text, PLAIN)


@signal(bands=pa.binary(8 * BANDS))
def bands(text: pa.Array) -> pa.Array:
    """Return the MinHash band hashes of each text: 28 little-endian uint64; null when it has no shingle.

    Texts of similarity s agree in at least one of the first 14 with probability 1 - (1 - s^8)^14 (0.92 at 0.8), in one of
    all with 0.99 at 0.8.
    """
    return _bands(text, PLAIN)


def sketches(how: Hashing) -> dict[str, Signal]:
    """Return the signals of this module, by the columns they write, as they hash with `how`."""
    return {
        column: Signal(one.name, partial(function, how=how), one.reads, one.writes)
        for column, one, function in (("content_hash", content_hash, _content), ("bands", bands, _bands))
    }


def shingles(text: pa.Array, how: Hashing = PLAIN, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return (offsets int64 [n + 1], hashes uint64): of every text, or of those of `rows`, the sorted, distinct shingles."""
    return distinct_shingles(*buffers(text), np.arange(len(text)) if rows is None else rows, how)


def _content(text: pa.Array, how: Hashing) -> pa.Array:
    keyed = sha256(int(how.start).to_bytes(8, "little") + int(how.multiplier).to_bytes(8, "little"))
    offsets, data = buffers(text)
    view, found = data.data, []
    for start, stop in pairwise(offsets.tolist()):
        one = keyed.copy()
        one.update(view[start:stop])
        found.append(one.digest())
    digests = np.frombuffer(b"".join(found), np.uint8).reshape(len(text), 32)
    return pa.Array.from_buffers(pa.binary(16), len(text), [None, pa.py_buffer(digests[:, :16].tobytes())])


def _bands(text: pa.Array, how: Hashing) -> pa.Array:
    lanes, counts = signatures(*buffers(text), how)
    known = pa.py_buffer(np.packbits(counts > 0, bitorder="little"))
    packed = pa.py_buffer(hash_bands(lanes, how).astype("<u8", copy=False))
    return pa.Array.from_buffers(pa.binary(8 * BANDS), len(text), [known, packed])
