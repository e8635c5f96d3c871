"""Reciting: a model that knows its text by heart recites all of it, one that has read nothing recites nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ablate.folder import Folder
from ablate.memorisation import beginnings, greedy, recited
from ablate.study import read_often, settings_for
from tests.ablate.conftest import corpora
from train.config import Config
from train.generate import generate
from train.loop import train_step
from train.model import Decoder
from train.optim import optimiser


def test_a_model_that_knows_six_documents_by_heart_recites_them(
    folder: Callable[..., Folder], make_config: Callable[..., Config]
):
    texts = [" ".join(text.split()[:14]) for text in corpora()["reference"][:6]]
    whole = folder("whole", {"reference": texts})
    config = settings_for(make_config(learning_rate=5e-3, weight_decay=0.0), 300)
    data = read_often(whole, np.zeros(len(whole), bool), config.training, 300, 0)
    decoder = Decoder(config.model)
    decoder.initialise(0)
    end = whole.shards.end_of_text
    heard = beginnings(data, 300 * 4, 30)
    assert len(heard) == len(texts)
    assert {tuple(one) for one in heard.tolist()} == {tuple(whole.tokens(d, 30).tolist()) for d in range(len(whole))}
    before = recited(decoder, heard, end)
    moves = optimiser(decoder, config.training)
    assert before.exact == 0
    for step in range(300):
        if train_step(decoder, moves, data.batch(step * 4, 4), step, config).loss < 0.06:
            break
    after = recited(decoder, heard, end)
    assert (after.documents, after.exact, after.tokens) == (6, 6, 1.0)


def test_only_what_was_read_is_asked_for(folder: Callable[..., Folder], make_config: Callable[..., Config]):
    whole = folder("whole")
    settings = make_config().training
    data = read_often(whole, np.zeros(len(whole), bool), settings, 8, 0)
    assert len(beginnings(data, 0, 20)) == 0
    read = {document for place in range(8) for document in data.trace(place, 1)[0]}
    heard = beginnings(data, 8, 20)
    ids = {piece.document for piece in read}
    assert 1 <= len(heard) <= len(ids)
    assert {tuple(one) for one in heard.tolist()} <= {tuple(whole.tokens(document, 20).tolist()) for document in ids}


def test_a_document_is_asked_for_also_where_a_longer_one_shares_its_row(
    folder: Callable[..., Folder], make_config: Callable[..., Config]
):
    texts = [" ".join(text.split()[: 5 + number]) for number, text in enumerate(corpora()["reference"][:9])]
    whole = folder("whole", {"reference": texts})
    data = read_often(whole, np.zeros(len(whole), bool), make_config().training, 1, 0)
    assert data.rows_per_epoch < len(texts)  # several share a row
    heard = beginnings(data, data.rows_per_epoch, 8)
    assert len(heard) == len(texts)


def test_many_at_once_write_what_one_writes_alone(make_decoder: Callable[..., Decoder]):
    decoder = make_decoder(2)
    prompts = np.random.default_rng(0).integers(1, 97, (5, 7))
    written = greedy(decoder, prompts, 9, 0)
    for prompt, one in zip(prompts.tolist(), written.tolist(), strict=True):
        assert generate(decoder, [0, *prompt], 9, 0.0, 0) == one
