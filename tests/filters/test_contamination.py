"""Evaluation items in texts: the kernels against their naive twin, laws, and examples."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.contamination import COMMON, ENOUGH, HASHING, LEAST, Found, Index, Items
from filters.kernels.alignment import AGREE, COST, GAP, GIVE_UP, HALF, QUARTER, WHOLE, word_spans
from filters.kernels.buffers import buffers
from filters.kernels.shingles import WIDTH, hash_words, is_unspaced
from filters.kernels.unicode import WORD, class_of

Word = tuple[str, int, int]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ITEM = (
    "A robe takes two bolts of blue fiber and half that much white fiber, says the tailor from Antwerp. "
    "How many bolts in total does it take?"
)


def column(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def index(items: list[str]) -> Index:
    return Index(Items.of(column(items)))


def found(items: list[str], texts: list[str]) -> list[Found]:
    return list(index(items).find(column(texts)))


def words_of(text: str) -> list[Word]:
    """The definition: runs of letters, marks and digits with their place; a character of an unspaced script alone."""
    words: list[Word] = []
    begin = -1
    for at, character in enumerate([*text, "\0"]):
        in_word = class_of(ord(character)) & WORD != 0
        alone = in_word and is_unspaced(ord(character))
        if begin >= 0 and (alone or not in_word):
            words.append((text[begin:at].lower().replace("ς", "σ"), begin, at))
            begin = -1
        if alone:
            words.append((character, at, at + 1))
        elif in_word and begin < 0:
            begin = at
    return words


def worth_of(word: Word) -> int:
    text, begin, end = word
    if is_unspaced(ord(text[0])):
        return QUARTER if ord(text[0]) < 0x1800 or 0xA9E0 <= ord(text[0]) < 0xAA80 else HALF
    return QUARTER if end - begin == 1 or text.isdecimal() else WHOLE


def grow(own: list[str], i: int, item: list[str], worth: list[int], j: int) -> tuple[int, int, int]:
    """Grow to the right from (i, j): (where the best stretch ends in the text, its evidence, its words)."""
    evidence = words = 0
    best = (i, 0, 0)
    while True:
        while i < len(own) and j < len(item) and own[i] == item[j]:
            evidence, words, i, j = evidence + worth[j], words + 1, i + 1, j + 1
        if evidence >= best[1]:
            best = (i, evidence, words)
        if i >= len(own) or j >= len(item) or evidence < best[1] - GIVE_UP:
            return best
        edits = [
            (put_in, left_out)
            for size in range(1, GAP + 1)
            for put_in, left_out in [(size, size), *((size, n) for n in range(size)), *((n, size) for n in range(size))]
        ]
        for put_in, left_out in edits:
            ours, theirs = own[i + put_in :][:AGREE], item[j + left_out :][:AGREE]
            if len(ours) == AGREE and ours == theirs:
                evidence -= COST * worth[j] * max(put_in, left_out)
                i, j = i + put_in, j + left_out
                break
        else:
            return best


def naive(items: list[str], text: str) -> list[tuple[int, int, int, int]]:
    """Return (item, start, end, words) of what is found in a text, by searching every place of every item."""
    parts = [words_of(item) for item in items]
    plain = [[word for word, _, _ in part] for part in parts]
    grams = Counter(tuple(one[k : k + WIDTH]) for one in plain for k in range(len(one) - WIDTH + 1))
    worths = []
    for part, one in zip(parts, plain, strict=True):
        worth = [worth_of(word) for word in part]
        for k in range(len(one) - WIDTH + 1):
            if grams[tuple(one[k : k + WIDTH])] > COMMON:
                worth[k : k + WIDTH] = [QUARTER] * WIDTH
        worths.append(worth)
    spans = words_of(text)
    own = [word for word, _, _ in spans]
    stretches = []
    reached: dict[int, int] = {}
    for at in range(len(own) - WIDTH + 1):
        for item, (one, worth) in enumerate(zip(plain, worths, strict=True)):
            for there in range(len(one) - WIDTH + 1):
                gram = tuple(one[there : there + WIDTH])
                if gram != tuple(own[at : at + WIDTH]) or grams[gram] > COMMON:
                    continue
                if reached.get(item, 0) >= at + WIDTH:
                    continue
                end, right, more = grow(own[at:], 0, one[there:], worth[there:], 0)
                back, left, less = grow(own[:at][::-1], 0, one[:there][::-1], worth[:there][::-1], 0)
                reached[item] = at + end
                whole = sum(worth)
                if whole >= LEAST * WHOLE and left + right >= min(whole, ENOUGH * WHOLE):
                    stretches.append((-(left + right), at - back, item, at + end, more + less))
    kept = []
    covered: set[int] = set()
    for _, begin, item, end, words in sorted(stretches, key=lambda one: one[:3]):
        if 2 * len(covered & set(range(begin, end))) <= end - begin:
            covered |= set(range(begin, end))
            kept.append((begin, item, end, words))
    return [(item, spans[begin][1], spans[end - 1][2], words) for begin, item, end, words in sorted(kept)]


alphabet = st.one_of(
    st.characters(codec="utf-8"),
    st.sampled_from("abcXYZ019 \n\t.,-_'"),
    st.sampled_from("개념 증명 Ää ßẞ ÇİıǅſKΩΣσς"),
    st.sampled_from("語彙カナひらがな々ไทย ລາວ ខ្មែរ မြန်မာ 𠀀𝒜😀e\u0301"),
)
vocabulary = st.sampled_from(["alpha", "beta", "gamma", "delta", "7", "x", "語", "ก"])
sentences = st.lists(vocabulary, max_size=40).map(" ".join)


@given(st.text(alphabet, max_size=120), st.integers(0, 70))
@settings(max_examples=300, deadline=None)
def test_words_lie_where_the_naive_twin_finds_them_and_are_those_that_are_hashed(text, before):
    offsets, data = buffers(column(["." * before, text]))
    begins, ends, worth = np.zeros(200, np.int64), np.zeros(200, np.int64), np.zeros(200, np.uint8)
    count = word_spans(data, offsets[1], offsets[2], begins, ends, worth)
    expected = words_of(text)
    assert list(zip(begins[:count], ends[:count], strict=True)) == [(begin, end) for _, begin, end in expected]
    assert worth[:count].tolist() == [worth_of(word) for word in expected]
    room = np.zeros(2 * len(data) + 8, np.uint8), np.zeros(len(data), np.uint64)
    assert hash_words(data, offsets[1], offsets[2], HASHING, *room) == count


@given(st.lists(sentences, min_size=1, max_size=4), st.lists(sentences, max_size=3), st.data())
@settings(max_examples=300, deadline=None)
def test_items_are_found_as_the_naive_twin_finds_them(items, texts, data):
    texts = [*texts, data.draw(sentences) + " " + data.draw(st.sampled_from(items)) + " " + data.draw(sentences)]
    ours = [(one.row, one.item, one.start, one.end, one.words) for one in found(items, texts)]
    assert ours == [(row, *one) for row, text in enumerate(texts) for one in naive(items, text)]


@given(st.lists(sentences, min_size=1, max_size=3), st.lists(sentences, min_size=2, max_size=4))
@settings(max_examples=60, deadline=None)
def test_what_is_found_in_a_text_does_not_depend_on_its_neighbours(items, texts):
    known = index(items)
    alone = [
        (row, one.item, one.start, one.end) for row, text in enumerate(texts) for one in known.find(column([text]))
    ]
    assert [(one.row, one.item, one.start, one.end) for one in known.find(column(texts))] == alone
    rest = [(one.row + 1, one.item, one.start, one.end) for one in known.find(column(texts).slice(1))]
    assert rest == [one for one in alone if one[0] > 0]


def test_an_item_is_found_where_it_lies():
    before, after = "Some words of my own.\n", "\nAnd some more of them."
    (one,) = found(["nothing of the kind is to be seen in here", ITEM], ["clean", before + ITEM + after])
    assert (one.row, one.item, one.start, one.end) == (1, 1, len(before), len(before) + len(ITEM) - 1)
    assert one.words == index([ITEM]).item_words[0] == 27


@pytest.mark.parametrize(
    "text",
    [
        ITEM.upper(),
        ITEM.replace(" ", "\n \n"),
        ITEM.replace(",", " --").replace(".", "!"),
        ITEM.replace("blue", "red"),
        ITEM.replace("of blue ", ""),
        ITEM.replace("white", "really quite white"),
        " ".join(ITEM.split()[:16]),
        " ".join(ITEM.split()[9:]),
    ],
)
def test_small_edits_hide_nothing(text):
    assert len(found([ITEM], [text])) == 1


@pytest.mark.parametrize(
    "text", [" ".join(ITEM.split()[:11]), " ".join(sorted(ITEM.split())), " ".join(ITEM.split()[::2]), ""]
)
def test_a_few_words_or_the_same_words_in_another_order_are_no_item(text):
    assert found([ITEM], [text]) == []


def test_a_short_item_must_be_there_whole_and_a_shorter_one_is_not_looked_for():
    eight, seven = "was the louisiana purchase ever made with bitcoin", "was the louisiana purchase made with bitcoin"
    assert index([eight, seven, "", ITEM]).sought.tolist() == [True, False, False, True]
    assert len(found([eight], [f"They ask: {eight}?"])) == 1
    assert found([eight], [eight.replace("ever", "really")]) == []
    assert found([seven], [seven]) == []


def test_numbers_and_single_letters_prove_little():
    numbers = " ".join(str(number) for number in range(40))
    assert index([numbers, " ".join(LETTERS)]).sought.tolist() == [True, False]
    assert found([numbers], [" ".join(str(number) for number in range(39))]) == []
    assert len(found([numbers], [numbers])) == 1


def test_what_all_items_of_a_set_say_is_no_item():
    wording = "Select the best translation into predicate logic, using the following abbreviations where you need them."
    questions = [f"{wording} {' '.join(f'{letter}{n}{letter}' for letter in LETTERS[:12])}" for n in range(100)]
    assert found(questions, [f"A page about tests. {wording} And so on."]) == []
    (one,) = found(questions, [f"A page about tests. {questions[17]} And so on."])
    assert one.item == 17


def test_items_without_words_of_their_own_are_not_looked_for():
    same = [ITEM] * (COMMON + 1)
    assert not index(same).sought.any()
    assert index([*same, "was the louisiana purchase ever made with bitcoin"]).sought.sum() == 1
    assert index(same[:COMMON]).sought.all()


def test_items_of_one_template_are_reported_once():
    other = ITEM.replace("robe", "gown")
    assert [one.item for one in found([ITEM, other], [ITEM, f"{ITEM}\n{other}", other])] == [0, 0, 1, 1]


def test_nothing_is_found_among_no_items_and_in_no_texts():
    assert found([], [ITEM]) == []
    assert found(["", "too short"], [ITEM, ""]) == []
    assert found([ITEM], []) == []
