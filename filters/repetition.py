"""Gopher's repetition signals.

After Rae et al. 2021, table A1. The paper counts "characters contained within" what repeats and leaves open which; here
that is, as in the code in which FineWeb released the rules, every occurrence but the first. Words are those of
`filters.kernels.words`.
"""

from __future__ import annotations

import pyarrow as pa

from filters.kernels import repetition
from filters.kernels.buffers import buffers
from filters.ratio import ratio
from filters.signal import signal


@signal(
    duplicate_lines=pa.float32(),
    duplicate_paragraphs=pa.float32(),
    duplicate_line_characters=pa.float32(),
    duplicate_paragraph_characters=pa.float32(),
    top_2_gram=pa.float32(),
    top_3_gram=pa.float32(),
    top_4_gram=pa.float32(),
    duplicate_5_grams=pa.float32(),
    duplicate_6_grams=pa.float32(),
    duplicate_7_grams=pa.float32(),
    duplicate_8_grams=pa.float32(),
    duplicate_9_grams=pa.float32(),
    duplicate_10_grams=pa.float32(),
)
def gopher_repetition(text: pa.LargeStringArray) -> tuple[pa.Array, ...]:
    """Measure the shares of lines, of paragraphs, and of characters that repeat what came before in the same text.

    The first two are shares of lines and of paragraphs, all others of the characters of the text; null where there are
    none. A text too short for an n-gram repeats none: 0. `top_2_gram` may exceed 1, as its occurrences may overlap.
    """
    counts = repetition.count(*buffers(text))
    characters = counts[repetition.TEXT_CHARACTERS]
    return (
        ratio(counts[repetition.DUPLICATE_LINES], counts[repetition.LINES]),
        ratio(counts[repetition.DUPLICATE_PARAGRAPHS], counts[repetition.PARAGRAPHS]),
        ratio(counts[repetition.DUPLICATE_LINE_CHARACTERS], characters),
        ratio(counts[repetition.DUPLICATE_PARAGRAPH_CHARACTERS], characters),
        *(ratio(counts[row], characters) for row in range(repetition.GRAMS, len(counts))),
    )
