"""Shards are filled from the sizes of runs alone, and hold every kept document once, in order."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.packing import fill_shards, runs
from pipeline.stages.work import pack

PIECES = st.lists(st.lists(st.integers(1, 40), max_size=12), min_size=1, max_size=8)


def placed(pieces: list[list[int]], limit: int, order: list[int]) -> dict[int, list[tuple[int, int]]]:
    """Return (piece, document) of each shard, as the stage places the runs of these pieces that arrive in `order`."""
    work: Any = SimpleNamespace(plan=SimpleNamespace(recipe=SimpleNamespace(shards=SimpleNamespace(tokens=limit))))
    messages = [pack({"number": 10 * piece, "runs": runs(pieces[piece], limit)}) for piece in order]
    found: dict[int, list[tuple[int, int]]] = {}
    for number, message in fill_shards(work, 0, messages):
        value = json.loads(message)
        for shard, start, stop in value["places"]:
            found.setdefault(shard, []).extend((number // 10, document) for document in range(start, stop))
            assert shard < value["shards"]
    return found


@given(PIECES, st.integers(1, 100), st.randoms())
def test_every_document_is_in_one_shard_in_order_and_no_shard_is_too_large(pieces, limit, chance):
    order = list(range(len(pieces)))
    chance.shuffle(order)
    found = placed(pieces, limit, order)
    every = [document for shard in sorted(found) for document in sorted(found[shard])]
    assert every == [(piece, document) for piece, tokens in enumerate(pieces) for document in range(len(tokens))]
    assert sorted(found) == list(range(len(found)))
    sizes = [[pieces[piece][document] for piece, document in found[shard]] for shard in sorted(found)]
    assert all(len(tokens) <= 1 or sum(tokens) <= limit for tokens in sizes)
    assert placed(pieces, limit, sorted(order)) == found


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 100))
def test_a_run_ends_only_where_the_next_document_does_not_fit(tokens, limit):
    found = runs(tokens, limit)
    assert [document for start, stop, _ in found for document in range(start, stop)] == list(range(len(tokens)))
    assert all(sum(tokens[start:stop]) == size for start, stop, size in found)
    assert all(size + tokens[start] > limit for (_, _, size), (start, _, _) in pairwise(found))


def test_where_nothing_was_kept_there_is_one_shard_without_documents():
    assert placed([[], []], 10, [1, 0]) == {0: []}
