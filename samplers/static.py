"""The static model: a vector per word and per hashed letter group, added up and brought to unit length.

No neural network runs: a text is cut into words and their rows are added, in tens of microseconds. `distil` made the
rows from MiniLM. A letter group, met only in words that have no row, has a direction that its hash spells out, plus or
minus in each dimension: texts in other languages are as close as the letter groups they share.
"""

from __future__ import annotations

import hashlib
from importlib.resources import as_file, files
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from filters.kernels.buffers import JIT, buffers
from samplers.words import Characters, Scratch, Vocabulary, cut, mixed, scratch, vocabulary

FILE = "static-minilm.npz"
DIMENSIONS = 256
GROUP_LENGTH = 0.5
"""Length of a letter group's vector, in medians of the length of a word's."""


class Static(NamedTuple):
    """The model in memory."""

    table: np.ndarray  # int8 [words, DIMENSIONS]
    scale: np.ndarray  # float32 [words]: row i stands for table[i] * scale[i]
    signs: np.ndarray  # float32 [256, 8]: what a byte of a letter group's direction adds to eight dimensions
    characters: Characters
    words: Vocabulary


def load() -> Static:
    """Return the shipped model."""
    with as_file(files("samplers") / "models" / FILE) as path, np.load(path, allow_pickle=False) as arrays:
        table, scale = arrays["table"], arrays["scale"]
        lengths = np.sqrt(np.square(table, dtype=np.float32).sum(1)) * scale
        amount = GROUP_LENGTH * np.median(lengths) / np.sqrt(DIMENSIONS)
        bits = np.arange(256)[:, None] >> np.arange(8) & 1
        return Static(
            table,
            scale,
            np.where(bits, amount, -amount).astype(np.float32),
            Characters(arrays["character_index"], arrays["character_blocks"], arrays["character_bytes"]),
            vocabulary(arrays["word_offsets"], arrays["word_bytes"]),
        )


def digest() -> str:
    """Return the SHA-256 of the shipped model."""
    return hashlib.sha256((files("samplers") / "models" / FILE).read_bytes()).hexdigest()


def encode(model: Static, texts: pa.Array) -> np.ndarray:
    """Return the texts' vectors: float32 [rows, DIMENSIONS] of unit length, zeros where a text has no words.

    Sums run word by word in float32, so a text has the same vector in any batch and on any machine.
    """
    offsets, data = buffers(texts)
    vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
    _encode(offsets, data, model, scratch(), vectors)
    return vectors


@njit(**JIT)
def _encode(offsets: np.ndarray, data: np.ndarray, model: Static, room: Scratch, vectors: np.ndarray) -> None:
    for row in range(len(vectors)):
        known, groups = cut(data, offsets[row], offsets[row + 1], model.characters, model.words, room)
        vector = vectors[row]
        for i in range(known):
            _add_word(vector, model.table[room.known[i]], model.scale[room.known[i]])
        for i in range(groups):
            _add_group(vector, room.groups[i], model.signs)
        squares = 0.0
        for value in vector:
            squares += np.float64(value) * np.float64(value)
        if squares > 0:
            length = np.sqrt(squares)
            for i in range(len(vector)):
                vector[i] = np.float32(vector[i] / length)


@njit(**JIT)
def _add_word(vector: np.ndarray, row: np.ndarray, scale: np.float32) -> None:
    for i in range(len(vector)):
        vector[i] += np.float32(row[i]) * scale


@njit(**JIT)
def _add_group(vector: np.ndarray, group: np.uint64, signs: np.ndarray) -> None:
    """Add the group's direction: its hash spelled out, 64 dimensions at a time. A table is twice as fast as bits."""
    for start in range(0, len(vector), 64):
        spelled = mixed(group + np.uint64(start + 1) * np.uint64(0x9E3779B97F4A7C15))
        for byte in range(8):
            row = signs[np.int64(spelled >> np.uint64(8 * byte) & np.uint64(255))]
            for bit in range(8):
                vector[start + 8 * byte + bit] += row[bit]
