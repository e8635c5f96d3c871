"""C4's line rules and sentence counts: laws, a naive twin, and the examples the paper names."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.c4 import c4_fineweb_lines, c4_lines, keep_lines
from filters.kernels.sentences import ABBREVIATIONS, ENDS, ends_sentence, sentences

POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
SMALL = {point: point + 32 for point in range(ord("A"), ord("Z") + 1)}

PHRASES = (
    *POLICIES, "lorem ipsum", "JavaScript", "javascript", "java[1]script", "Lorem", "{", "}", "[1]", "[]", "[edit]",
    "[citation needed]", "[Edit]", "[", "]", ".", "...", "?", '"', "'", "\n", "\r\n", "\x85", "\u2028", "\x1f",
    " ", "\u3000", "x" * 1000, "x" * 1001, "한국어 문장이다.", "끝。", "𝔘𝔫𝔦", "The end", "Dr.", "e.g.", "A.",
    "U.S.", "end.Next", "3.5", "١٢", "[١]",
)  # fmt: skip
texts = st.lists(st.one_of(st.text(max_size=8), st.sampled_from(PHRASES)), max_size=24).flatmap(
    lambda parts: st.sampled_from(["", " "]).map(lambda glue: glue.join(parts))
)


def is_word(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "LM" or category == "Nd"


def is_capital(character: str) -> bool:
    return (
        character[0] != character.lower() and len(character.lower()) == 1 and unicodedata.category(character)[0] == "L"
    )


def is_end(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in ENDS)


def naive_sentences(line: str) -> int:
    """Mark where sentences end, character by character, looking at the whole line."""
    ends = [False] * len(line)
    for at, mark in enumerate(line):
        before = line[at - 1] if at else " "
        after = line[at + 1] if at + 1 < len(line) else " "
        if mark == ".":
            if "." in (before, after):
                continue
            word = re.search(r"[^\s]*$", line[:at])
            start = at
            while start > word.start() and (is_word(line[start - 1]) or naive_inner_stop(line, start - 1, ends)):
                start -= 1
            while start < at and line[start] == ".":
                start += 1
            name = line[start:at]
            if name in ABBREVIATIONS or (len(name.encode()) == 1 and name.isalpha()):
                continue
            if is_word(after):
                uncased = "\u3040" <= after <= "\u9fff" or "\uac00" <= after <= "\ud7a3"
                letter = unicodedata.category(before)[0] == "L"
                ends[at] = letter and not is_capital(before) and (is_capital(after) or uncased)
            else:
                ends[at] = not is_capital(before) or (at >= 2 and is_capital(line[at - 2]))
        elif is_end(mark):
            ends[at] = ord(mark) >= 0x80 or not (is_word(before) and is_word(after))
    count, ended = 1, False
    for at, character in enumerate(line):
        if ends[at]:
            ended = True
        elif ended and not character.isspace() and unicodedata.category(character)[0] != "P" and not is_end(character):
            count, ended = count + 1, False
    return count


def naive_inner_stop(line: str, at: int, ends: list[bool]) -> bool:
    """A single full stop that ended no sentence belongs to the word it stands in."""
    return line[at] == "." and not ends[at] and line[at - 1 : at] != "." and line[at + 1 : at + 2] != "."


def naive_c4(text: str, terminal: bool) -> tuple[str, int, int, int]:
    kept, found, lorem, brackets = [], 0, 0, 0
    for line in text.splitlines():
        words = line.split()
        line = CITATION.sub("", line.strip())
        if len(words) < 3 or max(map(len, words)) > 1000:
            continue
        if terminal and (not line.endswith((".", "?", "!", '"', "'")) or line.endswith("...")):
            continue
        small = line.translate(SMALL)
        lorem += small.count("lorem ipsum")
        if "javascript" in small:
            continue
        brackets += line.count("{")
        if any(policy in small for policy in POLICIES):
            continue
        found += naive_sentences(line)
        kept.append(line)
    return "\n".join(kept).strip(), found, lorem, brackets


def column(*values: str) -> pa.LargeStringArray:
    return pa.array(values, pa.large_string())


def count_sentences(line: str) -> int:
    data = np.frombuffer(line.encode() + bytes(8), np.uint8)
    return int(sentences(data, 0, len(line.encode())))


@given(st.lists(texts, max_size=5), st.booleans())
@settings(max_examples=150, deadline=None)
def test_kernel_equals_its_naive_twin(documents, terminal):
    counts = (c4_lines if terminal else c4_fineweb_lines)(column(*documents))
    kept = keep_lines(column(*documents), terminal).to_pylist()
    found = list(zip(kept, *(count.tolist() for count in counts), strict=True))
    assert found == [naive_c4(text, terminal) for text in documents]


@given(texts)
@settings(max_examples=300, deadline=None)
def test_sentences_equal_their_naive_twin(text):
    assert count_sentences(text) == naive_sentences(text)


@given(st.lists(texts, min_size=1, max_size=6), st.data())
@settings(max_examples=50, deadline=None)
def test_a_slice_gives_what_the_whole_gives(documents, draw):
    start = draw.draw(st.integers(0, len(documents)))
    length = draw.draw(st.integers(0, len(documents) - start))
    whole, part = column(*documents), column(*documents).slice(start, length)
    assert keep_lines(part).to_pylist() == keep_lines(whole).to_pylist()[start : start + length]
    for one, all_rows in zip(c4_lines(part), c4_lines(whole), strict=True):
        assert one.tolist() == all_rows.tolist()[start : start + length]


@given(texts, texts)
@settings(max_examples=100, deadline=None)
def test_counts_of_two_pages_add_up(one, other):
    parts = [count.tolist() for count in c4_fineweb_lines(column(one, other))]
    whole = [count.tolist() for count in c4_fineweb_lines(column(one + "\n" + other))]
    assert whole == [[sum(count)] for count in parts]


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("This line is kept.", "This line is kept."),
        ("  Space around it is cut. \t", "Space around it is cut."),
        ("Is a question kept?", "Is a question kept?"),
        ("No mark at its end", ""),
        ("It trails off...", ""),
        ("Two words.", ""),
        ("Words and " + "x" * 1000 + ".", ""),
        ("Seoul is a city.[1] It is large.[citation needed]", "Seoul is a city. It is large."),
        ("A mark[1] that hides the end.[2] ", "A mark that hides the end."),
        ("Please enable JavaScript to read on.", ""),
        ("We have a Privacy Policy here.", ""),
        ("This site makes use of cookies.", ""),
        ("이 문장은 그대로 남는다.", "이 문장은 그대로 남는다."),
    ],
)
def test_keeps_lines_of_prose(line, kept):
    assert keep_lines(column(line)).to_pylist() == [kept]


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("One. Two. Three.", 3),
        ("One! Two? Three", 3),
        ("It costs 3.5 euros.", 1),
        ("Dr. Kim met Mr. Lee.", 1),
        ("See e.g. the first one. Then go.", 2),
        ("The U.S. army and J. Smith.", 1),
        ("It ends.Then it goes on.", 2),
        ("He waits... and waits.", 1),
        ('He said "no." She left.', 2),
        ("나는 갔다. 그는 왔다.", 2),
        ("我来了。他走了。", 2),
        ("", 1),
    ],
)
def test_counts_sentences(line, count):
    assert count_sentences(line) == count


def test_pages_count_only_what_line_rules_leave():
    seen = "Lorem ipsum dolor sit.\nIf x then { go on.\nWe use cookies, lorem ipsum."
    page = seen + "\nlorem ipsum\nA javascript { line here."
    assert [count.tolist() for count in c4_lines(column(page))] == [[2], [2], [1]]


def test_ends_of_sentences_are_sorted_runs_of_marks():
    flat = [point for run in ENDS for point in run]
    assert flat == sorted(flat)
    assert [point for point in range(0x80) if ends_sentence(point)] == [ord(mark) for mark in "!.?"]
    assert all(ends_sentence(ord(mark)) for mark in "。？！।؟۔።‼")
    assert not any(ends_sentence(point) for point in range(0x110000) if chr(point).isalnum())


def test_no_texts_have_no_counts():
    assert [count.tolist() for count in c4_lines(column())] == [[], [], []]
    assert keep_lines(column()).to_pylist() == []
