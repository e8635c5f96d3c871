"""Source code: is a file written by a person to be read, or is it data, markup or minified?

After Li et al. 2023, StarCoder, section 3.1, and the filters released with it; encoded data after Lozhkov et al. 2024,
StarCoder 2 and The Stack v2. Where a rule of theirs holds for some
programming languages only, its column is written so that every other document passes: a rule sees every document.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.kernels import code, encoded
from filters.kernels.buffers import buffers
from filters.kernels.characters import characters as count_characters
from filters.ratio import ratio
from filters.signal import signal

# Programming languages by their names in GitHub's Linguist, in small letters.
LONG_LINES = tuple("bluespec cmake json markdown matlab r restructuredtext rmarkdown sql stata tex".split())
"""Languages whose good files have long lines: the released filters set no bound for them."""
DATA = ("json", "yaml")
MOSTLY_LETTERS = {"json": 0.5, "yaml": 0.5} | dict.fromkeys(
    ("augeas", "maple", "mathematica", "matlab", "scheme", "systemverilog", "vhdl", "yacc"), 0.25
)
"""The least share of letters that the released filters ask of a language's files, where they ask for any."""
SMALLEST_DATA, LARGEST_DATA = 100, 5000
"""Characters of a JSON or YAML file that is more likely an example or a configuration than a data set."""
LEAST_VISIBLE = 100
"""Characters that an HTML file must show."""


@signal(longest_line=pa.int32(), mean_line_length=pa.float32(), alphanumeric=pa.float32(), alphabetic=pa.float32())
def file_shape(text: pa.LargeStringArray) -> tuple[pa.Array | np.ndarray, ...]:
    """Measure the longest line and the mean line in characters, and the shares of characters that are letters or digits,
    and that are letters.

    A text of no characters has no mean and no shares: null.
    """
    characters, alphanumeric, letters, lines, inside, longest = code.file_shape(*buffers(text))
    return longest, ratio(inside, lines), ratio(alphanumeric, characters), ratio(letters, characters)


@signal(longest_code_line=pa.int32(), mean_code_line=pa.float32(), alphabetic_margin=pa.float32())
def language_bounds(
    longest_line: pa.Int32Array,
    mean_line_length: pa.FloatArray,
    alphabetic: pa.FloatArray,
    programming_language: pa.StringArray,
) -> tuple[pa.Array, ...]:
    """Judge lines and letters by the programming language.

    `longest_code_line` and `mean_code_line` are 0 where long lines are usual: Markdown, SQL, TeX, JSON …
    `alphabetic_margin` is by how much the share of letters exceeds the least that is asked of the language (0.5 for JSON
    and YAML, 0.25 for a few, 0 for all others and for prose). What is null for an empty text stays null.
    """
    exempt = _is_one_of(programming_language, LONG_LINES)
    least = np.zeros(len(programming_language), np.float32)
    for language, share in MOSTLY_LETTERS.items():
        least[_is_one_of(programming_language, [language])] = share
    return (
        pc.if_else(exempt, pa.scalar(0, pa.int32()), longest_line),
        pc.if_else(exempt, pa.scalar(0, pa.float32()), mean_line_length),
        pc.subtract(alphabetic, pa.array(least)),
    )


@signal(xml_declaration=pa.int32())
def xml_declaration(text: pa.LargeStringArray, programming_language: pa.StringArray) -> np.ndarray:
    """Return 1 where the first 100 characters declare XML and the language is not XSLT, which is XML by right; else 0."""
    return np.where(_is_one_of(programming_language, ["xslt"]), 0, code.xml_declarations(*buffers(text)))


@signal(visible_text=pa.float32(), visible_text_missing=pa.int32())
def visible_text(text: pa.LargeStringArray, programming_language: pa.StringArray) -> tuple[pa.Array | np.ndarray, ...]:
    """Measure the share of an HTML file's characters that a browser shows, and how many it shows fewer than 100.

    Both speak of files whose programming language is HTML; any other document is all visible: 1 and 0. An empty HTML
    file has no share: null.
    """
    html = _is_one_of(programming_language, ["html"])
    offsets, data = buffers(text)
    visible = code.visible_characters(offsets, data, html)
    characters = count_characters(text)
    share = ratio(np.where(html, visible, 1), np.where(html, characters, 1))
    return share, np.where(html, np.maximum(LEAST_VISIBLE - visible, 0), 0)


@signal(data_size_excess=pa.int32())
def data_size_excess(text: pa.LargeStringArray, programming_language: pa.StringArray) -> np.ndarray:
    """Count the characters by which a JSON or YAML file is shorter than 100 or longer than 5,000; any other document: 0."""
    characters = count_characters(text)
    outside = np.maximum(SMALLEST_DATA - characters, 0) + np.maximum(characters - LARGEST_DATA, 0)
    return np.where(_is_one_of(programming_language, DATA), outside, 0)


@signal(encoded=pa.float32(), longest_encoded=pa.int32())
def encoded_data(text: pa.LargeStringArray) -> tuple[pa.Array, np.ndarray]:
    """Measure the share of characters in base64, hexadecimal bytes and escapes of Unicode, and the longest stretch of it.

    Words one a line and nothing else look like base64 too: the published expression lets a stretch go on over newlines.
    A text of no characters has no share: null.
    """
    inside, longest = encoded.encoded(*buffers(text))
    return ratio(inside, count_characters(text)), longest


def _is_one_of(programming_language: pa.StringArray, names: Sequence[str]) -> np.ndarray:
    """Return a bool per row; a null, as of prose, is none of them."""
    found = pc.is_in(pc.utf8_lower(programming_language), value_set=pa.array(names, programming_language.type))
    return np.asarray(pc.fill_null(found, False))
