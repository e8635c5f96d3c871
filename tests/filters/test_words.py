"""Where a text is cut into words: the kernel against regular expressions over one letter per character."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.kernels import unicode
from filters.kernels.buffers import buffers
from filters.kernels.shingles import is_unspaced
from filters.kernels.words import BEGIN, CHARACTERS, DIGIT, END, HOLDS, LETTER, cut_words

SIGNS = "[!…:<>=,*'’–—]"
EDGE = re.compile(rf"\.{{2,}}|{SIGNS}")
END_OF_CHUNK = re.compile(rf"(?:\.{{2,}}|{SIGNS}|\.)$")
ABBREVIATION = re.compile(r"(?:^|\.)[aA]\.$")
ADDRESS = re.compile(r"(?<=[aA0])@(?=[aA0])|(?<=[aA])://")
PARTS = re.compile(
    r"…|\.{2,}|(?<=[aA0])[-~–—]+(?=[aA])|(?<=[aA0])[:<>=/](?=[aA])|(?<=[aA]),(?=[aA])"
    r"|(?<=0)[-+*^](?=0)|(?<=a)\.(?=A)|(?<=[aA])['’](?=[aA]{1,2}$)"
)


def role(character: str) -> str:
    """One letter that says what a character may do; those that no rule names are `!` signs, `j` joiners, `x` others."""
    bits = int(unicode.class_of.py_func(ord(character)))
    if bits & int(unicode.SPACE):
        return " "
    if bits & int(unicode.LETTER):
        unspaced = is_unspaced.py_func(ord(character))
        return "u" if unspaced else "A" if bits & int(unicode.UPPER) else "a"
    if bits & int(unicode.DIGIT | unicode.NUMBER):
        return "0"
    if bits & int(unicode.MARK):
        return "m"
    if character in "….,:<>=/*'’-~–—+^@":
        return character
    if character in "\\|":
        return "j"
    return "!" if bits & int(unicode.PUNCTUATION | unicode.SYMBOL) else "x"


def naive_words(text: str) -> list[str]:
    roles = "".join(map(role, text))
    words = []
    for match in re.finditer(r"um*|[^ u]+", roles):
        begin, end = match.span()
        if roles[begin] == "u":
            words.append(text[begin:end])
        else:
            words += naive_chunk(text[begin:end], roles[begin:end])
    return words


def naive_chunk(text: str, roles: str) -> list[str]:
    head, tail, begin, end = [], [], 0, len(text)
    while begin < end and (match := EDGE.match(roles, begin)):
        head.append(text[begin : match.end()])
        begin = match.end()
    while begin < end and (match := END_OF_CHUNK.search(roles[begin:end])):
        if match.group() == "." and ABBREVIATION.search(roles[begin:end]):
            break
        tail.insert(0, text[begin + match.start() : end])
        end = begin + match.start()
    middle, kinds = text[begin:end], roles[begin:end]
    if ADDRESS.search(kinds):
        return [*head, middle, *tail]
    cuts = {0, len(middle)}
    for match in PARTS.finditer(kinds):
        clitic = match.group() in ("'", "’")
        cuts |= {match.start()} if clitic else set(match.span())
    places = sorted(cuts)
    return head + [middle[a:b] for a, b in pairwise(places)] + tail


def table(text: str) -> tuple[bytes, np.ndarray]:
    offsets, data = buffers(pa.array([text], pa.large_string()))
    room = int(offsets[1]) + 1
    words = np.zeros((room, 4), np.int64)
    count = cut_words(data, 0, room - 1, np.zeros(room, np.uint16), np.zeros(room, np.int64), words)
    return text.encode(), words[:count]


def words_of(text: str) -> list[str]:
    data, words = table(text)
    return [data[word[BEGIN] : word[END]].decode() for word in words]


ROUGH = st.text("aBé1٣.…-–~:/<>=,'’+*^@|!(한字ひกที่😀️ \n", max_size=40)
ANY = st.one_of(ROUGH, st.text(max_size=40))


@given(ANY)
@settings(deadline=None, max_examples=400)
def test_the_kernel_cuts_where_the_rules_say(text: str) -> None:
    assert words_of(text) == naive_words(text)


@given(ANY)
@settings(deadline=None)
def test_nothing_but_white_space_is_lost(text: str) -> None:
    assert "".join(words_of(text)) == "".join(character for character in text if role(character) != " ")


@given(ANY, ANY)
@settings(deadline=None)
def test_white_space_parts_words_whatever_is_around_it(left: str, right: str) -> None:
    assert words_of(f"{left}\n{right}") == words_of(left) + words_of(right)


@given(ANY)
@settings(deadline=None)
def test_a_word_knows_its_characters_and_what_they_are(text: str) -> None:
    data, words = table(text)
    for word in words:
        roles = [role(character) for character in data[word[BEGIN] : word[END]].decode()]
        assert word[CHARACTERS] == len(roles)
        assert bool(word[HOLDS] & int(LETTER)) == any(one in "aAu" for one in roles)
        assert bool(word[HOLDS] & int(DIGIT)) == ("0" in roles)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        (" \n\t\u3000", ""),
        ("A plain sentence, with (brackets).", "A plain sentence , with ( brackets ) ."),
        ('"Wait..." she said — twice…', '" Wait ... " she said — twice …'),
        ("state-of-the-art well—known", "state - of - the - art well — known"),
        ("dog's they’ll can't l'homme rock'n'roll", "dog 's they ’ll can 't l'homme rock'n'roll"),
        ("e.g. U.S. J.R.R. (i.e.) etc. No. 1.", "e.g. U.S. J.R.R. ( i.e. ) etc . No . 1 ."),
        ("end.Next file.txt 1,000.50 10:30", "end . Next file.txt 1,000.50 10:30"),
        ("a/b x=y and,or 3-4 3+4 x+y 3–4", "a / b x = y and , or 3 - 4 3 + 4 x+y 3–4"),
        ("-v --force /usr/bin .NET C++ a|b", "-v --force /usr / bin .NET C++ a|b"),
        ("me@a-b.org, <https://a.org/b-c?d=e>.", "me@a-b.org , < https://a.org/b-c?d=e > ."),
        ("한국어 문장이다. 둘, 셋!", "한국어 문장이다 . 둘 , 셋 !"),
        ("使用Debian，我「好」。", "使 用 Debian ， 我 「 好 」 。"),
        ("ひらがな ที่", "ひ ら が な ที่"),
        ("مرحبا، كيف؟", "مرحبا ، كيف ؟"),
        ("😀😀 👍🏽ok", "😀 😀 👍 🏽 ok"),
    ],
)
def test_cuts_words_in_any_language(text: str, words: str) -> None:
    assert words_of(text) == words.split()
