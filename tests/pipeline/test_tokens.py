"""The tokenizer: the kernels give the library's ids on any text, nothing is lost, training is deterministic."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from filters.kernels import merges, pieces
from pipeline import tokens
from pipeline.tokens import END_OF_TEXT, OURS, Tokenizer, TokenizerError, given_tokenizer, splitting
from pipeline.vocabulary import train_tokenizer

TEXTS = [
    "The quick brown fox jumps over the lazy dog. It's 1234567 miles, isn't it?\n\n  Yes — it IS!\r\n",
    "빠른 갈색 여우가 게으른 개를 뛰어넘는다. 개념 증명이 2026년에 끝났다.",
    "def f(x):\n    return x ** 2  # квадрат\n\n\tclass_name = '日本語テキスト'\n",
    "हिन्दी में लिखा हुआ पाठ और ภาษาไทยที่ไม่มีช่องว่าง 😀👩‍👩‍👧 e\u0301\u0301",
    "aaaaaaaaaaaaaaaa     \t\t\t bbbbbbbb ababababab <|endoftext|> <|x|>",
] * 3


@pytest.fixture(scope="module")
def trained() -> bytes:
    return train_tokenizer(TEXTS, 900)


@pytest.fixture(scope="module")
def tokenizer(trained: bytes) -> Tokenizer:
    return Tokenizer.from_json(trained)


def array(*texts: str) -> pa.Array:
    return pa.array(texts, pa.large_string())


def same_ids(tokenizer: Tokenizer, texts: pa.Array) -> bool:
    fast, slow = tokenizer.encode(texts), tokenizer.encode_slowly(texts)
    return all(map(np.array_equal, fast, slow)) and fast[1].dtype == slow[1].dtype


# What splits and merges is drawn often: white space, quotes, digits, marks, letters that training has seen.
ALPHABET = st.one_of(
    st.sampled_from(
        "abeirtsTSDmMlLvV'’ſʼ   \t\n\r\x0b\x85\u00a0\u2028\u3000  09٣½Ⅷ\u0301\u0903़का한글日ß<|>_-😀\U00020000"
    ),
    st.characters(exclude_categories=["Cs"]),
)
ANY_TEXT = st.text(ALPHABET, max_size=60)


@settings(max_examples=300, deadline=None)
@given(st.lists(ANY_TEXT, max_size=4))
def test_any_text_gets_the_ids_that_the_library_gives(tokenizer, texts):
    assert tokenizer.slow_because is None
    assert same_ids(tokenizer, array(*texts))


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY_TEXT, max_size=4))
def test_any_text_comes_back_from_its_ids_and_ends_with_the_end_of_text(tokenizer, texts):
    offsets, ids = tokenizer.encode(array(*texts))
    assert ids.dtype == np.uint16
    for text, (start, stop) in zip(texts, pairwise(offsets), strict=True):
        assert tokenizer.decode(ids[start : stop - 1]) == text
        assert ids[stop - 1] == tokenizer.end_of_text
        assert tokenizer.end_of_text not in ids[start : stop - 1]


@settings(max_examples=100, deadline=None)
@given(st.lists(ANY_TEXT, max_size=5), st.integers(0, 5), st.integers(0, 5))
def test_a_slice_is_encoded_as_its_texts_are(tokenizer, texts, start, length):
    whole, part = array(*texts), array(*texts[start : start + length])
    for one, other in zip(tokenizer.encode(whole.slice(start, length)), tokenizer.encode(part), strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(tokenizer.encode(part.cast(pa.string()))[1], tokenizer.encode(part)[1])


@settings(max_examples=200, deadline=None)
@given(ANY_TEXT, st.sampled_from([OURS, r"\p{L}"]))
def test_pieces_are_those_of_the_expression(text, letter):
    data = np.frombuffer(text.encode() + bytes(80), np.uint8)
    found, at, end = [], 0, len(text.encode())
    while at < end:
        stop = pieces.piece_end(data, at, end, tokens.kinds(letter))
        found.append(text.encode()[at:stop].decode())
        at = stop
    split = pre_tokenizers.Split(tokenizers.Regex(splitting(letter)), "isolated")
    assert found == [piece for piece, _ in split.pre_tokenize_str(text)]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(sorted({t[at : at + 4] for t in TEXTS for at in range(len(t))})), min_size=1, max_size=4)
)
def test_merging_by_scan_and_by_heap_give_the_ids_of_plain_merging(trained, tokenizer, parts):
    text = "".join(parts)
    model = json.loads(trained)["model"]
    ranks = {tuple(pair): rank for rank, pair in enumerate(model["merges"])}
    symbols = [tokens.BYTE_CHARACTERS[byte] for byte in text.encode()]
    while pairs := [(ranks[pair], at) for at, pair in enumerate(pairwise(symbols)) if pair in ranks]:
        _, at = min(pairs)
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
    expected = [model["vocab"][symbol] for symbol in symbols]

    data, out = np.frombuffer(text.encode(), np.uint8), np.zeros(99, np.uint32)
    scratch = np.empty((2, merges.SHORT), np.int64)
    short = merges.merge_short(tokenizer._tables, data, 0, len(data), out, 1, scratch)
    assert out[1 : 1 + short].tolist() == expected
    long = merges.merge_long(tokenizer._tables, data, 0, len(data), out, 2)
    assert out[2 : 2 + long].tolist() == expected


@pytest.mark.parametrize("times", [1, 40])
def test_a_pair_that_lost_its_right_half_waits_for_its_new_rank(times):
    document = json.loads(train_tokenizer([], 260))
    document["model"]["merges"] = [["b", "c"], ["a", "b"], ["bc", "d"], ["a", "bc"]]
    for left, right in document["model"]["merges"]:
        document["model"]["vocab"][left + right] = len(document["model"]["vocab"])
    tokenizer = Tokenizer.from_json(json.dumps(document).encode())
    texts = array("abcd" * times, "abca" * times)
    assert [tokenizer.decode([one]) for one in tokenizer.encode(texts)[1][: 2 * times]] == ["a", "bcd"] * times
    assert same_ids(tokenizer, texts)


def test_every_code_point_gets_the_ids_that_the_library_gives(tokenizer):
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    # Between a letter, a digit and a space each point shows what it is; beyond two planes nearly all are alike.
    texts = ["".join(f"a{one}1{one} " for one in points[at : at + 997]) for at in range(0, 0x20000, 997)]
    texts += ["".join(points[at : at + 4001 : 3]) for at in range(0x20000, len(points), 4001)]
    assert same_ids(tokenizer, array(*texts))


@pytest.mark.parametrize(
    ("run", "times"),
    [("a", 1 << 20), (" ", 1 << 20), ("한", 1 << 19), ("\n", 1 << 19), ("=", 1 << 20), ("ab", 1 << 19), ("7", 1 << 19)],
)
def test_a_long_run_is_encoded_in_seconds_with_the_ids_that_the_library_gives(tokenizer, run, times):
    assert same_ids(tokenizer, array(run * times, f"x{run * 1000}y"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's don't WE'LL", ["It", "'s", " don", "'t", " WE", "'LL"]),
        ("'ſt 'tis 'Rest", ["'ſ", "t", " '", "tis", " '", "Rest"]),
        ("12345", ["123", "45"]),
        ("a  b\n\n  c ", ["a", " ", " b", "\n\n", " ", " c", " "]),
        ("x=1;\r\n\ty", ["x", "=", "1", ";\r\n", "\ty"]),
        ("का e\u0301", ["का", " e\u0301"]),
    ],
)
def test_texts_are_cut_into_these_pieces(text, expected):
    data, at, found = np.frombuffer(text.encode() + bytes(80), np.uint8), 0, []
    while at < len(text.encode()):
        stop = pieces.piece_end(data, at, len(text.encode()), tokens.kinds(OURS))
        found.append(text.encode()[at:stop].decode())
        at = stop
    assert found == expected


@settings(max_examples=100, deadline=None)
@given(ANY_TEXT, st.integers(0, 60))
def test_the_bytes_of_ids_add_up_to_the_bytes_of_the_text_wherever_they_are_cut(tokenizer, text, cut):
    ids = tokenizer.encode(array(text))[1][:-1]
    assert tokenizer.decode_bytes(ids[:cut]) + tokenizer.decode_bytes(ids[cut:]) == text.encode()


def test_no_text_can_spell_the_end_of_text(tokenizer):
    _, ids = tokenizer.encode(array(END_OF_TEXT, f"a{END_OF_TEXT}b", f" {END_OF_TEXT}"))
    assert (ids == tokenizer.end_of_text).sum() == 3
    assert tokenizer.decode(ids) == f"{END_OF_TEXT * 2}a{END_OF_TEXT}b{END_OF_TEXT} {END_OF_TEXT * 2}"


def test_no_documents_and_empty_documents_are_encoded(tokenizer):
    offsets, ids = tokenizer.encode(array())
    assert (offsets.tolist(), ids.tolist()) == ([0], [])
    offsets, ids = tokenizer.encode(array("", ""))
    assert (offsets.tolist(), ids.tolist()) == ([0, 1, 2], [tokenizer.end_of_text] * 2)


def test_training_on_nothing_gives_all_bytes_and_the_end_of_text():
    tokenizer = Tokenizer.from_json(train_tokenizer([], 1000))
    assert tokenizer.vocabulary_size == 260
    text = "여우 \x00\x7f\U0010ffff"
    assert tokenizer.encode(array(text))[1].size == len(text.encode()) + 1
    assert tokenizer.decode(tokenizer.encode(array(text))[1][:-1]) == text


def test_training_gives_the_same_bytes_whatever_the_threads_and_the_hash_seed(trained):
    program = (
        "import hashlib, json, sys\nfrom pipeline.vocabulary import train_tokenizer\n"
        "print(hashlib.sha256(train_tokenizer(json.load(sys.stdin), 900)).hexdigest())"
    )
    for threads, seed in (("1", "1"), ("3", "2")):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": seed}
        ran = subprocess.run(
            [sys.executable, "-c", program],
            input=json.dumps(TEXTS),
            env=environment,
            cwd=Path(tokens.__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.strip() == hashlib.sha256(trained).hexdigest()


def test_training_is_not_held_up_by_a_very_long_run():
    data = train_tokenizer(["한글" * 200_000, "ab" * 200_000], 400)
    assert same_ids(Tokenizer.from_json(data), array("한글" * 500, "ab" * 700 + "a"))


def test_the_library_opens_what_was_trained(trained, tokenizer):
    library = tokenizers.Tokenizer.from_str(trained.decode())
    text = TEXTS[3]
    ids = tokenizer.encode(array(text))[1]
    assert library.encode(text).ids == ids[:-1].tolist()
    assert library.decode(ids.tolist()) == text
    assert library.token_to_id(END_OF_TEXT) == tokenizer.end_of_text
    assert library.get_vocab_size() == tokenizer.vocabulary_size


def test_large_vocabularies_have_wide_ids(trained):
    document = json.loads(trained)
    document["model"]["vocab"]["zzzz"] = 70_000
    tokenizer = Tokenizer.from_json(json.dumps(document).encode())
    assert tokenizer.vocabulary_size == 70_001
    assert tokenizer.encode(array("a"))[1].dtype == np.uint32


def test_a_token_that_its_merges_do_not_reach_is_taken_whole_only_if_the_tokenizer_says_so(trained):
    document = json.loads(trained)
    document["model"]["vocab"]["qzxw"] = len(document["model"]["vocab"])
    for ignore_merges, count in ((False, 5), (True, 2)):
        document["model"]["ignore_merges"] = ignore_merges
        tokenizer = Tokenizer.from_json(json.dumps(document).encode())
        assert tokenizer.slow_because is None
        assert len(tokenizer.encode(array("qzxw"))[1]) == count
        assert same_ids(tokenizer, array("qzxw", "qzxw qzxwqzxw"))


def gpt_4_like(document):
    document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = splitting(r"\p{L}")


def gpt_2_like(document):
    document["pre_tokenizer"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }


def normalizing(document):
    document["normalizer"] = {"type": "NFC"}


@pytest.mark.parametrize(
    ("change", "why"),
    [(gpt_4_like, None), (gpt_2_like, "expression"), (normalizing, "a normalizer (NFC)")],
)
def test_a_given_tokenizer_is_encoded_by_the_kernels_or_says_why_not(trained, change, why):
    document = json.loads(trained)
    change(document)
    tokenizer = Tokenizer.from_json(json.dumps(document).encode())
    assert (tokenizer.slow_because is None) == (why is None)
    assert why is None or why in tokenizer.slow_because
    assert same_ids(tokenizer, array(*TEXTS, "का e\u0301 12345", ""))
    assert tokenizer.encode(array(END_OF_TEXT))[1].tolist().count(tokenizer.end_of_text) == 1


def unigram(document):
    document["model"] = {"type": "Unigram", "unk_id": None, "vocab": [["a", 0.0]], "byte_fallback": False}


def prefix_space(document):
    document["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = True


def without_bytes(document):
    del document["pre_tokenizer"]["pretokenizers"][1]


def without_end(document):
    document["added_tokens"] = []


def dropout(document):
    document["model"]["dropout"] = 0.1


def far_id(document):
    document["model"]["vocab"]["zzzz"] = 4_000_000_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unigram, "model is Unigram; a byte-level BPE is needed"),
        (prefix_space, "add_prefix_space"),
        (without_bytes, "not byte-level"),
        (without_end, "no token for the end of a text"),
        (dropout, "by chance"),
        (far_id, "ids up to 4000000000"),
    ],
)
def test_a_tokenizer_that_could_lose_text_is_refused(trained, change, message):
    document = json.loads(trained)
    change(document)
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.from_json(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[]", b'{"model": 1}'])
def test_what_is_no_tokenizer_is_refused(data):
    with pytest.raises(TokenizerError, match=r"not a tokenizer\.json"):
        Tokenizer.from_json(data)


def test_a_given_tokenizer_is_read_from_its_path(tmp_path, trained):
    (tmp_path / "tokenizer.json").write_bytes(trained)
    assert given_tokenizer(f"path:{tmp_path}/tokenizer.json") == trained
    assert given_tokenizer(f"path:{tmp_path}") == trained
    for wrong in ("gpt2", "path:", f"path:{tmp_path}/missing.json"):
        with pytest.raises(TokenizerError, match=r"path:|missing\.json"):
            given_tokenizer(wrong)


def test_a_number_that_is_no_id_is_refused(tokenizer):
    for wrong in (-1, tokenizer.vocabulary_size):
        with pytest.raises(TokenizerError, match=f"id {wrong} is no token"):
            tokenizer.decode([0, wrong])


def test_a_vocabulary_too_small_for_all_bytes_is_refused():
    with pytest.raises(TokenizerError, match="at least 260"):
        train_tokenizer([], 256)


def records(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        for line in io.TextIOWrapper(reader, encoding="utf-8", newline="\n"):
            record = json.loads(line)
            text = record.get("text") or record.get("gold_text")
            if text:
                yield text[:20_000]


def test_real_texts_get_the_ids_that_the_library_gives(data):
    files = ("multilingual/text", "books/books", "web/truth", "neardup/neardup", "code/trees")
    texts = [text for name in files for text in islice(records(data / f"{name}.jsonl.zst"), 0, 1500, 15)]
    assert len(texts) > 200
    tokenizer = Tokenizer.from_json(train_tokenizer(texts[::2], 8000))
    assert same_ids(tokenizer, array(*texts))
    offsets, ids = tokenizer.encode(array(*texts))
    assert all(
        tokenizer.decode(ids[start : stop - 1]) == text
        for text, (start, stop) in islice(zip(texts, pairwise(offsets), strict=True), 0, None, 17)
    )
