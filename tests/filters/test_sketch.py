"""Sketches against their naive twins, against the published estimator, and against sets that were counted."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.kernels import minhash
from filters.kernels import shingles as kernels
from filters.kernels.buffers import buffers
from filters.kernels.minhash import GROUPS, INCREMENT, LANES, MULTIPLIER, ROWS
from filters.kernels.shingles import FINAL_SIGMA, SIGMA, WIDTH, Hashing, hashing, is_unspaced
from filters.kernels.unicode import DIGIT, SPACE, WORD, class_of
from filters.signal import measure
from filters.sketch import PLAIN, bands, content_hash, shingles, sketches

ROLL = int(kernels._ROLL)
MASK = (1 << 64) - 1

texts = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("abcXYZ019 \n\t.,-_'"),
        st.sampled_from("개념 증명 Ää ßẞ ÇİIıǅſKΩΣσς"),
        st.sampled_from("語彙カナひらがな々ไทย ລາວ ខ្មែរ မြန်မာ 𠀀𝒜😀e\u0301"),
    ),
    max_size=120,
)


hashings = st.builds(hashing, st.integers(0, 1 << 63), st.booleans(), st.booleans(), st.booleans())


def words_of(text: str, how: Hashing = PLAIN) -> list[str]:
    """The definition: runs of letters, marks and digits, lower-cased; a character of an unspaced script alone."""
    words, open_word = [], ""
    if how.zero_digits:
        text = "".join("0" if class_of(ord(character)) & DIGIT else character for character in text)
    if how.fold_case:
        text = text.lower().replace(chr(FINAL_SIGMA), chr(SIGMA))
    for character in text:
        kind = class_of(ord(character))
        in_word = kind & WORD != 0
        alone = is_unspaced(ord(character)) if in_word else how.split_marks and not kind & SPACE
        if open_word and (alone or not in_word):
            words.append(open_word)
            open_word = ""
        if alone:
            words.append(character)
        elif in_word:
            open_word += character
    return [*words, open_word] if open_word else words


def fold(one: int, other: int) -> int:
    product = one * other
    return (product >> 64) ^ (product & MASK)


def hash_of_word(word: str, how: Hashing = PLAIN) -> int:
    data = word.encode()
    state = int(how.start) ^ len(data)
    for start in range(0, len(data), 8):
        state = fold(state ^ int.from_bytes(data[start : start + 8], "little"), int(how.multiplier))
    return state


def hashes_of_shingles(text: str, how: Hashing = PLAIN) -> list[int]:
    hashes = [hash_of_word(word, how) for word in words_of(text, how)]
    found = []
    for start in range(len(hashes) - WIDTH + 1):
        state = 0
        for one in hashes[start : start + WIDTH]:
            state = (state * ROLL + one) & MASK
        found.append(fold(state ^ int(how.start), int(how.multiplier)))
    return found


def lanes_of(hashes: list[int]) -> list[int]:
    """The definition: a lane has the smallest of the hashes that belong to it, or a minimum over all of its own."""
    lanes = []
    for lane, (m, i) in enumerate(zip(MULTIPLIER.tolist(), INCREMENT.tolist(), strict=True)):
        own = [one % (1 << 32) for one in hashes if one >> 57 == lane]
        every = ((one * m + i) % (1 << 32) for one in hashes)
        lanes.append(min(own) if own else min(every))
    return lanes


def bands_of(lanes: list[int], how: Hashing = PLAIN) -> list[int]:
    hashes = []
    groups = [lanes[start : start + ROWS] for start in range(0, LANES, ROWS)]
    groups += [lanes[start::GROUPS] for start in range(GROUPS)]
    for band, group in enumerate(groups):
        state = int(how.start) ^ band
        for high, low in zip(group[::2], group[1::2], strict=True):
            state = fold(state ^ (high << 32 | low), int(how.multiplier))
        hashes.append(state)
    return hashes


def rows(values: list[str], how: Hashing = PLAIN) -> list[list[int]]:
    offsets, hashes = shingles(pa.array(values, pa.string()), how)
    return [hashes[start:stop].tolist() for start, stop in pairwise(offsets)]


def band_rows(column: pa.Array) -> list[list[int] | None]:
    return [None if row is None else np.frombuffer(row, "<u8").tolist() for row in column.to_pylist()]


@given(st.lists(texts, max_size=4))
@settings(max_examples=300, deadline=None)
def test_shingles_are_those_of_the_naive_twin(values):
    assert rows(values) == [sorted(set(hashes_of_shingles(value))) for value in values]


@given(st.lists(texts, max_size=4), hashings)
@settings(max_examples=300, deadline=None)
def test_shingles_of_any_key_and_normalisation_are_those_of_the_naive_twin(values, how):
    assert rows(values, how) == [sorted(set(hashes_of_shingles(value, how))) for value in values]


@given(st.lists(texts, max_size=4), hashings)
@settings(max_examples=60, deadline=None)
def test_bands_are_those_of_the_naive_twin_and_null_without_a_shingle(values, how):
    found = [hashes_of_shingles(value, how) for value in values]
    expected = [bands_of(lanes_of(one), how) if one else None for one in found]
    assert band_rows(sketches(how)["bands"](pa.array(values, pa.string()))) == expected


def test_texts_made_to_meet_under_one_key_do_not_meet_under_another():
    """With a known key two words of one hash are soon found; a run with a seed of its own tells them apart."""
    known, secret = hashing(0), hashing(20261126)
    inverse = pow(int(known.multiplier), -1, 1 << 64)
    assert inverse * int(known.multiplier) % (1 << 64) == 1  # what makes a known key easy to turn around
    one, other = "sesquipe", "dalian12"
    assert hash_of_word(one, known) != hash_of_word(one, secret)
    words = [one, other, "three", "four", "five"]
    assert not set(hashes_of_shingles(" ".join(words), known)) & set(hashes_of_shingles(" ".join(words), secret))


@pytest.mark.parametrize(
    ("how", "same", "different"),
    [
        (hashing(0), ("a Cat sat on 12 mats.", "a cat, sat on 12 mats"), "a cat sat on 13 mats"),
        (hashing(0, zero_digits=True), ("a cat sat on 12 mats", "A cat sat on ٣٤ mats!"), "a cat sat on 123 mats"),
        (hashing(0, fold_case=False), ("a Cat sat on 12 mats.", "a Cat, sat on 12 mats"), "a cat sat on 12 mats"),
        (hashing(0, split_marks=True), ("a Cat sat on 12 mats.", "a cat sat  on 12 mats ."), "a cat sat on 12 mats"),
    ],
)
def test_a_normalisation_says_what_makes_no_difference(how, same, different):
    one, other, third = rows([*same, different], how)
    assert one == other
    assert one != third


@given(texts, st.integers(0, 70))
@settings(max_examples=200, deadline=None)
def test_a_text_has_the_same_words_wherever_it_starts_in_the_buffer(value, before):
    column = pa.array(["." * before, value, "tail of the buffer"], pa.large_string())
    assert rows(column.to_pylist())[1] == rows([value])[0]


@given(st.lists(texts, min_size=1, max_size=6), st.data())
@settings(max_examples=60, deadline=None)
def test_slices_sketch_as_the_whole_does(values, data):
    start = data.draw(st.integers(0, len(values)))
    stop = data.draw(st.integers(start, len(values)))
    for kind in (pa.string(), pa.large_string()):
        column = pa.array(values, kind)
        for one in (bands, content_hash):
            assert one(column.slice(start, stop - start)).to_pylist() == one(column).to_pylist()[start:stop]
        offsets, hashes = shingles(column)
        part_offsets, part = shingles(column.slice(start, stop - start))
        assert part.tolist() == hashes[offsets[start] : offsets[stop]].tolist()
        assert part_offsets.tolist() == (offsets[start : stop + 1] - offsets[start]).tolist()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("One, two; three-four!", ["one", "two", "three", "four"]),
        ("don't snake_case x86", ["don", "t", "snake", "case", "x86"]),
        ("개념 증명을, 위한", ["개념", "증명을", "위한"]),
        ("STRASSE Straße İstanbul", ["strasse", "straße", "i̇stanbul"]),
        ("漢字 kana カナ1", ["漢", "字", "kana", "カ", "ナ", "1"]),
        ("ΟΔΟΣ οδος", ["οδοσ", "οδοσ"]),
        ("the end of a buffer of sixty-four bytes and a bit, öäü und so weiter", None),
    ],
)
def test_words_are_runs_of_letters_marks_and_digits(text, words):
    assert words is None or words_of(text) == words
    column = pa.array([text], pa.string())
    offsets, data = buffers(column)
    hashes = np.zeros(len(data), np.uint64)
    count = kernels.hash_words(data, 0, int(offsets[1]), PLAIN, np.zeros(2 * len(data), np.uint8), hashes)
    assert hashes[:count].tolist() == [hash_of_word(word) for word in words_of(text)]


@pytest.mark.slow
def test_every_code_point_has_the_class_and_the_lower_case_of_the_definition():
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    text = "".join(f"a{chr(point)}b " for point in points)
    offsets, data = buffers(pa.array([text], pa.large_string()))
    hashes = np.zeros(len(data) // 2 + 1, np.uint64)
    count = kernels.hash_words(data, 0, int(offsets[1]), PLAIN, np.zeros(2 * len(data), np.uint8), hashes)
    assert hashes[:count].tolist() == [hash_of_word(word) for word in words_of(text)]


def test_upper_case_punctuation_and_spacing_make_no_difference():
    plain, shouted = rows(["the cat sat on the mat and slept", "The CAT -- sat on:\n\n the mat...and   slept!"])
    assert plain == shouted
    assert len(plain) == 4


def test_repeated_shingles_count_once_and_the_order_of_words_matters():
    once, twice, swapped = rows(["a b c d e f", "a b c d e f. a b c d e f.", "b a c d e f"])
    assert set(once) < set(twice)
    assert len(twice) == 6
    assert not set(once) & set(swapped[:1])


def test_fewer_than_five_words_have_no_shingle():
    column = pa.array(["", "   ", "one two three four", "one two three four five"])
    assert [len(row) for row in rows(column.to_pylist())] == [0, 0, 0, 1]
    assert bands(column).is_valid().to_pylist() == [False, False, False, True]


def test_an_edit_in_a_text_without_spaces_costs_five_shingles_and_not_the_sentence():
    before, after = (
        set(row)
        for row in rows(["人工知能の研究は長い歴史を持つ分野である", "人工知能の研究は短い歴史を持つ分野である"])
    )
    assert len(before) == len(after) == 16
    assert len(before & after) == 11


def test_the_content_hash_is_that_of_the_exact_bytes():
    column = pa.array(["", "a", "a ", "A", "개념\n"])
    key = b"".join(int(half).to_bytes(8, "little") for half in (PLAIN.start, PLAIN.multiplier))
    expected = [sha256(key + text.encode()).digest()[:16] for text in column.to_pylist()]
    assert content_hash(column).to_pylist() == expected
    assert len(set(expected)) == 5


def test_signals_declare_what_they_write():
    batch = pa.RecordBatch.from_pydict({"text": pa.array(["one two three four five six", "no"], pa.large_string())})
    written = measure(batch, [content_hash, bands])
    assert written.schema == pa.schema({"content_hash": pa.binary(16), "bands": pa.binary(224)})
    assert written.column("bands").null_count == 1


def test_empty_batches_sketch_to_nothing():
    column = pa.array([], pa.large_string())
    assert len(bands(column)) == len(content_hash(column)) == 0
    assert [array.tolist() for array in shingles(column)] == [[0], []]


def planted_pairs(similarities: list[float], size: int) -> tuple[list[list[int]], list[float]]:
    """Random sets of 64-bit numbers in pairs, with the similarity each pair really has."""
    random = np.random.default_rng(7)
    sets, exact = [], []
    for similarity in similarities:
        shared = round(2 * size * similarity / (1 + similarity))
        numbers = random.integers(0, 1 << 64, 2 * size - shared, dtype=np.uint64)
        sets += [numbers[:size].tolist(), numbers[size - shared :].tolist()]
        exact.append(shared / (2 * size - shared))
    return sets, exact


def signature(numbers: list[int]) -> np.ndarray:
    lanes = np.zeros(LANES, np.uint32)
    minhash.minima(np.array(numbers, np.uint64), len(numbers), np.empty(minhash.PLACES, np.uint32), lanes)
    return lanes


@pytest.mark.parametrize("size", [12, 40, 120, 300, 1500])
def test_estimates_err_no_more_than_theory_and_as_datasketch_does(size):
    """Root mean square errors over 300 pairs: theory sqrt(mean J (1 - J) / 112); a fifth more is five deviations."""
    sets, exact = planted_pairs([0.3, 0.5, 0.7, 0.8, 0.9] * 60, size)
    ours = [signature(one) for one in sets]
    theirs = [MinHash(LANES, seed=1, hashfunc=lambda number: number & 0xFFFFFFFF) for _ in sets]
    for sketch, numbers in zip(theirs, sets, strict=True):
        sketch.update_batch(numbers)
    theory = np.sqrt(np.mean([one * (1 - one) / LANES for one in exact]))
    errors = [np.mean(ours[2 * i] == ours[2 * i + 1]) - exact[i] for i in range(len(exact))]
    their_errors = [theirs[2 * i].jaccard(theirs[2 * i + 1]) - exact[i] for i in range(len(exact))]
    assert np.sqrt(np.mean(np.square(errors))) < 1.2 * theory
    assert abs(np.mean(errors)) < 5 * theory / np.sqrt(len(errors))
    apart = np.array(errors) - np.array(their_errors)
    assert np.sqrt(np.mean(np.square(apart))) < 1.2 * np.sqrt(2) * theory


@pytest.mark.parametrize("size", [20, 200, 1000])
def test_bands_meet_as_often_as_the_published_parameters_say(size):
    """At similarity 0.8 a pair shares one of 14 bands of 8 rows with probability 0.92 (FineWeb), one of ours with 0.99."""
    sets, exact = planted_pairs([0.8] * 400, size)
    ours = minhash.bands(np.array([signature(one) for one in sets]), PLAIN)
    alike = ours[0::2] == ours[1::2]
    expected = 1 - (1 - exact[0] ** ROWS) ** GROUPS
    assert abs(np.mean(alike[:, :GROUPS].any(axis=1)) - expected) < 4 * np.sqrt(expected * (1 - expected) / 400)
    assert np.mean(alike.any(axis=1)) > 0.97
