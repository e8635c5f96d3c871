"""Signals: what they declare, in which order they are needed, and that they keep their word."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import quality, repetition
from filters.signal import Signal, SignalError, collect, measure, needed, signal


@signal(length=pa.int32())
def length(text: pa.Array) -> np.ndarray:
    return np.array([len(value) for value in text.to_pylist()])


@signal(double=pa.int64(), half=pa.float32())
def shares(length: pa.Array) -> tuple[Any, Any]:
    values = np.asarray(length)
    return values * 2, pa.array(values / 2)


@signal(sum=pa.int64())
def total(half: pa.Array, length: pa.Array, double: pa.Array) -> np.ndarray:
    return np.asarray(half) * 2 + np.asarray(length) + np.asarray(double)


def module(**members: Any) -> ModuleType:
    made = ModuleType("made")
    vars(made).update(members)
    return made


WRITERS = collect([module(length=length, shares=shares, total=total, other=3)])


def batch(*texts: str) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})


def test_a_signal_says_what_it_reads_and_writes_and_still_is_its_function() -> None:
    assert (total.name, total.reads, dict(total.writes)) == ("total", ("half", "length", "double"), {"sum": pa.int64()})
    assert length(pa.array(["ab", ""])).tolist() == [2, 0]


def test_every_column_has_one_writer() -> None:
    assert dict(WRITERS) == {"length": length, "double": shares, "half": shares, "sum": total}
    assert collect([module(one=length), module(same=length)]) == {"length": length}
    again = Signal("again", length.function, ("text",), {"length": pa.int32()})
    with pytest.raises(SignalError, match="made: signal 'again' writes the column 'length', which signal 'length'"):
        collect([module(one=length, two=again)])


@given(st.permutations(["length", "double", "half", "sum"]), st.integers(1, 4))
def test_what_is_needed_comes_once_and_after_what_it_reads(columns: list[str], number: int) -> None:
    order = needed(columns[:number], WRITERS, ["text"])
    assert len({one.name for one in order}) == len(order)
    known = {"text"}
    for one in order:
        assert set(one.reads) <= known
        known |= set(one.writes)
    assert set(columns[:number]) <= known


def test_what_is_given_is_not_computed() -> None:
    assert needed(["text", "sum"], WRITERS, ["text", "length", "half", "double"]) == (total,)
    assert needed(["text"], WRITERS, ["text"]) == ()


def test_a_column_nobody_writes_and_a_circle_are_named() -> None:
    with pytest.raises(SignalError, match="no signal writes the column 'colour'"):
        needed(["colour"], WRITERS, ["text"])
    egg = Signal("lay", length.function, ("hen",), {"egg": pa.int32()})
    hen = Signal("hatch", length.function, ("egg",), {"hen": pa.int32()})
    with pytest.raises(SignalError, match="in a circle: lay → hatch → lay"):
        needed(["egg"], {"egg": egg, "hen": hen}, ["text"])


def test_measuring_gives_the_columns_in_order_and_of_the_declared_types() -> None:
    measured = measure(batch("ab", "", "개념"), needed(["sum"], WRITERS, ["text"]))
    types = {"length": pa.int32(), "double": pa.int64(), "half": pa.float32(), "sum": pa.int64()}
    assert measured.schema == pa.schema(types)
    assert measured.column("sum").to_pylist() == [8, 0, 8]


@given(st.lists(st.text(max_size=8), max_size=6), st.integers(0, 6))
def test_a_row_is_measured_alone(texts: list[str], at: int) -> None:
    signals = needed(["sum"], WRITERS, ["text"])
    whole = measure(batch(*texts), signals)
    assert measure(batch(*texts[:at]), signals).to_pylist() == whole.slice(0, at).to_pylist()
    assert measure(batch(*texts[at:]), signals).to_pylist() == whole.slice(at).to_pylist()


def test_a_signal_that_breaks_its_word_is_named() -> None:
    one = Signal("one", lambda text: (text, text), ("text",), {"x": pa.large_string()})
    with pytest.raises(SignalError, match="'one' declares 1 columns and returned 2"):
        measure(batch("a"), [one])
    short = Signal("short", lambda text: np.zeros(1), ("text",), {"x": pa.float32()})
    with pytest.raises(SignalError, match="signal 'short': 'x' has 1 rows, not 2"):
        measure(batch("a", "b"), [short])


def test_a_signal_reads_and_writes_something() -> None:
    with pytest.raises(SignalError, match="nothing: a signal reads at least one column and writes at least one"):

        @signal(x=pa.int32())
        def nothing() -> None: ...


def test_the_gopher_signals_write_the_columns_their_presets_bound() -> None:
    from filters.presets import GOPHER_QUALITY, GOPHER_REPETITION

    writers = collect([quality, repetition])
    for preset in (GOPHER_QUALITY, GOPHER_REPETITION):
        assert {rule.column for rule in preset.rules} <= set(writers)
