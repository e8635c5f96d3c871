"""Deduplication by its laws: who goes is like who stays, whatever the order, and the walk is its naive twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.kernels import near
from pipeline.dedup import Members, hash_rows, links, walk
from tests.pipeline.sketched import (
    VOCABULARY,
    components,
    deduplicate,
    families,
    hold_to_the_laws,
    jaccard,
    same,
    sketch,
    take,
)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_removed_resemble_their_survivor_and_the_kept_are_a_fixed_point(seed, threshold):
    sketched = sketch(families(150, seed))
    removed = deduplicate(sketched, threshold)
    assert 5 < len(removed.node) < 130
    hold_to_the_laws(sketched, threshold, removed)


@pytest.mark.parametrize("threshold", [None, 0.8])
def test_neither_order_nor_buckets_nor_pieces_change_what_is_removed(threshold):
    texts = families(300, 5) + families(100, 5)[:40] + ["", "", "one two", "one two"]
    sketched = sketch(texts, nodes=np.random.default_rng(1).permutation(len(texts)).astype(np.int64) << 32)
    expected = deduplicate(sketched, threshold)
    assert expected.exact.sum() > 10
    for seed, (buckets, pieces) in enumerate([(1, 1), (2, 5), (97, 2), (8, 40)]):
        assert same(deduplicate(sketched, threshold, buckets, pieces, seed), expected)


def naive(members: Members, threshold: float) -> dict[int, int]:
    """The walk as its docstring says it, with Python's sets: removed node → survivor."""
    rows = sorted(
        range(len(members.node)),
        key=lambda i: (members.priority[i], -members.characters[i], members.content[i].tobytes(), members.node[i]),
    )
    kept: list[int] = []
    found: dict[int, int] = {}
    firsts: dict[bytes, int] = {}
    for row in rows:
        node, content = int(members.node[row]), members.content[row].tobytes()
        if content in firsts:
            found[node] = found.get(firsts[content], firsts[content])
            continue
        firsts[content] = node
        best = (threshold, 0, -1)
        for rank, other in enumerate(kept):
            if set(members.bands[row].tolist()) & set(members.bands[other].tolist()):
                similarity = jaccard(members, node, int(members.node[other]))
                if similarity >= threshold:
                    best = max(best, (similarity, -rank, int(members.node[other])))
        if best[2] >= 0:
            found[node] = best[2]
        else:
            kept.append(row)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_walk_is_its_naive_twin(seed):
    random = np.random.default_rng(seed)
    texts = families(60, seed + 10)
    sketched = sketch([*texts, *texts[:10]], priority=random.integers(0, 3, 70).tolist())
    removed = walk(sketched.members, 0.7)
    assert dict(zip(removed.node.tolist(), removed.survivor.tolist(), strict=True)) == naive(sketched.members, 0.7)


def test_who_stays_is_of_the_first_corpus_then_the_longest():
    base = " ".join(VOCABULARY[:60])
    texts = [base, base + " and so", base, "Some other text that resembles none of these at all."]
    removed = deduplicate(sketch(texts, priority=[1, 1, 0, 0]))
    assert removed.node.tolist() == [0, 1]
    assert removed.survivor.tolist() == [2, 2]
    assert removed.exact.tolist() == [True, False]
    removed = deduplicate(sketch(texts))
    assert removed.node.tolist() == [0, 2]
    assert removed.survivor.tolist() == [1, 1]
    assert not removed.exact.any()  # copies of a near duplicate name the one that stays, not each other
    assert (removed.similarity == np.float32(56 / 58)).all()


def test_without_a_threshold_only_copies_go():
    removed = deduplicate(sketch(["a b c d e f", "a b c d e f.", "a b c d e f", "", ""]), None)
    assert removed.node.tolist() == [2, 4] or removed.survivor.tolist() == [0, 3]
    assert removed.exact.all()


def test_short_texts_are_duplicates_only_of_their_copies():
    texts = ["Page not found", "page not found!", "Page not found", "", " ", ""]
    removed = deduplicate(sketch(texts))
    assert removed.node.tolist() == [2, 5]
    assert removed.survivor.tolist() == [0, 3]


