"""FineWeb's line shares: laws, a naive twin, examples."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.fineweb import line_shape, newlines_per_word
from filters.kernels.sentences import ENDS
from filters.ratio import ratio

PIECES = (
    "\n",
    "\n\n",
    ".",
    "!",
    "。",
    "۔",
    "😀",
    "가나다",
    " ",
    "\u3000",
    "\x85",
    "\r",
    "same line",
    "x" * 30,
    "x" * 31,
    "é" * 30,
)
texts = st.lists(st.one_of(st.text(max_size=5), st.sampled_from(PIECES)), max_size=30).map("".join)


def column(*values: str) -> pa.LargeStringArray:
    return pa.array(values, pa.large_string())


def naive(text: str) -> tuple[float | None, float | None, float | None, int]:
    lines = [line for line in text.split("\n") if line.strip()]
    newlines = text.count("\n")
    if not lines:
        return None, None, None, newlines
    marks = tuple(chr(point) for first, last in ENDS for point in range(first, last + 1))
    repeated = sum(len(line) for at, line in enumerate(lines) if line in lines[:at])
    ended = sum(line.endswith(marks) for line in lines)
    short = sum(len(line) <= 30 for line in lines)
    shares = ended / len(lines), short / len(lines), repeated / len(text.replace("\n", ""))
    return *(float(np.float32(share)) for share in shares), newlines


def rows(text: pa.LargeStringArray) -> list[tuple[float | None, ...]]:
    return list(zip(*(column.tolist() for column in line_shape(text)), strict=True))


@given(st.lists(texts, max_size=5))
@settings(max_examples=200, deadline=None)
def test_kernel_equals_its_naive_twin(documents):
    assert rows(column(*documents)) == [naive(text) for text in documents]


@given(st.lists(texts, min_size=1, max_size=6), st.data())
@settings(max_examples=50, deadline=None)
def test_a_slice_gives_what_the_whole_gives(documents, draw):
    start = draw.draw(st.integers(0, len(documents)))
    whole = column(*documents)
    assert rows(whole.slice(start)) == rows(whole)[start:]


@given(st.lists(texts.map(lambda text: text.replace("\n", " ")), max_size=12), st.randoms())
@settings(max_examples=50, deadline=None)
def test_the_order_of_lines_does_not_matter(lines, random):
    shuffled = random.sample(lines, len(lines))
    assert rows(column("\n".join(shuffled))) == rows(column("\n".join(lines)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A line that is a sentence, and a long one at that.\nHome\nAbout", (1 / 3, 2 / 3, 0.0, 2)),
        ("again\nagain\nagain", (0.0, 1.0, 10 / 15, 2)),
        ("one\n\n \n\ntwo", (0.0, 1.0, 0.0, 4)),
        ("개념 증명이다.\n개념 증명이다.", (1.0, 1.0, 0.5, 1)),
        ("他走了。", (1.0, 1.0, 0.0, 0)),
        ("a quote ends it.”", (0.0, 1.0, 0.0, 0)),
        ("", (None, None, None, 0)),
        (" \n\u3000\n", (None, None, None, 2)),
    ],
)
def test_measures_shares_of_lines(text, expected):
    assert rows(column(text)) == [tuple(None if one is None else float(np.float32(one)) for one in expected)]


def test_many_lines_with_few_different_ones_repeat():
    lines = [f"line {number % 7}" for number in range(5000)]
    assert rows(column("\n".join(lines)))[0][2] == np.float32((5000 - 7) / 5000)


def test_newlines_per_word_is_null_without_words():
    result = newlines_per_word(pa.array([3, 3, 0], pa.int32()), pa.array([6, 0, 2], pa.int32()))
    assert result.to_pylist() == [0.5, None, 0.0]


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40)), max_size=20))
def test_a_ratio_is_the_quotient_or_null(pairs):
    parts, wholes = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    expected = [None if whole == 0 else float(np.float32(part / whole)) for part, whole in pairs]
    assert ratio(parts, wholes).to_pylist() == expected
