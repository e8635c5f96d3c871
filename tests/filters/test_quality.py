"""Gopher's quality signals: the kernel against Python's own string methods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.kernels.buffers import buffers
from filters.kernels.quality import BULLETS, STOP_WORDS
from filters.kernels.unicode import DIGIT, LETTER, NUMBER, SPACE, class_of
from filters.kernels.words import cut_words
from filters.presets import GOPHER_QUALITY
from filters.quality import gopher_quality
from filters.rule import decide
from filters.signal import measure

ROUGH = st.text("ath 2#.…-•●*한字é\n\t\u3000\x1c\u2028😀", max_size=40)
TEXTS = st.lists(
    st.one_of(ROUGH, st.text(max_size=40), st.lists(st.sampled_from([*STOP_WORDS, "The", "x."])).map(" ".join)),
    max_size=4,
)


def words_of(text: str) -> list[str]:
    """The words as the kernel cuts them; test_words.py holds them to their definition."""
    offsets, data = buffers(pa.array([text], pa.large_string()))
    room = int(offsets[1]) + 1
    table = np.zeros((room, 4), np.int64)
    count = cut_words(data, 0, room - 1, np.zeros(room, np.uint16), np.zeros(room, np.int64), table)
    return [text.encode()[word[0] : word[1]].decode() for word in table[:count]]


def holds(text: str, *classes: np.uint8) -> bool:
    return any(class_of.py_func(ord(character)) & sum(map(int, classes)) for character in text)


def strip(line: str) -> str:
    spaces = "".join(set(filter(lambda character: holds(character, SPACE), line)))
    return line.strip(spaces) if spaces else line


def share(parts: int, whole: int) -> float | None:
    return float(np.float32(parts / whole)) if whole else None


def naive(text: str) -> dict[str, Any]:
    tokens = words_of(text)
    words = [token for token in tokens if holds(token, LETTER, DIGIT, NUMBER)]
    lines = [line for line in text.split("\n") if line]
    return {
        "characters": len(text),
        "words": len(words),
        "words_of_any_kind": len(tokens),
        "mean_word_length": share(sum(map(len, words)), len(words)),
        "hash_ratio": share(text.count("#"), len(tokens)),
        "ellipsis_ratio": share(text.count("...") + text.count("…"), len(tokens)),
        "bullet_lines": share(sum(strip(line).startswith(tuple(BULLETS)) for line in lines), len(lines)),
        "ellipsis_lines": share(sum(strip(line).endswith(("...", "…")) for line in lines), len(lines)),
        "alphabetic_words": share(sum(holds(token, LETTER) for token in tokens), len(tokens)),
        "stop_words": len(set(STOP_WORDS) & set(tokens)),
    }


def columns(texts: list[str], kind: pa.DataType | None = None) -> pa.RecordBatch:
    return measure(pa.record_batch({"text": pa.array(texts, kind or pa.large_string())}), [gopher_quality])


@given(TEXTS)
@settings(deadline=None, max_examples=300)
def test_the_kernel_counts_what_string_methods_count(texts: list[str]) -> None:
    assert columns(texts).to_pylist() == [naive(text) for text in texts]


@given(TEXTS, st.integers(0, 4), st.integers(0, 4))
@settings(deadline=None)
def test_a_slice_measures_as_the_whole(texts: list[str], start: int, length: int) -> None:
    column = pa.array(texts, pa.large_string())
    part = measure(pa.record_batch({"text": column.slice(start, length)}), [gopher_quality])
    assert part.to_pylist() == columns(texts).slice(start, length).to_pylist()


@given(TEXTS)
@settings(deadline=None)
def test_neither_the_order_of_rows_nor_the_width_of_offsets_matters(texts: list[str]) -> None:
    assert columns(texts[::-1], pa.string()).to_pylist() == columns(texts).to_pylist()[::-1]


@given(ROUGH, ROUGH)
@settings(deadline=None)
def test_the_counts_of_two_texts_add_up_where_a_line_ends_between_them(left: str, right: str) -> None:
    one, other, both = columns([left, right, f"{left}\n{right}"]).to_pylist()
    assert both["words"] == one["words"] + other["words"]
    assert both["characters"] == one["characters"] + other["characters"] + 1


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("The cat, the hat.", "words", 4),
        ("ab abcd ,,, !", "mean_word_length", 3.0),
        ("개념 증명이다.", "words", 2),
        ("# a #b", "hash_ratio", 0.5),  # words: # a # b
        ("so... yes… no", "ellipsis_ratio", 0.4),  # words: so ... yes … no
        ("- a\n\n • b\nc", "bullet_lines", 2 / 3),
        ("a...\nb …\t\nc.\nd", "ellipsis_lines", 0.5),
        ("a, b", "alphabetic_words", 2 / 3),
        ("The be be of", "stop_words", 2),
        ("", "words", 0),
        ("", "mean_word_length", None),
        ("\n\n", "bullet_lines", None),
        (" \n", "alphabetic_words", None),
        ("...", "mean_word_length", None),
    ],
)
def test_measures_what_gopher_asks_for(text: str, column: str, value: float | None) -> None:
    measured = columns([text]).column(column)[0].as_py()
    assert measured == (value if value is None else pytest.approx(value, rel=1e-6))


def test_prose_is_kept_and_an_empty_text_fails_every_rule_that_asks_for_words() -> None:
    prose = "It was the best of times, it was the worst of times; and we have nothing to add to that. " * 4
    verdicts, reasons = decide(columns([prose, "", "7 8 9 " * 100]), GOPHER_QUALITY.rules)
    assert reasons.to_pylist() == [None, "gopher_quality.words", "gopher_quality.mean_word_length"]
    assert not any(verdicts.slice(1, 1).to_pylist()[0].values())
