"""Sketches of a text by which equal and similar texts find each other: content hash, MinHash bands, shingles.

Similarity is the Jaccard similarity of the sets of shingles: five consecutive words, wherever in the text. A text of
fewer than five words has none: it can be an exact duplicate, never a near one, for so few words prove nothing about
the rest of it.
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pyarrow as pa

from filters.kernels.buffers import buffers
from filters.kernels.minhash import BANDS, signatures
from filters.kernels.minhash import bands as hash_bands
from filters.kernels.shingles import KEY, distinct, hash_shingles
from filters.signal import signal

_KEY = b"".join(int(half).to_bytes(8, "little") for half in KEY)


@signal(content_hash=pa.binary(16))
def content_hash(text: pa.Array) -> pa.Array:
    """Return the 128-bit keyed BLAKE2b hash of the exact bytes of each text.

    A cryptographic one, because equal hashes decide with nothing else: nobody shall write a page that displaces a book.
    """
    offsets, data = buffers(text)
    view, rows = data.data, pairwise(offsets.tolist())
    return pa.array([blake2b(view[i:j], digest_size=16, key=_KEY).digest() for i, j in rows], pa.binary(16))


@signal(bands=pa.binary(8 * BANDS))
def bands(text: pa.Array) -> pa.Array:
    """Return the MinHash band hashes of each text: 14 little-endian uint64; null when it has no shingle.

    Texts of similarity s agree in at least one of them with probability 1 - (1 - s^8)^14: 0.92 at 0.8, 0.999 at 0.9.
    """
    lanes, counts = signatures(*buffers(text))
    known = pa.py_buffer(np.packbits(counts > 0, bitorder="little"))
    packed = pa.py_buffer(hash_bands(lanes).astype("<u8", copy=False))
    return pa.Array.from_buffers(pa.binary(8 * BANDS), len(text), [known, packed])


def shingles(text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return (offsets int64 [n + 1], hashes uint64): for every text the sorted, distinct hashes of its shingles."""
    bounds, hashes = hash_shingles(*buffers(text))
    for start, stop in pairwise(bounds.tolist()):
        hashes[start:stop].sort()  # numpy's sort uses the vector unit; a kernel's would be ten times slower
    bounds = distinct(bounds, hashes)
    return bounds, hashes[: bounds[-1]].copy()  # without what the kernel kept in reserve
