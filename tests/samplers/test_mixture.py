"""The mixture reaches its shares with as many tokens as there can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from samplers.mixture import MixtureError, cuts

DOCUMENT = st.tuples(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
CORPORA = st.dictionaries(
    st.sampled_from(["web", "books", "code", "한국어"]), st.lists(DOCUMENT, min_size=1, max_size=40), min_size=1
)


def split(corpora: dict[str, list[tuple[int, float]]]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    tokens = {name: np.array([count for count, _ in documents], np.int64) for name, documents in corpora.items()}
    return tokens, {name: np.array([drawn for _, drawn in documents]) for name, documents in corpora.items()}


@settings(deadline=None)
@given(CORPORA, st.data())
def test_shares_are_reached_to_one_document_and_the_scarcest_corpus_is_kept_whole(
    corpora: dict[str, list[tuple[int, float]]], data: st.DataObject
) -> None:
    tokens, draws = split(corpora)
    assume(all(len(set(drawn.tolist())) == len(drawn) for drawn in draws.values()))
    shares = {name: data.draw(st.floats(0.01, 1)) for name in corpora}
    assume(all(counts.sum() > 0 for counts in tokens.values()))
    found = cuts(tokens, draws, shares)
    kept = {name: int(tokens[name][draws[name] < found[name]].sum()) for name in corpora}
    whole = min(tokens[name].sum() / shares[name] for name in corpora)
    for name in corpora:
        # the documents next to the cut: one more or one less would not be nearer
        assert abs(kept[name] - shares[name] * whole) <= tokens[name].max() / 2 + 1e-6 * whole
    assert any(found[name] == 1.0 or kept[name] == tokens[name].sum() for name in corpora)


@settings(deadline=None)
@given(CORPORA, st.randoms())
def test_neither_the_order_of_documents_nor_the_sum_of_shares_matters(
    corpora: dict[str, list[tuple[int, float]]], chance: object
) -> None:
    assume(all(sum(count for count, _ in documents) for documents in corpora.values()))
    shares = {name: 1.0 + position for position, name in enumerate(corpora)}
    found = cuts(*split(corpora), shares)
    for documents in corpora.values():
        chance.shuffle(documents)  # type: ignore[attr-defined]
    assert cuts(*split(corpora), {name: 8 * share for name, share in shares.items()}) == found


def test_documents_with_equal_draws_stay_together() -> None:
    tokens = {"web": np.array([10, 10, 10, 10]), "books": np.array([20])}
    draws = {"web": np.array([0.5, 0.5, 0.5, 0.9]), "books": np.array([0.1])}
    assert cuts(tokens, draws, {"web": 0.5, "books": 0.5}) == {"web": 0.9, "books": 1.0}


def test_a_share_of_nothing_keeps_nothing() -> None:
    tokens = {"web": np.array([5]), "code": np.array([7]), "empty": np.array([], np.int64)}
    draws = {"web": np.array([0.0]), "code": np.array([0.2]), "empty": np.array([])}
    assert cuts(tokens, draws, {"web": 0, "code": 1, "empty": 0}) == {"web": 0.0, "code": 1.0, "empty": 0.0}


def test_counts_of_a_narrow_type_do_not_overflow() -> None:
    tokens = {"web": np.full(200, 2**31 - 1, np.int32), "books": np.full(100, 2**31 - 1, np.int32)}
    draws = {name: np.arange(len(counts)) / len(counts) for name, counts in tokens.items()}
    assert cuts(tokens, draws, {"web": 1, "books": 1}) == {"web": 0.5, "books": 1.0}


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({"web": 1}, "'books' has no share"),
        ({"web": 1, "books": 1, "bokks": 1}, r"no corpus 'bokks'; there are \['books', 'web'\]"),
        ({"web": 1, "books": 1}, "'books' shall have a share of 1 and has no tokens left"),
        ({"web": -1, "books": 0}, "number from 0, not -1"),
        ({"web": float("nan"), "books": 0}, "number from 0, not nan"),
        ({"web": 0, "books": 0}, "all shares are 0"),
    ],
)
def test_shares_that_cannot_be_reached_are_named(shares: dict[str, float], words: str) -> None:
    tokens = {"web": np.array([3]), "books": np.array([], np.int64)}
    draws = {"web": np.array([0.5]), "books": np.array([])}
    with pytest.raises(MixtureError, match=words):
        cuts(tokens, draws, shares)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(MixtureError, match=r"'code' has no share.*'books'.*1 token counts and 0 draws"):
        cuts({"code": np.array([1])}, {"code": np.array([])}, {"books": 1})
