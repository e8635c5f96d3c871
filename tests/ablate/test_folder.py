"""A folder as an arm: the random subset belongs to documents, not to their places; one tokenizer for all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ablate.folder import Folder, same_tokenizer
from ablate.held_out import held_out, limits, measured
from loader.choice import DataError
from pipeline.vocabulary import train_tokenizer
from tests.ablate.conftest import corpora
from tests.train.conftest import write_folder


def names(folder: Folder, chosen_D: np.ndarray) -> list[str]:
    shards = folder.shards
    ids = [one for shard in range(len(shards.infos)) for one in shards.documents(shard)["id"].to_pylist()]
    return sorted(ids[place] for place in np.flatnonzero(chosen_D))


@pytest.mark.parametrize("tokens", [1, 1000, 5000, 20_000])
def test_a_random_subset_has_the_tokens_asked_for_and_no_document_more(folder: Callable[..., Folder], tokens: int):
    whole = folder("whole")
    among_D = np.arange(len(whole)) % 5 > 0
    chosen_D = whole.drawn(tokens, 3, among_D)
    own = whole.tokens_D[chosen_D]
    assert not (chosen_D & ~among_D).any()
    assert own.sum() >= tokens > own.sum() - own.max()


def test_a_random_subset_does_not_depend_on_the_order_of_shards(folder: Callable[..., Folder]):
    one, three = folder("one", shards=1), folder("three", shards=3)
    every = [np.ones(len(one), bool)] * 2
    chosen = [names(whole, whole.drawn(9000, 1, among)) for whole, among in zip((one, three), every, strict=True)]
    assert chosen[0] == chosen[1]
    assert chosen[0] != names(one, one.drawn(9000, 2, every[0]))


def test_a_subset_of_more_than_there_is_is_all(folder: Callable[..., Folder]):
    whole = folder("whole")
    assert whole.drawn(10**9, 0, np.ones(len(whole), bool)).all()


def test_tokens_of_a_document_are_those_of_its_shard(folder: Callable[..., Folder]):
    whole = folder("whole", shards=3)
    read = np.concatenate([whole.tokens(document) for document in range(len(whole))])
    assert np.array_equal(read, np.concatenate([whole.shards.tokens(shard) for shard in range(3)]))
    assert len(whole.tokens(4, most=3)) == 3


def test_another_tokenizer_is_refused_and_both_are_named(folder: Callable[..., Folder], tmp_path: Path):
    texts = corpora()
    other = Folder.open(write_folder(tmp_path / "other", texts, train_tokenizer(texts["code"], 400)))
    mine = folder("mine")
    same_tokenizer({"curated": mine, "raw": folder("raw", shards=1)})
    with pytest.raises(DataError, match=r"raw \(.*other\) has the tokenizer .*, curated \(.*mine\).*path:"):
        same_tokenizer({"curated": mine, "raw": other})


def test_a_document_is_held_out_in_every_folder_or_in_none(folder: Callable[..., Folder]):
    curated = folder("curated")
    texts = corpora()
    raw = folder("raw", {**texts, "code": [*texts["code"], "more text"] * 2, "other": ["x y z"] * 9}, shards=1)
    limit = limits(curated, 4000)
    held = {name: set(names(one, held_out(one, limit))) for name, one in (("curated", curated), ("raw", raw))}
    assert held["curated"]
    assert held["curated"] == held["raw"] & {
        f"{corpus}-{i}" for corpus, ones in texts.items() for i in range(len(ones))
    }
    assert not any(name.startswith("other") for name in held["raw"])


def test_held_out_are_enough_to_measure_but_a_tenth_at_most(folder: Callable[..., Folder]):
    curated = folder("curated")
    held_D = held_out(curated, limits(curated, 10**6))
    for number, corpus in enumerate(curated.corpora):
        count, many = (held_D & (curated.corpus_D == number)).sum(), (curated.corpus_D == number).sum()
        assert 1 <= count <= many * 0.1, corpus
    found = measured(curated, held_D, 1)
    assert sorted(found) == ["code", "reference"]
    assert all(held_D[documents].all() for documents in found.values())