def test_nothing_comes_of_nothing():
    empty = sketch([])
    bounds, rows = hash_rows(np.zeros(0, np.int64), empty.content, empty.bands, 4)
    assert (bounds.tolist(), len(rows)) == ([0] * 5, 0)
    assert len(links(np.zeros(0, np.uint64), np.zeros(0, np.int64))) == 0
    assert [array.tolist() for array in components([], 5)] == [[], []]
    again = Members.from_batch(empty.members.to_batch(), np.zeros(0, np.uint64))
    assert len(walk(Members.concat([again]), 0.8).node) == 0


def test_what_an_earlier_run_kept_stays_and_comes_first():
    base = " ".join(VOCABULARY[:60])
    texts = [base, base + " and so", base + " and so on and on", base + " and so on and on", "a b c d e", "a b c d e"]
    members = sketch(texts).members
    fixed = replace(members, fixed=np.array([1, 1, 0, 0, 1, 1], np.int8))
    removed = walk(fixed, 0.8)
    assert removed.node.tolist() == [2, 3]
    assert removed.survivor.tolist() == [1, 1]
    assert walk(fixed, None).node.tolist() == [3]


def test_the_preferred_stays_before_priority_and_length():
    base = " ".join(VOCABULARY[:60])
    members = sketch([base + " and", base, base + " and so on"], priority=[0, 1, 1]).members
    for best in range(3):
        preference = np.where(np.arange(3) == best, -1.0, np.inf)
        removed = walk(replace(members, preference=preference), 0.8)
        assert set(removed.survivor.tolist()) == {best}
        assert len(removed.node) == 2


def packed(members: Members) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.uint64), *(members.shingles(row) for row in range(len(members.node)))])


def test_members_come_back_from_a_batch_and_from_their_parts():
    sketched = sketch(["one two three four five six", "no", *families(20, 3)])
    for members in (sketched.members, take(sketched.members, np.arange(5, 15))):
        parts = [take(members, part) for part in np.array_split(np.arange(len(members.node)), 3)]
        batches = [part.to_batch().append_column("id", pa.array(["x"] * len(part.node))) for part in parts]
        read = [Members.from_batch(batch, packed(part)) for batch, part in zip(batches, parts, strict=True)]
        again = Members.concat(read)
        assert np.array_equal(packed(again), packed(members))
        for name in set(vars(members)) - {"address", "held"}:
            assert np.array_equal(getattr(again, name), getattr(members, name)), name
            assert getattr(again, name).dtype == getattr(members, name).dtype, name


def test_exact_members_have_no_bands_and_travel_too():
    members = take(sketch(["a b c d e", "f g h i j", ""]).members, np.array([0, 1, 2, 0]))
    bare = replace(members, node=np.arange(4), bands=np.zeros((4, 0), np.uint64))
    again = Members.concat([Members.from_batch(bare.to_batch(), packed(bare))])
    assert again.bands.shape == (4, 0)
    assert walk(again, None).node.tolist() == [3]


@pytest.mark.parametrize("together", [1, 7, 50])
def test_components_walked_together_or_one_by_one_give_the_same(monkeypatch, together):
    sketched = sketch(families(200, 9))
    expected = deduplicate(sketched)
    monkeypatch.setattr("pipeline.dedup.TOGETHER", together)
    assert same(deduplicate(sketched), expected)


@given(st.lists(st.sets(st.integers(0, 60), max_size=40), min_size=2, max_size=2), st.floats(0.01, 1))
@settings(max_examples=300, deadline=None)
def test_similarity_is_that_of_sets_or_below_the_bar(sets, bar):
    numbers = np.array([*sorted(sets[0]), *sorted(sets[1]), 0], np.uint64)
    size = np.array([len(sets[0]), len(sets[1])])
    address = numbers.ctypes.data + 8 * np.array([0, len(sets[0])])
    parities = np.zeros((2, near.PARITY_WORDS), np.uint64)
    for row in range(2):
        near.note_parities(address[row], size[row], parities[row])
    union = len(sets[0] | sets[1])
    exact = len(sets[0] & sets[1]) / union if union else 0
    if union:
        assert near.most_alike(size, parities, 0, 1) >= exact
        assert near.similarity(address, size, 0, 1, bar) == (exact if exact >= bar else -1)


