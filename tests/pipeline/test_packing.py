"""Shards are filled from the sizes of runs alone, and hold every kept document once, in order."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.numbering import PIECES_PER_UNIT
from pipeline.stages.packing import filled, runs
from pipeline.stages.room import make_room
from pipeline.store import Store

PIECES = st.lists(st.lists(st.integers(1, 40), max_size=12), min_size=1, max_size=8)


def placed(pieces: list[list[int]], limit: int) -> dict[int, list[tuple[int, int]]]:
    """Return (piece, document) of each shard."""
    places, shards = filled([runs(tokens, limit) for tokens in pieces], limit)
    found: dict[int, list[tuple[int, int]]] = {shard: [] for shard in range(shards)}
    for piece, place in enumerate(places):
        for shard, start, stop in place:
            found[shard] += [(piece, document) for document in range(start, stop)]
    return found


@settings(deadline=None)
@given(PIECES, st.integers(1, 100))
def test_every_document_is_in_one_shard_in_order_and_no_shard_is_too_large(pieces, limit):
    found = placed(pieces, limit)
    every = [document for shard in sorted(found) for document in found[shard]]
    assert every == [(piece, document) for piece, tokens in enumerate(pieces) for document in range(len(tokens))]
    sizes = [[pieces[piece][document] for piece, document in found[shard]] for shard in sorted(found)]
    assert all(len(tokens) <= 1 or sum(tokens) <= limit for tokens in sizes)


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 100))
def test_a_run_ends_only_where_the_next_document_does_not_fit(tokens, limit):
    found = runs(tokens, limit)
    assert [document for start, stop, _ in found for document in range(start, stop)] == list(range(len(tokens)))
    assert all(sum(tokens[start:stop]) == size for start, stop, size in found)
    assert all(size + tokens[start] > limit for (_, _, size), (start, _, _) in pairwise(found))


def test_where_nothing_was_kept_there_is_one_shard_without_documents():
    assert placed([[], []], 10) == {0: []}


def test_room_is_made_for_what_is_published_and_for_nothing_else(tmp_path):
    store = Store(str(tmp_path))
    stale = ["documents/part-000009-0000.parquet", "shards/data-00000-of-00003.arrow", "shards/state.json"]
    for name in ("manifest.json", "documents/part-000001-0000.parquet", "report.html", *stale):
        store.write(name, b"")
    for _ in range(2):
        make_room(store, [PIECES_PER_UNIT, 0], 1)
        assert store.names("documents") == ["documents/part-000001-0000.parquet"]
        assert not store.names("shards")
        assert not store.exists("manifest.json")
        assert store.exists("report.html")
