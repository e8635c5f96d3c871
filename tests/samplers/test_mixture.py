"""The mixture reaches its shares with as many tokens as there can be, however the documents are dealt out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from samplers.mixture import BINS, MixtureError, bins_of, cut, open_bin, targets, weigh

DOCUMENT = st.tuples(st.integers(0, 10_000), st.one_of(st.floats(0, 1, exclude_max=True), st.floats(0.3, 0.302)))
CORPORA = st.dictionaries(
    st.sampled_from(["web", "books", "code", "한국어"]), st.lists(DOCUMENT, min_size=1, max_size=40), min_size=1
)
Arrays = dict[str, np.ndarray]


def split(corpora: dict[str, list[tuple[int, float]]]) -> tuple[Arrays, Arrays]:
    tokens = {name: np.array([count for count, _ in documents], np.int64) for name, documents in corpora.items()}
    return tokens, {name: np.array([drawn for _, drawn in documents]) for name, documents in corpora.items()}


def cuts(tokens: Arrays, draws: Arrays, shares: dict[str, float], parts: int = 3) -> dict[str, float]:
    """Return the cuts as the stages find them: from weights of parts, and then from the open bins alone."""
    weights = {
        name: sum((weigh(tokens[name][part::parts], draws[name][part::parts]) for part in range(parts)), np.zeros(BINS))
        for name in tokens
    }
    wanted = targets({name: int(own.sum()) for name, own in weights.items()}, shares)
    found = {}
    for name, target in wanted.items():
        opened = open_bin(weights[name].astype(np.int64), target)
        inside = bins_of(draws[name]) == opened.bin
        found[name] = cut(tokens[name][inside], draws[name][inside], opened)
    return found


def kept(tokens: Arrays, draws: Arrays, found: dict[str, float]) -> dict[str, list[int]]:
    return {name: np.flatnonzero(draws[name] < found[name]).tolist() for name in tokens}


def in_one_go(tokens: Arrays, draws: Arrays, shares: dict[str, float]) -> dict[str, float]:
    """The naive twin: every document of a corpus in one place, sorted by its draw."""
    whole = min(tokens[name].sum() / share for name, share in shares.items() if share > 0)
    found = {}
    for name, share in shares.items():
        ladder = sorted(set(draws[name].tolist()))
        sums = [int(tokens[name][draws[name] < rung].sum()) for rung in [*ladder, 1.0]]
        nearest = int(np.argmin([abs(total - whole * share) for total in sums]))
        found[name] = [*ladder, 1.0][nearest] if share > 0 else 0.0
    return found


@settings(deadline=None)
@given(CORPORA, st.data(), st.integers(1, 5))
def test_looking_in_one_bin_keeps_what_looking_at_everything_keeps(corpora, data, parts):
    tokens, draws = split(corpora)
    shares = {name: data.draw(st.sampled_from([0, 1, 2, 3, 5, 8])) for name in corpora}
    assume(any(shares.values()))
    assume(all(tokens[name].sum() > 0 for name, share in shares.items() if share))
    found, naive = cuts(tokens, draws, shares, parts), in_one_go(tokens, draws, shares)
    for name in corpora:
        ours, theirs = (tokens[name][draws[name] < found_[name]].sum() for found_ in (found, naive))
        assert ours == theirs


@settings(deadline=None)
@given(CORPORA, st.data())
def test_shares_are_reached_to_one_document_and_the_scarcest_corpus_is_kept_whole(corpora, data) -> None:
    tokens, draws = split(corpora)
    assume(all(len(set(drawn.tolist())) == len(drawn) for drawn in draws.values()))
    shares = {name: data.draw(st.floats(0.01, 1)) for name in corpora}
    assume(all(counts.sum() > 0 for counts in tokens.values()))
    found = cuts(tokens, draws, shares)
    sums = {name: int(tokens[name][draws[name] < found[name]].sum()) for name in corpora}
    whole = min(tokens[name].sum() / shares[name] for name in corpora)
    for name in corpora:
        # the documents next to the cut: one more or one less would not be nearer
        assert abs(sums[name] - shares[name] * whole) <= tokens[name].max() / 2 + 1e-6 * whole
    assert any(sums[name] == tokens[name].sum() for name in corpora)


@settings(deadline=None)
@given(CORPORA, st.randoms())
def test_neither_the_order_of_documents_nor_the_sum_of_shares_matters(corpora, chance) -> None:
    assume(all(sum(count for count, _ in documents) for documents in corpora.values()))
    shares = {name: 1.0 + position for position, name in enumerate(corpora)}
    found = cuts(*split(corpora), shares)
    for documents in corpora.values():
        chance.shuffle(documents)
    assert cuts(*split(corpora), {name: 8 * share for name, share in shares.items()}) == found


def test_documents_with_equal_draws_stay_together() -> None:
    tokens = {"web": np.array([10, 10, 10, 10]), "books": np.array([20])}
    draws = {"web": np.array([0.5, 0.5, 0.5, 0.9]), "books": np.array([0.1])}
    found = cuts(tokens, draws, {"web": 0.5, "books": 0.5})
    assert kept(tokens, draws, found) == {"web": [0, 1, 2], "books": [0]}


def test_a_share_of_nothing_keeps_nothing() -> None:
    tokens = {"web": np.array([5]), "code": np.array([7]), "empty": np.array([], np.int64)}
    draws = {"web": np.array([0.0]), "code": np.array([0.2]), "empty": np.array([])}
    found = cuts(tokens, draws, {"web": 0, "code": 1, "empty": 0})
    assert kept(tokens, draws, found) == {"web": [], "code": [0], "empty": []}


def test_counts_of_a_narrow_type_do_not_overflow() -> None:
    tokens = {"web": np.full(200, 2**31 - 1, np.int32), "books": np.full(100, 2**31 - 1, np.int32)}
    draws = {name: np.arange(len(counts)) / len(counts) for name, counts in tokens.items()}
    found = cuts(tokens, draws, {"web": 1, "books": 1})
    assert {name: len(rows) for name, rows in kept(tokens, draws, found).items()} == {"web": 100, "books": 100}


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
    with pytest.raises(MixtureError, match=words):
        targets({"web": 3, "books": 0}, shares)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(MixtureError, match=r"'code' has no share.*no corpus 'books'"):
        targets({"code": 1}, {"books": 1})
