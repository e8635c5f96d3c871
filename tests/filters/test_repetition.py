"""Gopher's repetition signals: the kernel against sets and counters of Python strings."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.kernels.buffers import buffers
from filters.kernels.repetition import DUPLICATE, TOP
from filters.kernels.words import cut_words
from filters.presets import GOPHER_REPETITION
from filters.repetition import gopher_repetition
from filters.rule import decide
from filters.signal import measure

FEW_WORDS = st.lists(st.sampled_from(["a", "bb", "é,", "한국", "字字", "\n", "\n\n", "😀"]), max_size=80).map(" ".join)
FEW_LINES = st.lists(st.sampled_from(["a b", "a", "", "한국어", " ", "long line of words"]), max_size=20).map("\n".join)
PARAGRAPHS = st.lists(st.integers(0, 25).map(str), max_size=40).map("\n\n".join)
CYCLES = st.tuples(st.lists(st.sampled_from("abcd"), min_size=1, max_size=14), st.integers(1, 6)).map(
    lambda drawn: " ".join(drawn[0] * drawn[1])
)
TEXTS = st.lists(st.one_of(FEW_WORDS, FEW_LINES, PARAGRAPHS, CYCLES, st.text(max_size=60)), max_size=4)


def words_of(text: str) -> list[str]:
    """The words as the kernel cuts them; test_words.py holds them to their definition."""
    offsets, data = buffers(pa.array([text], pa.large_string()))
    room = int(offsets[1]) + 1
    table = np.zeros((room, 4), np.int64)
    count = cut_words(data, 0, room - 1, np.zeros(room, np.uint16), np.zeros(room, np.int64), table)
    return [text.encode()[word[0] : word[1]].decode() for word in table[:count]]


def share(parts: int, whole: int) -> float | None:
    return float(np.float32(parts / whole)) if whole else None


def duplicates(parts: list[str]) -> tuple[int, int]:
    seen: set[str] = set()
    repeated = [part for part in parts if part in seen or seen.add(part)]  # type: ignore[func-returns-value]
    return len(repeated), sum(map(len, repeated))


def top(words: list[str], n: int) -> int:
    grams = Counter(" ".join(words[at : at + n]) for at in range(len(words) - n + 1))
    gram, times = grams.most_common(1)[0] if grams else ("", 0)
    return len(gram) * times if times > 1 else 0


def duplicate(words: list[str], n: int) -> int:
    seen, at, characters = set(), 0, 0
    while at + n <= len(words):
        gram = tuple(words[at : at + n])
        if gram in seen:
            characters += sum(map(len, gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return characters


def naive(text: str) -> dict[str, Any]:
    words = words_of(text)
    lines = [line for line in text.split("\n") if line]
    paragraphs = [paragraph for paragraph in re.split("\n{2,}", text.strip("\n")) if paragraph]
    (some_lines, line_characters), (some_paragraphs, paragraph_characters) = map(duplicates, (lines, paragraphs))
    return {
        "duplicate_lines": share(some_lines, len(lines)),
        "duplicate_paragraphs": share(some_paragraphs, len(paragraphs)),
        "duplicate_line_characters": share(line_characters, len(text)),
        "duplicate_paragraph_characters": share(paragraph_characters, len(text)),
        **{f"top_{n}_gram": share(top(words, n), len(text)) for n in TOP},
        **{f"duplicate_{n}_grams": share(duplicate(words, n), len(text)) for n in DUPLICATE},
    }


def columns(texts: list[str], kind: pa.DataType | None = None) -> pa.RecordBatch:
    return measure(pa.record_batch({"text": pa.array(texts, kind or pa.large_string())}), [gopher_repetition])


@given(TEXTS)
@settings(deadline=None, max_examples=400)
def test_the_kernel_finds_the_repetitions_that_sets_of_strings_find(texts: list[str]) -> None:
    assert columns(texts).to_pylist() == [naive(text) for text in texts]


@given(TEXTS, st.integers(0, 4), st.integers(0, 4))
@settings(deadline=None)
def test_a_slice_measures_as_the_whole(texts: list[str], start: int, length: int) -> None:
    column = pa.array(texts, pa.large_string())
    part = measure(pa.record_batch({"text": column.slice(start, length)}), [gopher_repetition])
    assert part.to_pylist() == columns(texts).slice(start, length).to_pylist()


@given(TEXTS)
@settings(deadline=None)
def test_neither_the_order_of_rows_nor_the_width_of_offsets_matters(texts: list[str]) -> None:
    assert columns(texts[::-1], pa.string()).to_pylist() == columns(texts).to_pylist()[::-1]


@given(st.permutations([f"word{number}" for number in range(20)]))
@settings(deadline=None, max_examples=20)
def test_a_text_of_different_words_repeats_nothing(words: list[str]) -> None:
    assert set(columns([" ".join(words)]).to_pylist()[0].values()) == {0.0}


@given(st.lists(st.integers(0, 10**6), min_size=10, max_size=30, unique=True))
@settings(deadline=None, max_examples=20)
def test_a_paragraph_said_twice_is_half_a_text(numbers: list[int]) -> None:
    paragraph = " ".join(map(str, numbers))
    measured = columns([f"{paragraph}\n\n{paragraph}"]).to_pylist()[0]
    assert measured["duplicate_lines"] == measured["duplicate_paragraphs"] == 0.5
    half = pytest.approx(len(paragraph) / (2 * len(paragraph) + 2))
    assert measured["duplicate_line_characters"] == measured["duplicate_paragraph_characters"] == half


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("a\nb\na\n\na\n", "duplicate_lines", 2 / 4),
        ("a\nb\n\nc\n\n\na\nb", "duplicate_paragraphs", 1 / 3),
        ("a\nb\n\na\nb", "duplicate_paragraph_characters", 3 / 8),
        ("\n\na\n\n", "duplicate_paragraphs", 0.0),
        ("aa b aa b", "top_2_gram", 4 * 2 / 9),
        ("x y, x y", "top_3_gram", 0.0),  # words: x y , x y
        ("b a b a a", "top_2_gram", 3 * 2 / 9),  # "b a" and "a b": the more frequent one
        ("a b c d e a b c d e", "duplicate_5_grams", 5 / 19),
        ("a a a a a a a a a a a", "duplicate_5_grams", 10 / 21),  # the second is skipped over, and so is the third
        ("a b c d e", "duplicate_10_grams", 0.0),  # too short for one
        ("가 나 다 라 마 가 나 다 라 마", "duplicate_5_grams", 5 / 19),
        ("", "duplicate_5_grams", None),
        ("", "duplicate_lines", None),
        ("\n\n", "duplicate_paragraphs", None),
        ("\n\n", "duplicate_line_characters", 0.0),
    ],
)
def test_measures_what_gopher_asks_for(text: str, column: str, value: float | None) -> None:
    measured = columns([text]).column(column)[0].as_py()
    assert measured == (value if value is None else pytest.approx(value, rel=1e-6))


def test_a_short_text_is_kept_and_a_loop_of_words_is_not() -> None:
    texts = ["A short text.", "buy it now\n" * 20, "so it goes on and on without a stop " * 20]
    _, reasons = decide(columns(texts), GOPHER_REPETITION.rules)
    assert reasons.to_pylist() == [None, "gopher_repetition.duplicate_lines", "gopher_repetition.top_3_gram"]
