"""Laws of the data: each token is learned once an epoch, held-out documents never, and a place is a place."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.choice import DataError, held_out
from loader.rows import IGNORED, Batch
from loader.stream import TrainingData, rank_rows
from pipeline.shards import Shards

ROW = 64


@pytest.fixture(scope="module")
def shards(shards_folder: Path) -> Shards:
    return Shards.open(shards_folder)


@pytest.fixture(scope="module")
def read(shards: Shards) -> TrainingData:
    return TrainingData(shards, ROW, seed=3)


def documents(shards: Shards) -> dict[tuple[str, str], list[int]]:
    found = {}
    for number in range(len(shards.infos)):
        about, offsets = shards.documents(number), shards.offsets(number)
        for place, (corpus, one) in enumerate(
            zip(about.column("corpus").to_pylist(), about.column("id").to_pylist(), strict=True)
        ):
            found[corpus, one] = shards.tokens(number)[offsets[place] : offsets[place + 1]].tolist()
    return found


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def test_an_epoch_learns_every_token_of_the_documents_once_and_no_other(shards: Shards, read: TrainingData) -> None:
    whole = read.batch(0, read.rows_per_epoch)
    learned = Counter(whole.targets_BT[whole.targets_BT != IGNORED].tolist())
    due: Counter[int] = Counter()
    for (corpus, one), tokens in documents(shards).items():
        if not held_out_by_id(shards, corpus)[one]:
            due.update(tokens)
    assert learned == due
    assert whole.tokens / whole.targets_BT.size > 0.98


def held_out_by_id(shards: Shards, corpus: str) -> dict[str, bool]:
    ids = [one for name, one in documents(shards) if name == corpus]
    return dict(zip(ids, held_out(corpus, ids).tolist(), strict=True))


def test_rows_spell_the_documents_they_are_traced_to(shards: Shards, read: TrainingData) -> None:
    texts = documents(shards)
    batch, trace = read.batch(5, 40), read.trace(5, 40)
    for inputs, targets, numbers, pieces in zip(*vars(batch).values(), trace, strict=True):
        place = 0
        for number, piece in enumerate(pieces):
            part = slice(place, place + piece.tokens)
            tokens = [shards.end_of_text, *texts[piece.corpus, piece.id]]
            assert targets[part].tolist() == tokens[piece.start + 1 : piece.start + 1 + piece.tokens]
            assert inputs[part].tolist() == tokens[piece.start : piece.start + piece.tokens]
            assert set(numbers[part]) == {number}
            assert piece.source == f"{piece.corpus}.txt"
            place += piece.tokens
        assert (targets[place:] == IGNORED).all()


def test_held_out_documents_are_never_trained_on(shards: Shards, read: TrainingData) -> None:
    seen = {(piece.corpus, piece.id) for row in read.trace(0, 2 * read.rows_per_epoch) for piece in row}
    for corpus in ("code", "reference"):
        out = {(corpus, one) for one, is_out in held_out_by_id(shards, corpus).items() if is_out}
        assert out
        assert not out & seen
    assert seen | {key for key in documents(shards) if held_out_by_id(shards, key[0])[key[1]]} == set(documents(shards))


def test_held_out_rows_are_those_of_the_held_out_documents(shards: Shards, read: TrainingData) -> None:
    for corpus in ("code", "reference"):
        batch, _ = read.evaluation(corpus, 10_000)
        due: Counter[int] = Counter()
        for one, is_out in held_out_by_id(shards, corpus).items():
            due.update(documents(shards)[corpus, one] if is_out else [])
        assert Counter(batch.targets_BT[batch.targets_BT != IGNORED].tolist()) == due


@given(ids=st.lists(st.text(max_size=8), max_size=60))
def test_some_id_is_held_out_and_some_is_not_where_there_are_two(ids: list[str]) -> None:
    out = held_out("web", ids)
    assert len(out) == len(ids)
    if len(set(ids)) > 1:
        assert out.any()
        assert not out.all()
    else:
        assert not out.any()
    assert dict(zip(ids, out, strict=True)) == {one: out[ids.index(one)] for one in ids}  # same id, same side


def test_about_one_and_a_half_percent_is_held_out_and_corpora_differ() -> None:
    ids = [str(number) for number in range(40_000)]
    web, books = held_out("web", ids), held_out("books", ids)
    assert 0.013 < web.mean() < 0.017
    assert (web & books).mean() < 0.002


@given(cuts=st.lists(st.integers(0, 30), max_size=4))
def test_batches_of_any_size_read_the_same_stream(read: TrainingData, cuts: list[int]) -> None:
    edges = sorted({0, 30, *cuts})
    whole = read.batch(11, 30)
    for first, end in itertools.pairwise(edges):
        assert same(read.batch(11 + first, end - first), whole[first:end])


def test_any_number_of_ranks_reads_the_same_stream(read: TrainingData) -> None:
    whole = read.batch(8, 8)
    for ranks in (4, 7, 1, 5):
        parts = [whole[rank_rows(8, rank, ranks)] for rank in range(ranks)]
        assert sum(len(part) for part in parts) == 8
        assert np.array_equal(np.concatenate([part.inputs_BT for part in parts]), whole.inputs_BT)


def test_epochs_and_seeds_change_the_order_and_not_the_content(shards: Shards, read: TrainingData) -> None:
    count = read.rows_per_epoch
    first, second = read.batch(0, count), read.batch(count, count)
    other = TrainingData(shards, ROW, seed=4).batch(0, count)
    for later in (second, other):
        assert not same(first, later)
        assert sorted(map(tuple, first.targets_BT)) == sorted(map(tuple, later.targets_BT))


def test_a_batch_may_reach_into_the_next_epoch(read: TrainingData) -> None:
    count = read.rows_per_epoch
    across = read.batch(count - 2, 5)
    assert same(across[:2], read.batch(count - 2, 2))
    assert same(across[2:], read.batch(count, 3))


def test_every_corpus_has_its_share_of_every_stretch(read: TrainingData) -> None:
    count = read.rows_per_epoch
    corpora = [row[0].corpus for row in read.trace(0, count)]
    share = corpora.count("code") / count
    for end in range(1, count + 1):
        assert abs(corpora[:end].count("code") - share * end) < 1


def test_how_documents_lie_in_shards_does_not_change_what_is_held_out(
    shards: Shards, tokenizer_json: bytes, tmp_path: Path, folder_of: Callable[..., Path]
) -> None:
    other = TrainingData(Shards.open(folder_of(tmp_path / "other", tokenizer_json, 5)), ROW, seed=3)
    seen = {(piece.corpus, piece.id) for row in other.trace(0, other.rows_per_epoch) for piece in row}
    mine = TrainingData(shards, ROW, seed=3)
    assert seen == {(piece.corpus, piece.id) for row in mine.trace(0, mine.rows_per_epoch) for piece in row}


def test_shards_without_tokens_are_refused(
    tokenizer_json: bytes, tmp_path: Path, folder_of: Callable[..., Path]
) -> None:
    empty = Shards.open(folder_of(tmp_path / "empty", tokenizer_json, 1, texts={}))
    with pytest.raises(DataError, match="no tokens to train on"):
        TrainingData(empty, ROW, seed=1)


def test_a_corpus_of_one_document_is_trained_on(
    tokenizer_json: bytes, tmp_path: Path, folder_of: Callable[..., Path]
) -> None:
    folder = folder_of(tmp_path / "one", tokenizer_json, 1, texts={"book": ["all of it " * 40]})
    one = TrainingData(Shards.open(folder), ROW, seed=1)
    assert one.corpora == ["book"]
    assert not one.held_out
