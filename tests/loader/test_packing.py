"""Laws of packing: every token once, no row too long, and best fit as if placed one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.packing import pack

LENGTHS = st.lists(st.integers(0, 60), max_size=80)


@settings(max_examples=150, deadline=None)
@given(lengths=LENGTHS, row_length=st.integers(1, 25))
def test_every_token_is_in_one_row_and_no_row_is_too_long(lengths: list[int], row_length: int) -> None:
    packing = pack(np.array(lengths, np.int64), row_length)
    seen = [np.zeros(length, int) for length in lengths]
    for document, start, length in zip(packing.document_P, packing.start_P, packing.length_P, strict=True):
        seen[document][start : start + length] += 1
    assert all((tokens == 1).all() for tokens in seen)
    filled = [packing.length_P[a:b].sum() for a, b in zip(packing.rows_W1, packing.rows_W1[1:], strict=False)]
    assert all(0 < tokens <= row_length for tokens in filled)


def one_by_one(lengths: list[int], row_length: int) -> list[int]:
    """The naive twin: the room left in each row, after placing the longest piece first where least room is left."""
    pieces = [row_length for length in lengths for _ in range(length // row_length)]
    pieces += [length % row_length for length in lengths if length % row_length]
    rooms: list[int] = []
    for piece in sorted(pieces, reverse=True):
        fitting = [room for room in rooms if room >= piece]
        if fitting:
            rooms[rooms.index(min(fitting))] -= piece
        else:
            rooms.append(row_length - piece)
    return sorted(rooms)


@settings(max_examples=150, deadline=None)
@given(lengths=LENGTHS, row_length=st.integers(1, 25))
def test_rows_are_those_of_best_fit_piece_by_piece(lengths: list[int], row_length: int) -> None:
    packing = pack(np.array(lengths, np.int64), row_length)
    rooms = [
        row_length - int(packing.length_P[a:b].sum())
        for a, b in zip(packing.rows_W1, packing.rows_W1[1:], strict=False)
    ]
    assert sorted(rooms) == one_by_one(lengths, row_length)


def test_documents_as_they_come_fill_rows_almost_wholly() -> None:
    lengths = np.random.default_rng(1).lognormal(5.5, 1.1, 20_000).astype(np.int64) + 1
    packing = pack(lengths, 2048)
    assert lengths.sum() / (len(packing) * 2048) > 0.999


def test_nothing_packs_into_nothing() -> None:
    assert len(pack(np.zeros(0, np.int64), 8)) == 0
    assert len(pack(np.zeros(3, np.int64), 8)) == 0


def test_a_row_of_no_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        pack(np.array([3]), 0)
