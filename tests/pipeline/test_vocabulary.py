"""Learning a tokenizer from counted words gives what the library trains on the texts, however the texts are dealt out."""

from __future__ import annotations

import pyarrow as pa
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from pipeline.tokens import BYTE_CHARACTERS, OURS, splitting
from pipeline.vocabulary import LONGEST, SPECIAL, WORDS, add_words, count_words, train, train_tokenizer
from tests.pipeline.test_tokens import TEXTS, records

FEW = st.text(st.sampled_from("abc ab\n1'é한"), max_size=40)


def by_the_library(texts: list[str], vocabulary: int) -> bytes:
    """Return the tokenizer.json that the `tokenizers` library trains: the truth."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(tokenizers.Regex(splitting(OURS)), "isolated")
    bounded = pre_tokenizers.Split(tokenizers.Regex(f"(?m:.){{1,{LONGEST}}}"), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bounded, to_bytes])
    alphabet = sorted(BYTE_CHARACTERS)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    return str(tokenizer.to_str(pretty=False)).encode()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(FEW, st.text(max_size=30)), max_size=6), st.integers(260, 330))
def test_the_library_trains_the_same_bytes(texts, vocabulary):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    assert train_tokenizer(texts, vocabulary) == by_the_library(texts, vocabulary)


@pytest.mark.parametrize("texts", [TEXTS, ["ab" * 700, "한글" * 700, "a" * 1000], ["<|endoftext|>"] * 5, []])
def test_long_runs_many_scripts_and_nothing_train_as_the_library_does(texts):
    assert train_tokenizer(texts, 900) == by_the_library(texts, 900)


@settings(max_examples=60, deadline=None)
@given(st.lists(FEW, max_size=8), st.integers(0, 8), st.randoms())
def test_counts_of_parts_add_up_to_those_of_the_whole_in_any_order(texts, cut, chance):
    whole = count_words(pa.array(texts, pa.large_string()))
    parts = [count_words(pa.array(part, pa.large_string())) for part in (texts[:cut], texts[cut:])]
    chance.shuffle(parts)
    assert add_words(parts) == add_words([whole])
    assert sum(len(w) * c for w, c in zip(*whole.to_pydict().values(), strict=True)) == sum(
        len(text.encode()) for text in texts
    )


def test_words_of_a_slice_are_those_of_its_texts():
    texts = pa.array(TEXTS, pa.large_string())
    assert add_words([count_words(texts.slice(2, 3))]) == add_words([count_words(pa.array(TEXTS[2:5], pa.string()))])
    assert train(WORDS.empty_table(), 300) == by_the_library([], 300)


def test_real_texts_train_as_the_library_does(data):
    names = ("multilingual/text", "web/truth", "code/trees")
    texts = [text for name in names for text in list(records(data / f"{name}.jsonl.zst"))[:1500:5]]
    assert train_tokenizer(texts, 6000) == by_the_library(texts, 6000)