def test_a_hash_that_everybody_shares_costs_no_square_and_spoils_no_law():
    """20,000 unrelated members, all with one band hash in common: at most CANDIDATES comparisons each."""
    random = np.random.default_rng(2)
    count, size, close, far = 20_000, 30, near.CANDIDATES // 2, near.CANDIDATES * 5
    hashes = random.integers(0, 1 << 63, (count, 14), dtype=np.uint64)
    hashes[:, 3] = 99
    numbers = np.sort(random.integers(0, 1 << 63, (count, size), dtype=np.uint64), axis=1)
    numbers[close] = numbers[0]
    numbers[10 + far] = numbers[10]
    members = Members(
        component=np.zeros(count, np.int64),
        node=np.arange(count),
        fixed=np.zeros(count, np.int8),
        preference=np.zeros(count),
        priority=np.zeros(count, np.int32),
        characters=count - np.arange(count),
        content=random.integers(0, 256, (count, 16), dtype=np.uint8),
        bands=hashes,
        size=np.full(count, size),
        address=numbers.ctypes.data + 8 * size * np.arange(count),
        held=(numbers,),
    )
    removed = walk(members, 0.8)
    assert (removed.node.tolist(), removed.survivor.tolist()) == ([close], [0])
    assert len(walk(take(members, np.delete(np.arange(count), close)), 0.8).node) == 0


def test_a_copy_that_shares_a_rare_hash_is_found_behind_any_number_that_share_common_ones():
    """Four hashes that all members have come first, and the copied one was kept more than CANDIDATES before its copy."""
    random = np.random.default_rng(4)
    count, size = near.CANDIDATES + 100, 20
    bands = random.integers(0, 1 << 63, (count, 6), dtype=np.uint64)
    bands[:, :4] = [11, 12, 13, 14]
    numbers = np.sort(random.integers(0, 1 << 63, (count, size), dtype=np.uint64), axis=1)
    numbers[-1], bands[-1, 5] = numbers[3], bands[3, 5]
    first, address = np.arange(count), numbers.ctypes.data + 8 * size * np.arange(count)
    survivor, similarity = near.walk(first, np.zeros(count, np.int8), bands, address, np.full(count, size), 0.8)
    assert np.flatnonzero(survivor >= 0).tolist() == [count - 1]
    assert (survivor[-1], similarity[-1]) == (3, 1)


def test_the_most_similar_of_hundreds_that_are_about_as_alike_as_the_threshold_is_found():
    """Of 300 sets, any two 0.798 alike, parities take many for 0.8; what is copied is neither the first nor the last."""
    random = np.random.default_rng(5)
    count, size, shared = 301, 1000, 888
    numbers = random.integers(0, 1 << 63, (count, size), dtype=np.uint64)
    numbers[:, :shared] = numbers[0, :shared]
    numbers[-1, shared:-20] = numbers[123, shared:-20]
    numbers = np.sort(numbers, axis=1)
    bands = random.integers(0, 1 << 63, (count, 3), dtype=np.uint64)
    bands[:, 1] = 7
    first, address = np.arange(count), numbers.ctypes.data + 8 * size * np.arange(count)
    survivor, similarity = near.walk(first, np.zeros(count, np.int8), bands, address, np.full(count, size), 0.8)
    assert np.flatnonzero(survivor >= 0).tolist() == [count - 1]
    assert (survivor[-1], similarity[-1]) == (123, 980 / 1020)


@pytest.mark.parametrize("size", [16_000, 80_000])
def test_a_copy_of_a_long_text_is_found_among_many_of_one_template(size):
    """Parities of long sets say little; what is copied is 0.8 alike, the others 0.6."""
    random = np.random.default_rng(5)
    count, shared = 100, size * 3 // 4
    numbers = random.integers(0, 1 << 63, (count, size), dtype=np.uint64)
    numbers[:, :shared] = numbers[0, :shared]
    numbers[-1, shared : size * 8 // 9 + 50] = numbers[30, shared : size * 8 // 9 + 50]
    numbers = np.sort(numbers, axis=1)
    bands = random.integers(0, 1 << 63, (count, 3), dtype=np.uint64)
    bands[:, 1] = 7
    first, address = np.arange(count), numbers.ctypes.data + 8 * size * np.arange(count)
    survivor, _ = near.walk(first, np.zeros(count, np.int8), bands, address, np.full(count, size), 0.75)
    assert [(row, survivor[row]) for row in np.flatnonzero(survivor >= 0)] == [(count - 1, 30)]
