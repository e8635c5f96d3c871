"""The static model: words are cut as BERT's tokenizer cuts them, and a vector is the sum of what was found."""

from __future__ import annotations

import hashlib
import re
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters.kernels.buffers import buffers
from samplers import static, words
from samplers.distil import FILE
from samplers.words import CHARACTERS, _slot, cut, scratch

tokenizers = pytest.importorskip("tokenizers")

BITS = (1 << 64) - 1
TEXTS = st.lists(
    st.text() | st.text("aZé 개념값, 中国のカ한. ßİ9_-#[]\t\n\u0301\u200b\U0001f600ａ", max_size=60), max_size=5
)


@cache
def model() -> static.Static:
    return static.load()


@cache
def numbers() -> dict[str, int]:
    """Return the vocabulary, read from the file as plain strings."""
    with (
        static.as_file(static.files("samplers") / "models" / FILE) as path,
        np.load(path, allow_pickle=False) as arrays,
    ):
        data, offsets = arrays["word_bytes"].tobytes(), arrays["word_offsets"].tolist()
    return {
        data[start:end].decode(): number for number, (start, end) in enumerate(zip(offsets, offsets[1:], strict=False))
    }


def naive_words(text: str) -> list[tuple[str, int, int]]:
    """Return (word, start, end) as the tokenizers library cuts them, Hangul left in syllables."""
    normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    cutter = tokenizers.pre_tokenizers.BertPreTokenizer()
    parts = re.split("([가-힣]+)", text[:CHARACTERS])
    joined = "".join(part if at % 2 else normalizer.normalize_str(part) for at, part in enumerate(parts))
    # Han characters were set off by blanks: where the text itself has none, they touch
    bare = "".join(part if at % 2 else unspaced(part) for at, part in enumerate(parts))
    found, at = [], 0
    for word, _ in cutter.pre_tokenize_str(joined):
        at = bare.index(word, at)
        found.append((word, at, at + len(word)))
        at += len(word)
    return found


def unspaced(part: str) -> str:
    normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True, handle_chinese_chars=False)
    return str(normalizer.normalize_str(part))


