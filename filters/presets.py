"""Published rule sets, as tables with their sources. A recipe names a preset; its rules are called `<preset>.<column>`.

Bounds are those of the papers or, where a paper leaves them open, of the released code that its authors name.
"""

from __future__ import annotations

from dataclasses import dataclass

from filters.rule import Rule


@dataclass(frozen=True)
class Preset:
    """A named set of rules with the publication it comes from."""

    name: str
    citation: str
    rules: tuple[Rule, ...]


def _preset(name: str, citation: str, **bounds: tuple[float | None, float | None]) -> Preset:
    rules = (Rule(f"{name}.{column}", column, minimum, maximum) for column, (minimum, maximum) in bounds.items())
    return Preset(name, citation, tuple(rules))


GOPHER_QUALITY = _preset(
    "gopher_quality",
    "Rae et al. 2021, Scaling Language Models: Methods, Analysis & Insights from Training Gopher, section A1.1",
    words=(50, 100_000),
    mean_word_length=(3, 10),
    hash_ratio=(None, 0.1),
    ellipsis_ratio=(None, 0.1),
    bullet_lines=(None, 0.9),
    ellipsis_lines=(None, 0.3),
    alphabetic_words=(0.8, None),
    stop_words=(2, None),
)

GOPHER_REPETITION = _preset(
    "gopher_repetition",
    "Rae et al. 2021, table A1",
    duplicate_lines=(None, 0.30),
    duplicate_paragraphs=(None, 0.30),
    duplicate_line_characters=(None, 0.20),
    duplicate_paragraph_characters=(None, 0.20),
    top_2_gram=(None, 0.20),
    top_3_gram=(None, 0.18),
    top_4_gram=(None, 0.16),
    duplicate_5_grams=(None, 0.15),
    duplicate_6_grams=(None, 0.14),
    duplicate_7_grams=(None, 0.13),
    duplicate_8_grams=(None, 0.12),
    duplicate_9_grams=(None, 0.11),
    duplicate_10_grams=(None, 0.10),
)

C4 = _preset(
    "c4",
    "Raffel et al. 2020, Exploring the Limits of Transfer Learning with a Unified Transformer, section 2.2",
    c4_sentences=(5, None),
    lorem_ipsum=(None, 0),
    curly_brackets=(None, 0),
)

C4_FINEWEB = _preset(
    "c4_fineweb",
    "C4's rules as Penedo et al. 2024, The FineWeb Datasets, section 3.5, apply them: lines may end without a mark",
    c4_fineweb_sentences=(5, None),
    c4_fineweb_lorem_ipsum=(None, 0),
    c4_fineweb_curly_brackets=(None, 0),
)

FINEWEB = _preset(
    "fineweb",
    "Penedo et al. 2024, The FineWeb Datasets, section 3.6",
    terminal_punctuation_lines=(0.12, None),
    short_lines=(None, 0.67),
    repeated_line_characters=(None, 0.01),
    newlines_per_word=(None, 0.3),
)

STARCODER = _preset(
    "starcoder",
    "Li et al. 2023, StarCoder: may the source be with you!, section 3.1; bounds from the released filters",
    longest_code_line=(None, 1000),
    mean_code_line=(None, 100),
    alphanumeric=(0.25, None),
    alphabetic_margin=(0, None),
    xml_declaration=(None, 0),
    visible_text=(0.2, None),
    visible_text_missing=(None, 0),
    data_size_excess=(None, 0),
)

STARCODER2 = _preset(
    "starcoder2",
    "Lozhkov et al. 2024, StarCoder 2 and The Stack v2, section 2.1, the filter of encoded data; its other filters are "
    "about those of StarCoder",
    encoded=(None, 0.5),
    longest_encoded=(None, 1024),
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (GOPHER_QUALITY, GOPHER_REPETITION, C4, C4_FINEWEB, FINEWEB, STARCODER, STARCODER2)
}

SETS: dict[str, frozenset[str]] = {
    # Licences that ask for attribution at most, by SPDX identifier (Blue Oak Council list, bronze and better).
    "permissive": frozenset(
        [
            "0BSD",
            "Apache-2.0",
            "Artistic-2.0",
            "BSD-2-Clause",
            "BSD-3-Clause",
            "BSL-1.0",
            "CC0-1.0",
            "ISC",
            "MIT",
            "MIT-0",
        ]
        + ["NCSA", "PostgreSQL", "Python-2.0", "Unlicense", "UPL-1.0", "Zlib"]
    ),
}
"""Sets of values that a rule's `in` may name instead of listing them."""
