"""Four pieces of which one follows: the others are of other documents, and who knows nothing is right one time in four."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ablate.cloze import ANSWERS, answers, interval, items, right
from ablate.folder import Folder
from tests.ablate.conftest import corpora
from train.model import Decoder

ROW = 64


def test_items_are_a_document_and_pieces_of_others(folder: Callable[..., Folder]):
    whole = folder("whole")
    documents = np.flatnonzero(whole.corpus_D == 1)
    asked = items(whole, documents, ROW)
    texts = [" ".join(map(str, whole.tokens(document).tolist())) for document in documents]
    assert len(asked) > 20
    for item in asked:
        assert len({len(piece) for piece in item.pieces}) == 1
        assert not any((piece == whole.shards.end_of_text).any() for piece in item.pieces)
        together = " ".join(map(str, [*item.context.tolist(), *item.pieces[0].tolist()]))
        own = [text for text in texts if together in text]
        assert len(own) >= 1
        for piece in item.pieces[1:]:
            assert " ".join(map(str, piece.tolist())) not in together
    again = items(whole, documents, ROW)
    assert all(np.array_equal(one.context, other.context) for one, other in zip(asked, again, strict=True))


def test_fewer_than_four_documents_make_no_test(folder: Callable[..., Folder]):
    whole = folder("whole", {"reference": corpora()["reference"][:4]})
    assert items(whole, np.arange(4), ROW)
    assert items(whole, np.arange(3), ROW) == []
    assert items(whole, np.arange(0), ROW) == []


def test_a_model_that_has_learnt_nothing_guesses(folder: Callable[..., Folder], make_decoder: Callable[..., Decoder]):
    whole = folder("whole")
    asked = items(whole, np.arange(len(whole)), ROW)
    good = sum(
        right(make_decoder(seed, vocab_size=whole.shards.vocabulary_size, initializer_range=0.02), asked, 0)
        for seed in range(3)
    )
    low, high = interval(good, 3 * len(asked))
    assert low < 0.25 < high


def test_an_answer_is_the_sum_over_its_tokens_alone(
    folder: Callable[..., Folder], make_decoder: Callable[..., Decoder]
):
    whole = folder("whole")
    decoder = make_decoder(1, vocab_size=whole.shards.vocabulary_size)
    item = items(whole, np.arange(len(whole)), ROW)[0]
    nats = answers(decoder, item, whole.shards.end_of_text)
    assert nats.shape == (ANSWERS,)
    swapped = type(item)(item.context, item.pieces[::-1])
    assert answers(decoder, swapped, whole.shards.end_of_text) == pytest.approx(nats[::-1], rel=1e-5)


@pytest.mark.parametrize(
    ("good", "asked", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (30, 100, 0.2189, 0.3958)]
)
def test_the_interval_is_wilsons(good: int, asked: int, low: float, high: float):
    assert interval(good, asked) == pytest.approx((low, high), abs=1e-4)