def naive(text: str) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Return (numbers of the known words, groups of the others)."""
    known, groups, touching = [], [], None
    for word, start, end in naive_words(text):
        if word in numbers():
            known.append(numbers()[word])
            touching = None
            continue
        points = [0, touching[1] if touching and touching[0] == start else 0]
        points += [ord(character) for character in word]
        points = [point for at, point in enumerate(points) if at < 2 or points[at - 2 : at] != [point, point]]
        for at in range(2, len(points)):
            if points[at] >= 0x2E80:
                groups.append((0, points[at - 1], points[at]))
            elif points[at - 1]:
                groups.append((points[at - 2] if at > 2 else 0, points[at - 1], points[at]))
        if points[-1] >= 0x2E80:
            touching = (end, points[-1])
        else:
            groups.append((points[-2], points[-1], 0))
            touching = None
    return known, groups


def mixed(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & BITS
    value = (value ^ value >> 27) * 0x94D049BB133111EB & BITS
    return value ^ value >> 31


def hashed(group: tuple[int, int, int]) -> int:
    return mixed((group[0] << 42 | group[1] << 21 | group[2]) + 1 & BITS)


def kernel(texts: pa.Array) -> list[tuple[list[int], list[int]]]:
    offsets, data = buffers(texts)
    room, rows = scratch(), []
    for row in range(len(texts)):
        known, groups = cut(data, offsets[row], offsets[row + 1], model().characters, model().words, room)
        rows.append((room.known[:known].tolist(), room.groups[:groups].tolist()))
    return rows


@settings(deadline=None, max_examples=300)
@given(TEXTS)
@example(
    ["中国 人 の、カタカナ한국어 개념, unaffable Übermaß kubernetes [SEP] 日本国x 値", "", "a" * 3000, "x한中\u2028中"]
)
def test_words_and_groups_are_those_of_the_naive_twin(texts: list[str]) -> None:
    found = kernel(pa.array(texts, pa.large_string()))
    assert found == [(known, [hashed(group) for group in groups]) for known, groups in map(naive, texts)]


@settings(deadline=None, max_examples=100)
@given(TEXTS)
def test_a_vector_is_the_sum_of_its_words_and_groups(texts: list[str]) -> None:
    for text, vector in zip(texts, static.encode(model(), pa.array(texts, pa.string())), strict=True):
        total = np.zeros(static.DIMENSIONS)
        known, groups = naive(text)
        for number in known:
            total += model().table[number].astype(np.float64) * model().scale[number]
        for group in groups:
            bits = "".join(
                f"{mixed(hashed(group) + (start + 1) * 0x9E3779B97F4A7C15 & BITS):064b}"[::-1]
                for start in range(0, static.DIMENSIONS, 64)
            )
            total += np.where(np.array(list(bits)) == "1", 1, -1) * float(model().signs.max())
        length = np.linalg.norm(total)
        assert np.allclose(vector, total / length if known or groups else 0, atol=1e-4)
        assert np.linalg.norm(vector) == pytest.approx(1 if known or groups else 0, abs=1e-6)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.text(), max_size=8), st.data())
def test_slices_are_embedded_as_the_whole(texts: list[str], data: st.DataObject) -> None:
    array = pa.array(texts, pa.large_string())
    whole = static.encode(model(), array)
    at = data.draw(st.integers(0, len(texts)))
    parts = [static.encode(model(), array[:at]), static.encode(model(), array[at:])]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("text", ["", " \n\t\u3000", "\u200b\u0301\x00"])
def test_a_text_without_words_is_the_zero_vector(text: str) -> None:
    assert not static.encode(model(), pa.array([text])).any()


def test_only_the_beginning_of_a_text_is_read() -> None:
    beginning = "개념 증명 word 中 " * 2000
    texts = pa.array([beginning[:CHARACTERS], beginning[:CHARACTERS] + "𝄞 more"])
    first, second = static.encode(model(), texts)
    assert first.tobytes() == second.tobytes()


def test_words_of_like_meaning_are_near_and_word_forms_share_their_letters() -> None:
    def cosine(one: str, other: str) -> float:
        first, second = static.encode(model(), pa.array([one, other]))
        return float(first @ second)

    assert cosine("The doctor treats a patient", "A physician in the hospital") > 0.4
    assert cosine("The doctor treats a patient", "Compile the kernel with debugging symbols") < 0.2
    assert cosine("개념을 증명하는 문서", "개념이 증명되는 문서들") > 0.5
    assert cosine("개념을 증명하는 문서", "오늘 날씨가 참 좋습니다") < 0.2
    assert (
        cosine("Собака бежала домой", "Собаки бегут домой") > cosine("Собака бежала домой", "Новый закон принят") + 0.2
    )


def test_a_laugh_does_not_outweigh_the_sentence() -> None:
    texts = pa.array(["캐릭터 반전 ㅋㅋㅋ", "캐릭터 반전 " + "ㅋ" * 80, "제발 난 아니라고 " + "ㅋ" * 80])
    vectors = static.encode(model(), texts)
    assert vectors[0].tobytes() == vectors[1].tobytes()
    assert vectors[1] @ vectors[2] < 0.5


def test_two_texts_are_not_alike_for_a_licence_at_their_head() -> None:
    licence = "Permission is granted to use, copy, modify and distribute this software under these terms. " * 25
    bodies = ["The parser reads tokens and builds a syntax tree. ", "Boil the potatoes, then fry onions with butter. "]
    one, other = static.encode(model(), pa.array([licence + body * 60 for body in bodies]))
    assert len(licence) > 2000
    assert one @ other < 0.9


def test_every_word_of_the_vocabulary_finds_its_row() -> None:
    for word, number in numbers().items():
        data = np.frombuffer(word.encode(), np.uint8)
        _, slot = _slot(model().words, data, 0, len(data))
        assert model().words.numbers[slot] == number
    assert len(numbers()) == len(model().table)


def test_two_words_with_one_hash_are_refused() -> None:
    data = np.frombuffer(b"oneone", np.uint8)
    with pytest.raises(ValueError, match="word 1 of the vocabulary"):
        words.vocabulary(np.array([0, 3, 6], np.int32), data)


def test_the_shipped_model_is_the_one_that_was_measured() -> None:
    """A new model gives new vectors: change this digest and the figures of docs/sampling.md together."""
    with static.as_file(static.files("samplers") / "models" / FILE) as path:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == static.digest() == DIGEST


DIGEST = "ba16413b340c96359656f9b4ba3435805db676643d7425c4bd151da5f917d614"
