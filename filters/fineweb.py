"""FineWeb's own rules: does a page read as prose, line by line, or as menus, lists and repeated captions?

After Penedo et al. 2024, The FineWeb Datasets, section 3.6, and the code released with it: lines lie between newlines,
blank lines do not count, and a line ends a sentence if its last character has the Unicode property Sentence_Terminal
(`.` `?` `!` `。` `।` and so on, but no quote and no bracket).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from filters.kernels import lines
from filters.kernels.buffers import buffers
from filters.ratio import ratio
from filters.signal import signal


@signal(
    terminal_punctuation_lines=pa.float32(),
    short_lines=pa.float32(),
    repeated_line_characters=pa.float32(),
    newlines=pa.int32(),
)
def line_shape(text: pa.LargeStringArray) -> tuple[pa.Array | np.ndarray, ...]:
    """Measure the shares of lines that end a sentence and that have at most 30 characters, the share of characters in
    lines that repeat an earlier one (among all characters but newlines), and the newlines.

    A text with no line but blank ones has no shares: null.
    """
    filled, ended, short, repeated, characters, newlines = lines.line_shape(*buffers(text))
    characters = np.where(filled == 0, 0, characters)
    return ratio(ended, filled), ratio(short, filled), ratio(repeated, characters), newlines


@signal(newlines_per_word=pa.float32())
def newlines_per_word(newlines: pa.Int32Array, words_of_any_kind: pa.Int32Array) -> pa.FloatArray:
    """Divide newlines by words, punctuation marks among them as in the released code; null for a text without words."""
    return ratio(np.asarray(newlines), np.asarray(words_of_any_kind))
