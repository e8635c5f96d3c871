"""Arrow columns as buffers, and Unicode as kernels read it, against Python's own strings."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from filters.kernels import unicode
from filters.kernels.buffers import JIT, PADDING, buffers
from filters.kernels.unicode import class_of, decode, lower_of

TEXTS = st.lists(st.text(max_size=100), max_size=6)
KINDS = st.sampled_from([pa.string(), pa.large_string()])


def read(offsets: np.ndarray, data: np.ndarray) -> list[str]:
    return [data[a:b].tobytes().decode() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]


@njit(nogil=True)
def points(data: np.ndarray, end: int) -> list[int]:
    found = [0]
    at = 0
    while at < end:
        point, size = decode(data, at)
        found.append(point)
        at += size
    return found[1:]


@njit(nogil=True)
def look_up(every: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    classes, lower = np.empty(len(every), np.uint8), np.empty(len(every), np.int64)
    for at in range(len(every)):
        classes[at], lower[at] = class_of(every[at]), lower_of(every[at])
    return classes, lower


@given(TEXTS, KINDS, st.integers(0, 6), st.integers(0, 6))
def test_buffers_hold_the_texts_of_any_slice(texts: list[str], kind: pa.DataType, start: int, length: int) -> None:
    offsets, data = buffers(pa.array(texts, kind).slice(start, length))
    assert read(offsets, data) == texts[start : start + length]
    assert offsets.dtype == np.int64
    assert data.dtype == np.uint8


@given(TEXTS, KINDS)
def test_a_kernel_may_read_past_the_last_text(texts: list[str], kind: pa.DataType) -> None:
    offsets, data = buffers(pa.array(texts, kind))
    assert len(data) - offsets[-1] >= PADDING


def test_a_text_that_is_not_at_the_end_of_its_buffer_is_not_copied() -> None:
    column = pa.array(["first", "second", "x" * PADDING], pa.large_string())
    _, data = buffers(column.slice(0, 2))
    assert data.ctypes.data == column.buffers()[2].address


def test_nobody_can_write_to_what_arrow_holds_or_to_a_copy_of_it() -> None:
    for texts in ([], ["a"], ["a", "x" * PADDING]):
        for array in buffers(pa.array(texts, pa.large_string()).slice(0, 1)):
            assert not array.flags.writeable


def test_a_null_text_and_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        buffers(pa.array(["a", None]))
    with pytest.raises(TypeError, match="not int64"):
        buffers(pa.array([1]))


@given(st.text(max_size=60))
@settings(deadline=None)
def test_decoding_gives_the_code_points(text: str) -> None:
    _, data = buffers(pa.array([text]))
    assert list(points(data, len(text.encode()))) == [ord(character) for character in text]


def test_a_table_knows_every_code_point() -> None:
    """Where this Python's Unicode is that of the tables (15.0 or, where nothing assigned changed, later)."""
    every = np.arange(sys.maxunicode + 1)
    classes, lower = look_up(every)
    bits = {"L": unicode.LETTER, "M": unicode.MARK, "N": unicode.NUMBER, "P": unicode.PUNCTUATION, "S": unicode.SYMBOL}
    wrong = []
    for point in every.tolist():
        character = chr(point)
        category = unicodedata.category(character)
        if category == "Cn" or unicodedata.ucd_3_2_0.category(character) != category:
            continue  # young characters: what they are depends on the Unicode this Python knows
        expected = int(unicode.DIGIT if category == "Nd" else bits.get(category[0], 0))
        expected |= int(unicode.SPACE) * character.isspace()
        one = character.lower()
        if len(one) == 1 and one != character:
            expected |= int(unicode.UPPER)
        if (classes[point], lower[point]) != (expected, ord(one) if len(one) == 1 else point):
            wrong.append(f"U+{point:04X}")
    assert wrong == []


def test_a_character_has_one_general_class_at_most() -> None:
    classes, _ = look_up(np.arange(sys.maxunicode + 1))
    general = [unicode.LETTER, unicode.MARK, unicode.DIGIT, unicode.NUMBER, unicode.PUNCTUATION, unicode.SYMBOL]
    assert max(sum((classes & bit) != 0 for bit in general)) == 1


def test_lowering_twice_is_lowering_once() -> None:
    _, lower = look_up(np.arange(sys.maxunicode + 1))
    assert np.array_equal(lower[lower], lower)


def test_kernels_are_compiled_once_per_machine_and_run_side_by_side() -> None:
    assert JIT["cache"]
    assert JIT["nogil"]
