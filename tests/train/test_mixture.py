"""Laws of what a training reads of which corpus: exact shares, bounded epochs, and code whose middle comes last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.choice import DataError
from loader.infill import MARKS
from loader.order import mixed
from loader.rows import IGNORED
from loader.stream import TrainingData
from pipeline.shards import INFILLING, Shards
from pipeline.tokens import Tokenizer
from tests.train.test_data import documents, held_out_by_id, same
from train.about import CheckpointError
from train.config import Config
from train.loop import train

ROW = 64


@pytest.fixture(scope="module")
def shards(shards_folder: Path) -> Shards:
    return Shards.open(shards_folder)


TURNS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 40)), min_size=1, max_size=4)


@settings(deadline=None)
@given(TURNS)
def test_every_corpus_has_all_its_turns_and_its_share_until_one_is_exhausted(given: list[tuple[int, int]]) -> None:
    turns, most = np.array([one for one, _ in given]), np.array([other for _, other in given])
    stretches, end = mixed(turns, most)
    total = np.zeros(len(turns), np.int64)
    for stretch, stop in zip(stretches, [*(later.start for later in stretches[1:]), end], strict=True):
        here = stretch.place_S[np.arange(stop - stretch.start) % len(stretch.place_S)]
        had = np.cumsum(here[:, None] == np.arange(len(turns)), axis=0)
        due = np.arange(1, len(here) + 1)[:, None] * stretch.turns_C / stretch.turns_C.sum()
        assert (abs(had - due) < 1).all()
        assert (stretch.had_C == total).all()
        assert ((stretch.turns_C > 0) == (total < most)).all()
        assert (stretch.turns_C[total < most] == turns[total < most]).all()
        total += had[-1]
    assert (total == most).all()


def test_shares_of_a_mixture_hold_to_within_a_row_and_epochs_are_whole(shards: Shards) -> None:
    data = TrainingData(shards, ROW, 3, mixture={"code": 0.25, "reference": 0.75}, epochs=3)
    end = data.exhausted[0][0]
    read = data.trace(0, end)
    had = np.cumsum([row[0].corpus == "reference" for row in read])
    assert (abs(had - 0.75 * np.arange(1, end + 1)) <= 1).all()
    assert data.exhausted[0][1] == ["reference"]
    whole = TrainingData(shards, ROW, 3).rows_per_epoch
    assert data.rows == 3 * whole == 3 * data.rows_per_epoch
    rows = Counter(tuple((piece.document, piece.start) for piece in row) for row in data.trace(0, data.rows))
    assert set(rows.values()) == {3}


def test_an_epoch_reads_every_row_of_a_corpus_before_the_next_begins(shards: Shards) -> None:
    data = TrainingData(shards, ROW, 3, mixture={"code": 1, "reference": 9}, epochs=2, corpus_epochs={"code": 1})
    rows = [row for row in data.trace(0, data.rows) if row[0].corpus == "reference"]
    half = len(rows) // 2
    assert Counter(map(tuple, rows[:half])) == Counter(map(tuple, rows[half:]))
    assert rows[:half] != rows[half:]


def test_a_corpus_without_a_share_is_not_read(shards: Shards) -> None:
    data = TrainingData(shards, ROW, 3, mixture={"code": 1.0}, epochs=1)
    assert {row[0].corpus for row in data.trace(0, data.rows)} == {"code"}


def test_batches_across_the_end_of_a_stretch_read_the_same_stream(shards: Shards) -> None:
    data = TrainingData(shards, ROW, 3, mixture={"code": 0.5, "reference": 0.5}, epochs=2)
    end = data.exhausted[0][0]
    across = data.batch(end - 3, 9)
    assert same(across[:3], data.batch(end - 3, 3))
    assert same(across[3:], data.batch(end, 6))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mixture": {"web": 1.0}}, "no corpus to train on is called 'web'; there are code, reference"),
        ({"mixture": {"code": -1.0, "reference": 2.0}}, "numbers from 0 on"),
        ({"mixture": {"code": 0.0}}, "numbers from 0 on"),
        ({"mixture": {"code": float("nan")}}, "numbers from 0 on"),
        ({"corpus_epochs": {"web": 1}}, "called 'web'"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(shards: Shards, given: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TrainingData(shards, ROW, 3, **given)


def test_more_steps_than_the_data_has_are_refused_before_the_first(
    shards: Shards, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    rows = TrainingData(shards, ROW, 3).rows
    with pytest.raises(DataError, match=rf"the corpora give {rows:,}, read at most 4 times each: {rows // 4} steps"):
        train(shards, tmp_path, make_config(steps=rows // 4 + 1, infill_share=0.0), 3, quiet=True)
    with pytest.raises(DataError, match="read as often as it may be"):
        TrainingData(shards, ROW, 3).batch(rows - 1, 2)


@pytest.fixture(scope="module")
def filled(shards: Shards) -> TrainingData:
    return TrainingData(shards, ROW, 3, infill_share=0.5)


def restored(tokens: list[int], marks: tuple[int, ...]) -> list[int]:
    """Put the middle back where it was."""
    begin, hole, end = (tokens.index(mark) for mark in marks)
    assert begin == 0
    last = len(tokens)
    middle = tokens[end + 1 : last]
    tail = middle[-1:] if middle and middle[-1] == 0 else []
    return tokens[1:hole] + middle[: len(middle) - len(tail)] + tokens[hole + 1 : end] + tail


def test_filled_documents_say_all_their_tokens_with_the_middle_last(shards: Shards, filled: TrainingData) -> None:
    texts, marks = documents(shards), shards.infilling
    assert marks is not None
    assert shards.end_of_text == 0
    found: Counter[bool] = Counter()
    whole, trace = filled.batch(0, filled.rows_per_epoch), filled.trace(0, filled.rows_per_epoch)
    for inputs, targets, numbers, pieces in zip(*vars(whole).values(), trace, strict=True):
        place = 0
        for number, piece in enumerate(pieces):
            size = piece.tokens + MARKS * piece.infilled
            own = targets[place : place + size].tolist()
            due = texts[piece.corpus, piece.id][piece.start : piece.start + piece.tokens]
            if piece.infilled:
                assert piece.corpus == "code"
                assert restored(own, marks) == due
                assert inputs[place + 1 : place + size].tolist() == own[:-1]
            else:
                assert own == due
            assert set(numbers[place : place + size]) == {number}
            found[piece.infilled] += 1
            place += size
        assert (targets[place:] == IGNORED).all()
    assert min(found.values()) > 20


def test_an_epoch_learns_every_token_once_and_the_marks_beside_them(shards: Shards, filled: TrainingData) -> None:
    whole = filled.batch(0, filled.rows_per_epoch)
    learned = Counter(whole.targets_BT[whole.targets_BT != IGNORED].tolist())
    marks = [learned.pop(mark) for mark in shards.infilling or ()]
    assert len(set(marks)) == 1
    due: Counter[int] = Counter()
    for (corpus, one), tokens in documents(shards).items():
        if not held_out_by_id(shards, corpus)[one]:
            due.update(tokens)
    assert learned == due


def test_epochs_cut_the_same_documents_elsewhere(shards: Shards, filled: TrainingData) -> None:
    count = filled.rows_per_epoch

    def cuts(epoch: int) -> dict[tuple[int, int], tuple[int, ...]]:
        batch, trace = filled.batch(epoch * count, count), filled.trace(epoch * count, count)
        found = {}
        for targets, pieces in zip(batch.targets_BT, trace, strict=True):
            place = 0
            for piece in pieces:
                size = piece.tokens + MARKS * piece.infilled
                if piece.infilled:
                    found[piece.document, piece.start] = tuple(targets[place : place + size].tolist())
                place += size
        return found

    first, second = cuts(0), cuts(1)
    assert first.keys() == second.keys()
    assert sum(first[key] != second[key] for key in first) > len(first) // 2
    other = TrainingData(shards, ROW, 4, infill_share=0.5)
    chosen = {p.document for row in other.trace(0, other.rows_per_epoch) for p in row if p.infilled}
    assert chosen != {document for document, _ in first}


def test_a_tenth_is_filled_whatever_the_order_of_the_shards(
    shards: Shards, tokenizer_json: bytes, tmp_path: Path, folder_of: Callable[..., Path]
) -> None:
    other = Shards.open(folder_of(tmp_path / "other", tokenizer_json, 5))
    chosen = []
    for one in (shards, other):
        data = TrainingData(one, ROW, 3, infill_share=0.1)
        chosen.append({p.id for row in data.trace(0, data.rows_per_epoch) for p in row if p.infilled})
    assert chosen[0] == chosen[1]
    assert 0 < len(chosen[0]) < 30


def test_all_of_the_code_may_be_filled_and_none(shards: Shards) -> None:
    for share, many in ((0.0, set()), (1.0, {"code"})):
        data = TrainingData(shards, ROW, 3, infill_share=share)
        pieces = [piece for row in data.trace(0, data.rows_per_epoch) for piece in row]
        assert {piece.corpus for piece in pieces if piece.infilled} == many
        assert {piece.corpus for piece in pieces if not piece.infilled} == {"code", "reference"} - many


def test_held_out_rows_and_tokenizers_without_marks_are_read_as_they_are(
    shards: Shards, filled: TrainingData, tokenizer_json: bytes, tmp_path: Path, folder_of: Callable[..., Path]
) -> None:
    plain = TrainingData(shards, ROW, 3)
    for corpus in plain.held_out:
        assert same(plain.evaluation(corpus, 99)[0], filled.evaluation(corpus, 99)[0])
    bare = tokenizer_json.replace(b"<|fim_prefix|>", b"<|something|>")
    without = Shards.open(folder_of(tmp_path / "bare", bare, 2))
    assert without.infilling is None
    assert same(
        TrainingData(without, ROW, 3, infill_share=0.9).batch(0, 20), TrainingData(without, ROW, 3).batch(0, 20)
    )


@pytest.mark.parametrize("names", INFILLING)
def test_marks_are_found_under_any_of_their_names(
    names: tuple[str, ...], tokenizer_json: bytes, tmp_path: Path, folder_of: Callable[..., Path]
) -> None:
    named = tokenizer_json
    for ours, theirs in zip(INFILLING[0], names, strict=True):
        named = named.replace(ours.encode(), theirs.encode())
    assert Shards.open(folder_of(tmp_path / "named", named, 1)).infilling == (1, 2, 3)
    assert Tokenizer.from_json(named).decode([1, 2, 3]) == "".join(names)


def test_a_run_with_both_resumes_to_the_bit_and_refuses_another_mixture(
    shards: Shards, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    given = {"infill_share": 0.5, "mixture": {"code": 0.9, "reference": 0.1}, "checkpoint_every": 3}
    straight = train(shards, tmp_path / "a", make_config(steps=6, **given), 5, quiet=True)
    train(shards, tmp_path / "b", make_config(steps=6, **given), 5, quiet=True)
    (tmp_path / "b" / "step-00000006").rename(tmp_path / "gone")
    resumed = train(shards, tmp_path / "b", make_config(steps=6, **given), 5, resume=True, quiet=True)
    assert resumed.last == straight.last
    with pytest.raises(CheckpointError, match=r"config\.training\.mixture\.reference is 0\.1 there and None here"):
        train(shards, tmp_path / "b", make_config(steps=6, **{**given, "mixture": {"code": 0.9}}), 5, True, quiet=True)
