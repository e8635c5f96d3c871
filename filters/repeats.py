"""Text that repeats within and across documents: which lines, paragraphs, sentences or windows are where.

Two rounds, so that little is compared: `mark` gives hashes of everything that could repeat, 64 bits each; equal marks
prove nothing. `claim` gives, for the marks seen too often, hashes of 128 bits that decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from filters.kernels.buffers import buffers
from filters.kernels.shingles import Hashing
from filters.kernels.units import mark_units
from filters.kernels.windows import PRIME, hash_windows, mark_windows

UNITS = ("line", "paragraph", "sentence")
MOST_BYTES = (1 << 31) - 1
"""Bytes of one document at most: places in it are 32-bit numbers."""


@dataclass(frozen=True)
class Repeat:
    """What counts as a repeat: equal units of at least `size` characters, or equal windows of `size` words or bytes.

    The first `occurrences` stay. `corpora` are those it is looked for in; empty: all.
    """

    unit: Literal["line", "paragraph", "sentence", "words", "bytes"]
    size: int
    occurrences: int = 1
    corpora: tuple[str, ...] = ()


class Marked(NamedTuple):
    """Hashes, uint64 [n] or [n, 2], of [start, end] bytes of rows of a text column, in the order of the text."""

    hashes: np.ndarray
    rows: np.ndarray
    places: np.ndarray


def mark(text: pa.Array, repeat: Repeat, how: Hashing) -> Marked:
    """Return a 64-bit mark of everything in the texts that could be a repeat: equal text has equal marks.

    A unit is its own mark. Equal windows have equal marks inside them.
    """
    offsets, data = buffers(text)
    if len(text) and np.diff(offsets).max() > MOST_BYTES:
        raise OverflowError(f"a document of {np.diff(offsets).max():,} bytes: {MOST_BYTES:,} is the most")
    if repeat.unit in UNITS:
        return Marked(*mark_units(offsets, data, UNITS.index(repeat.unit), repeat.size, (how.start, how.multiplier)))
    return Marked(*mark_windows(offsets, data, repeat.size, repeat.unit == "bytes", (how.start, how.multiplier)))


def claim(text: pa.Array, repeat: Repeat, marks: Marked, how: Hashing) -> Marked:
    """Return the 128-bit hashes of what is marked by some of the texts' marks: each unit, each window around a mark.

    Units are hashed by keyed BLAKE2b of their text, white space squeezed. Windows, by two polynomials of degree below
    their number of words, over the prime field of 2^61 - 1, at points that the key gives.
    """
    key = int(how.start).to_bytes(8, "little") + int(how.multiplier).to_bytes(8, "little")
    offsets, data = buffers(text)
    if repeat.unit in UNITS:
        view = data.data
        starts = offsets[marks.rows]
        spans = zip((starts + marks.places[:, 0]).tolist(), (starts + marks.places[:, 1]).tolist(), strict=True)
        digests = b"".join(_digest(view[start:end], key) for start, end in spans)
        return Marked(np.frombuffer(digests, "<u8").reshape(-1, 2), marks.rows, marks.places)
    bounds = np.searchsorted(marks.rows, np.arange(len(text) + 1))
    size, in_bytes, numbers = repeat.size, repeat.unit == "bytes", (how.start, how.multiplier)
    return Marked(*hash_windows(offsets, data, size, in_bytes, bounds, marks.places, _bases(key), numbers))


def _digest(unit: memoryview, key: bytes) -> bytes:
    squeezed = " ".join(str(unit, "utf-8").split()).encode()
    return blake2b(squeezed, digest_size=16, key=key).digest()


def _bases(key: bytes) -> np.ndarray:
    numbers = np.frombuffer(blake2b(b"bases", digest_size=16, key=key).digest(), "<u8")
    return numbers % (PRIME - np.uint64(256)) + np.uint64(256)
