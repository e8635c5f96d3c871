"""C4: which lines of a page are prose, and whether enough of it is left.

After Raffel et al. 2020, section 2.2, and the code released with it: citation marks are cut out; a line stays if it has
three words, none over 1,000 characters, ends like a sentence, and does not speak of JavaScript, cookies, privacy or
terms of use. What the page rules look at is what those line rules leave, in that order. FineWeb's dialect (Penedo et
al. 2024, section 3.5) lets lines end as they like: most of what the terminal rule costs is good text.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from filters.kernels import c4
from filters.kernels.buffers import buffers
from filters.signal import signal


@signal(c4_sentences=pa.int32(), lorem_ipsum=pa.int32(), curly_brackets=pa.int32())
def c4_lines(text: pa.LargeStringArray) -> tuple[np.ndarray, ...]:
    """Count the sentences in the lines that C4 keeps, and `lorem ipsum` and `{` in the lines it looks at."""
    return _counts(text, terminal_punctuation=True)


@signal(c4_fineweb_sentences=pa.int32(), c4_fineweb_lorem_ipsum=pa.int32(), c4_fineweb_curly_brackets=pa.int32())
def c4_fineweb_lines(text: pa.LargeStringArray) -> tuple[np.ndarray, ...]:
    """Count the same in FineWeb's dialect, where lines need no terminal punctuation."""
    return _counts(text, terminal_punctuation=False)


def keep_lines(text: pa.LargeStringArray, terminal_punctuation: bool = True) -> pa.LargeStringArray:
    """Return the texts with the lines that C4 keeps, without citation marks; a text that loses all its lines is empty.

    As in the released code, the space beside a mark stays, and words are counted before marks are cut; a second pass
    may therefore still change a line that had marks.
    """
    offsets, data, _ = c4.keep_lines(*buffers(text), terminal_punctuation)
    return pa.LargeStringArray.from_buffers(len(text), pa.py_buffer(offsets), pa.py_buffer(data))


def _counts(text: pa.LargeStringArray, terminal_punctuation: bool) -> tuple[np.ndarray, ...]:
    _, _, counts = c4.keep_lines(*buffers(text), terminal_punctuation)
    return tuple(counts.T)
