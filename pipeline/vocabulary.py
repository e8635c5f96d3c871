"""Learning a tokenizer: words are counted batch by batch, counts add up, and merges are learnt from the sum.

So no process needs the texts: whoever has a batch counts it. The result is, byte for byte, what the `tokenizers` library
trains on the same texts.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from filters.kernels.buffers import buffers
from filters.kernels.learn import learn
from filters.kernels.pieces import cuts
from pipeline.shards import INFILLING
from pipeline.tokens import BYTE_CHARACTERS, END_OF_TEXT, OURS, TokenizerError, kinds, splitting

WORDS = pa.schema([pa.field("word", pa.large_binary()), pa.field("count", pa.int64())])
"""Pieces of text as they are merged, each once, and how often they occur."""

_AT_ONCE = 1 << 20
"""Counted words that are kept waiting before they are added up."""

SPECIAL = [END_OF_TEXT, *INFILLING[0]]
"""Tokens that no text can spell, first in the vocabulary."""
LEAST = 256 + len(SPECIAL)

LONGEST = 256
"""Characters of a piece that training looks at in one go: a run of a million letters would hold it up for hours."""


def count_words(texts: pa.Array) -> pa.Table:
    """Return the words of a string array and how often each occurs, as WORDS."""
    offsets, data = buffers(texts)
    starts = cuts(offsets, data, kinds(OURS), LONGEST)
    words = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(starts) - 1, [None, pa.py_buffer(starts), pa.py_buffer(data)]
    )
    counted = words.value_counts()
    return pa.table([counted.field("values"), counted.field("counts")], schema=WORDS)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> bytes:
    """Return the tokenizer.json of at most `vocabulary` tokens that texts lead to, whatever their order."""
    return train(count_words(pa.array(texts, pa.large_string())), vocabulary)


def add_words(parts: Iterable[pa.Table]) -> pa.Table:
    """Return the sum of counted words, in the order of their bytes. It takes memory for the different words, not for all."""
    total, waiting = WORDS.empty_table(), [WORDS.empty_table()]
    for part in parts:
        waiting.append(part)
        if sum(len(one) for one in waiting) > max(_AT_ONCE, len(total)):
            total, waiting = _sum([total, *waiting]), []
    return _sum([total, *waiting]).sort_by("word").combine_chunks()


def _sum(parts: list[pa.Table]) -> pa.Table:
    both = pa.concat_tables(parts).group_by("word", use_threads=False).aggregate([("count", "sum")])
    return pa.table([both.column("word"), both.column("count_sum")], schema=WORDS)


def train(words: pa.Table, vocabulary: int) -> bytes:
    """Return the tokenizer.json of at most `vocabulary` tokens that counted words lead to.

    All 256 bytes are tokens, whatever the words; words too few for so many merges give fewer.
    """
    if vocabulary < LEAST:
        raise TokenizerError(
            f"a vocabulary of {vocabulary} tokens: 256 bytes and 4 special tokens need at least {LEAST}"
        )
    tokens = [*SPECIAL, *sorted(BYTE_CHARACTERS)]
    spelled = [
        *(token.encode() for token in SPECIAL),
        *(bytes([BYTE_CHARACTERS.index(character)]) for character in tokens[len(SPECIAL) :]),
    ]
    byte_ids = np.array([tokens.index(character) for character in BYTE_CHARACTERS], np.int32)
    offsets = np.zeros(vocabulary + 1, np.int64)
    offsets[1 : len(tokens) + 1] = np.cumsum([len(one) for one in spelled])
    starts, data = _binary(words.column("word"))
    counts = np.ascontiguousarray(words.column("count").to_numpy(), np.int64)
    merges = learn(byte_ids[data], starts, counts, offsets, _grown(b"".join(spelled)), len(tokens), vocabulary)
    ids = {token: number for number, token in enumerate(tokens)}
    pairs = []
    for left, right, merged in merges.tolist():
        pairs.append((tokens[left], tokens[right]))
        if merged == len(tokens):
            tokens.append(tokens[left] + tokens[right])
            ids[tokens[-1]] = merged
    return _tokenizer_json(ids, pairs)


def _binary(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    array = pa.concat_arrays(column.chunks or [pa.array([], pa.large_binary())])
    if not len(array):
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    _, offsets, data = array.buffers()
    starts = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8)
    return starts - starts[0], np.frombuffer(data, np.uint8)[starts[0] : starts[-1]]


def _grown(data: bytes) -> np.ndarray:
    array = np.zeros(max(1 << 12, len(data)), np.uint8)
    array[: len(data)] = np.frombuffer(data, np.uint8)
    return array


def _tokenizer_json(ids: dict[str, int], merges: list[tuple[str, str]]) -> bytes:
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=merges))
    tokenizer.add_special_tokens(SPECIAL)
    split = pre_tokenizers.Split(tokenizers.Regex(splitting(OURS)), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    return str(tokenizer.to_str(pretty=False)).encode()
