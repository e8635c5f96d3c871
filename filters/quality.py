"""Gopher's quality signals.

After Rae et al. 2021, section A1.1. What the paper leaves open (what a word is, what counts as a symbol) follows the
code in which FineWeb released the rules, where `filters.kernels.words` does not say otherwise.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from filters.kernels import quality
from filters.kernels.buffers import buffers
from filters.ratio import ratio
from filters.signal import signal


@signal(
    characters=pa.int32(),
    words=pa.int32(),
    words_of_any_kind=pa.int32(),
    mean_word_length=pa.float32(),
    hash_ratio=pa.float32(),
    ellipsis_ratio=pa.float32(),
    bullet_lines=pa.float32(),
    ellipsis_lines=pa.float32(),
    alphabetic_words=pa.float32(),
    stop_words=pa.int32(),
)
def gopher_quality(text: pa.LargeStringArray) -> tuple[np.ndarray | pa.Array, ...]:
    """Count words, their mean length, and the shares of words and lines that look like prose.

    `words` hold a letter or a digit each, and `mean_word_length` is theirs. The other ratios are per word of any kind,
    punctuation included (`words_of_any_kind`): `#`, ellipses (`...` or `…`), words with a letter. `bullet_lines` and
    `ellipsis_lines` are shares of the lines that are not empty. `stop_words` says how many of Gopher's eight occur, in
    small letters. Where there are no words, or no lines, ratios to them are null.
    """
    counts = quality.count(*buffers(text))
    tokens, lines = counts[quality.TOKENS], counts[quality.LINES]
    return (
        counts[quality.TEXT_CHARACTERS],
        counts[quality.WORDS],
        tokens,
        ratio(counts[quality.WORD_CHARACTERS], counts[quality.WORDS]),
        ratio(counts[quality.HASHES], tokens),
        ratio(counts[quality.ELLIPSES], tokens),
        ratio(counts[quality.BULLET_LINES], lines),
        ratio(counts[quality.ELLIPSIS_LINES], lines),
        ratio(counts[quality.ALPHABETIC], tokens),
        counts[quality.DISTINCT_STOP_WORDS],
    )
