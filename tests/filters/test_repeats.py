"""Repeated text: what the kernels find is what a plain dictionary of all windows and units finds."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from filters.kernels.intrinsics import times
from filters.kernels.repeats import cut, in_characters, join, keepers, seen_more_than
from filters.kernels.sentences import sentences
from filters.kernels.shingles import hashing, is_unspaced
from filters.kernels.windows import PRIME
from filters.repeats import Marked, Repeat, claim, mark

KEY = hashing(7)
WORDS = ["a", "b", "Cat", "cat", "中", "文", "한국", "é", "e\u0301", "12", "𝔸", "ไทย", "naïve"]
GAPS = [" ", "  ", "\n", "\n\n", ", ", "-", " - ", "", "! ", "\u3000", ". ", "\r\n", "…", "\u200b"]
PIECES = st.lists(st.sampled_from([*WORDS, *GAPS]), max_size=30).map("".join)


@st.composite
def corpora(draw):
    """Return texts that share runs of a common one, or repeat themselves."""
    common = draw(PIECES)
    texts = []
    for _ in range(draw(st.integers(0, 5))):
        start, stop = sorted((draw(st.integers(0, len(common))), draw(st.integers(0, len(common)))))
        own = draw(PIECES)
        texts.append(own + common[start:stop] * draw(st.integers(0, 3)) + draw(PIECES))
    return texts


def words(text: str) -> list[tuple[int, int]]:
    """Return where the words of a text are, in characters."""
    found, begin = [], None
    for at, character in enumerate([*text, " "]):
        kind = unicodedata.category(character)
        inside = kind[0] in "LM" or kind == "Nd"
        alone = inside and is_unspaced(ord(character))
        if begin is not None and (alone or not inside):
            found.append((begin, at))
            begin = None
        if alone:
            found.append((at, at + 1))
        elif inside and begin is None:
            begin = at
    return found


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def windows(text: str, unit: str, size: int) -> list[tuple[int, int, str]]:
    """Return (start, end, what it says) of every window of a text, one by one."""
    found, places = [], words(text)
    for first, (start, _) in enumerate(places):
        for last in range(first, len(places)):
            said = squeezed(text[start : places[last][1]])
            if (last - first + 1 if unit == "words" else len(said.encode())) >= size:
                found.append((start, places[last][1], said))
                break
    return found


def units(text: str, unit: str) -> list[tuple[int, int, str]]:
    """Return (start, end, what it says) of every line or paragraph of a text."""
    lines = re.findall(r"[^\n]*\n|[^\n]+$", text)
    ends = np.cumsum([0, *map(len, lines)]).tolist()
    starts = {0}
    for number, line in enumerate(lines):
        after_blank = number > 0 and not lines[number - 1].strip() and text[: ends[number]].strip()
        if unit == "line" or (line.strip() and after_blank):
            starts.add(ends[number])
    bounds = [*sorted(starts), len(text)]
    return [(one, two, " ".join(text[one:two].split())) for one, two in zip(bounds, bounds[1:], strict=False)]


def later(occurrences: list[list[tuple[int, int, str]]], allowed: int = 1) -> list[list[tuple[int, int]]]:
    """Return for each text the places of what was said `allowed` times before, in the order of texts and places."""
    seen: Counter[str] = Counter()
    gone = []
    for text in occurrences:
        gone.append([])
        for start, end, said in text:
            if seen[said] >= allowed:
                gone[-1].append((start, end))
            seen[said] += 1
    return gone


def found(column: pa.Array, repeat: Repeat) -> list[list[tuple[int, int]]]:
    """Return what the kernels find, in characters, in the order of texts and places."""
    marks = mark(column, repeat, KEY)
    often = seen_more_than(marks.hashes, repeat.occurrences)
    claims = claim(column, repeat, Marked(*(part[often] for part in marks)), KEY)
    bounds = np.searchsorted(claims.rows, np.arange(len(column) + 1))
    keeper = keepers(np.arange(len(column)), bounds, np.ascontiguousarray(claims.hashes), repeat.occurrences)
    gone: list[list[tuple[int, int]]] = [[] for _ in range(len(column))]
    for row, (start, end), kept_by in zip(claims.rows, claims.places, keeper, strict=True):
        if kept_by >= 0:
            data = column[int(row)].as_py().encode()
            gone[row].append((len(data[:start].decode()), len(data[:end].decode())))
    return gone


@pytest.mark.parametrize("unit", ["words", "bytes"])
@settings(deadline=None)
@given(texts=corpora(), size=st.integers(1, 24))
def test_windows_that_go_are_those_that_a_dictionary_of_all_windows_has_seen(unit, texts, size):
    expected = later([windows(text, unit, size) for text in texts])
    assert found(pa.array(texts, pa.large_string()), Repeat(unit, size)) == expected


@pytest.mark.parametrize("unit", ["line", "paragraph"])
@settings(deadline=None)
@given(texts=corpora(), size=st.integers(1, 8), allowed=st.integers(1, 3))
def test_units_that_go_are_those_that_a_dictionary_of_all_units_has_seen(unit, texts, size, allowed):
    long = [[one for one in units(text, unit) if len(one[2]) >= size] for text in texts]
    assert found(pa.array(texts, pa.large_string()), Repeat(unit, size, allowed)) == later(long, allowed)


@settings(deadline=None)
@given(PIECES)
def test_sentences_are_as_many_as_are_counted_and_nothing_lies_between_them(text):
    marks = mark(pa.array([text], pa.large_string()), Repeat("sentence", 1), KEY)
    data = text.encode()
    counted = 0
    for line in data.split(b"\n"):
        if line.decode().strip():
            counted += sentences(np.frombuffer(line + bytes(80), np.uint8), 0, len(line))
    between = data
    for start, end in marks.places[::-1]:
        between = between[:start] + between[end:]
    assert not between.decode().strip()
    assert len(marks.places) == counted


@settings(deadline=None)
@given(corpora(), st.integers(0, 4), st.integers(0, 4))
def test_a_slice_is_what_it_shows(texts, before, after):
    own = pa.array(texts, pa.large_string())
    part = pa.array([*["of no account"] * before, *texts, *["or this"] * after], pa.string()).slice(before, len(texts))
    for repeat in (Repeat("words", 2), Repeat("line", 1)):
        for one, other in zip(mark(own, repeat, KEY), mark(part, repeat, KEY), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_window_is_alike_but_for_white_space_and_for_nothing_else():
    say = ["one two, three four", "one\n two,\u3000three   four", "one two three four", "one two, Three four"]
    assert found(pa.array(say, pa.large_string()), Repeat("words", 4)) == [[], [(0, 22)], [], []]


def test_other_seeds_give_other_hashes():
    text = pa.array(["a line that is long enough to be one", "and another one"], pa.large_string())
    for unit in ("line", "words"):
        one, other = (mark(text, Repeat(unit, 2), hashing(seed)) for seed in (1, 2))
        assert not set(one.hashes.tolist()) & set(other.hashes.tolist())
        assert not (
            claim(text, Repeat(unit, 2), one, hashing(1)).hashes == claim(text, Repeat(unit, 2), one, KEY).hashes
        ).any()


def test_a_document_that_repeats_itself_keeps_what_comes_first():
    text = pa.array(["la " * 60], pa.large_string())
    gone = found(text, Repeat("words", 50))
    assert gone == [[(3 * first, 3 * first + 149) for first in range(1, 11)]]


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 3))
def test_hashes_seen_too_often_are_counted(numbers, allowed):
    counts = Counter(numbers)
    often = seen_more_than(np.array(numbers, np.uint64), allowed)
    assert often.tolist() == [counts[number] > allowed for number in numbers]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(1, 6), st.integers(0, 1)), max_size=20))
def test_joined_spans_cover_the_same_and_do_not_overlap(spans):
    spans = sorted((row, start, start + size, who) for row, start, size, who in spans)
    columns = (np.array([span[index] for span in spans], np.int64) for index in range(4))
    joined, whose = join(*columns)
    covered = {(row, at) for row, start, end, _ in spans for at in range(start, end)}
    listed = [(row, at) for row, start, end in joined.tolist() for at in range(start, end)]
    assert len(listed) == len(set(listed))
    assert set(listed) == covered
    assert all(start < end for _, start, end in joined.tolist())
    assert len(whose) == len(joined)


@settings(deadline=None)
@given(st.lists(st.text(max_size=12), max_size=4), st.data())
def test_what_is_cut_is_missing_and_nothing_else(texts, data):
    spans = []
    for row, text in enumerate(texts):
        places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=4)))
        spans += [(row, start, end) for start, end in zip(places[::2], places[1::2], strict=False)]
    in_bytes = [(r, len(texts[r][:a].encode()), len(texts[r][:b].encode())) for r, a, b in spans]
    places = np.array(in_bytes, np.int64).reshape(-1, 3)
    raw = b"".join(text.encode() for text in texts)
    offsets = np.cumsum([0, *(len(text.encode()) for text in texts)])
    bounds, left = cut(offsets, np.frombuffer(raw, np.uint8), places)
    expected = []
    for row, text in enumerate(texts):
        gone = {at for r, start, end in spans if r == row for at in range(start, end)}
        expected.append("".join(character for at, character in enumerate(text) if at not in gone))
    assert [left[a:b].tobytes().decode() for a, b in zip(bounds, bounds[1:], strict=False)] == expected
    np.testing.assert_array_equal(
        in_characters(offsets, np.frombuffer(raw, np.uint8), places), np.array(spans, np.int64).reshape(-1, 3)
    )


@njit
def _times(one, other):
    return times(one, other)


@settings(deadline=None)
@given(st.integers(0, int(PRIME)), st.integers(0, int(PRIME)))
def test_products_are_those_of_the_prime_field(one, other):
    found = int(_times(np.uint64(one), np.uint64(other)))
    assert found <= PRIME
    assert found % int(PRIME) == one * other % int(PRIME)
