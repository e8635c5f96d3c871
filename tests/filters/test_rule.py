"""What a rule decides, and that every rule is asked about every document."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.rule import Rule, decide

VALUES = st.lists(st.one_of(st.none(), st.floats(width=32), st.integers(-5, 5).map(float)), max_size=8)
BOUNDS = st.one_of(st.none(), st.floats(-5, 5))


def column(values: list[float | None]) -> pa.Array:
    return pa.array(values, pa.float64())


@given(VALUES, BOUNDS, st.floats(-5, 5))
def test_a_value_passes_where_it_lies_between_the_bounds(
    values: list[float | None], minimum: float | None, maximum: float
) -> None:
    passed = Rule("r", "c", minimum, maximum).passes(column(values))
    low = -np.inf if minimum is None else minimum
    assert passed.tolist() == [value is not None and low <= value <= maximum for value in values]


@given(VALUES, st.floats(-5, 5))
def test_what_passes_two_bounds_is_what_passes_each(values: list[float | None], bound: float) -> None:
    below, above = Rule("b", "c", maximum=bound), Rule("a", "c", minimum=-1)
    both = Rule("r", "c", -1, bound)
    data = column(values)
    assert np.array_equal(both.passes(data), below.passes(data) & above.passes(data))


@given(VALUES, st.integers(0, 8))
def test_a_row_is_decided_alone(values: list[float | None], at: int) -> None:
    rule = Rule("r", "c", maximum=0)
    assert np.array_equal(rule.passes(column(values).slice(at)), rule.passes(column(values))[at:])


@pytest.mark.parametrize("bound", [0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.18, 0.2, 0.3, 0.67, 0.8, 0.9])
def test_a_bound_is_met_by_a_value_that_equals_it_in_the_columns_precision(bound: float) -> None:
    values = pa.array([bound], pa.float32())
    assert Rule("r", "c", maximum=bound).passes(values).all()
    assert Rule("r", "c", minimum=bound).passes(values).all()
    next_up, next_down = (np.nextafter(np.float32(bound), np.float32(to)) for to in (1, 0))
    assert not Rule("r", "c", maximum=bound).passes(pa.array([next_up])).any()
    assert not Rule("r", "c", minimum=bound).passes(pa.array([next_down])).any()


def test_a_null_and_a_nan_fail_and_zero_is_a_number() -> None:
    values = column([None, float("nan"), 0.0, 1.0])
    assert Rule("r", "c", maximum=0).passes(values).tolist() == [False, False, True, False]
    assert Rule("r", "c", minimum=0).passes(values).tolist() == [False, False, True, True]


@pytest.mark.parametrize("kind", [pa.bool_(), pa.int32(), pa.int64(), pa.float32()])
def test_a_range_bounds_any_column_of_numbers(kind: pa.DataType) -> None:
    values = pa.array([0, 1, None], pa.int8()).cast(kind)
    assert Rule("r", "c", minimum=1).passes(values).tolist() == [False, True, False]


def test_a_set_admits_its_members_and_no_null() -> None:
    rule = Rule("language", "language", among=frozenset({"ko", "en"}))
    assert rule.passes(pa.array(["en", "no", None, "ko", ""])).tolist() == [True, False, False, True, False]
    assert rule.passes(pa.array([], pa.string())).tolist() == []


def test_a_rule_needs_a_bound_of_one_kind() -> None:
    with pytest.raises(ValueError, match="'r' has no bound; give min, max or in"):
        Rule("r", "c")
    with pytest.raises(ValueError, match="both a set and a range"):
        Rule("r", "c", minimum=1, among=frozenset({"a"}))


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        (Rule("r", "words", 50, 100_000), "50 ≤ words ≤ 100000"),
        (Rule("r", "words", minimum=50), "words ≥ 50"),
        (Rule("r", "top_2_gram", maximum=0.2), "top_2_gram ≤ 0.2"),
        (Rule("r", "language", among=frozenset({"ko", "en"})), "language in {en, ko}"),
    ],
)
def test_a_rule_reads_as_a_line_of_mathematics(rule: Rule, shown: str) -> None:
    assert str(rule) == shown


def test_every_rule_is_asked_and_the_first_that_fails_is_the_reason() -> None:
    batch = pa.record_batch({"a": pa.array([0, 2, 2]), "b": pa.array([9, 9, 1])})
    verdicts, reason = decide(batch, [Rule("big_a", "a", minimum=1), Rule("small_b", "b", maximum=5)])
    assert verdicts.to_pydict() == {"big_a": [False, True, True], "small_b": [False, False, True]}
    assert reason.to_pylist() == ["big_a", "small_b", None]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=8), st.integers(0, 3), st.integers(0, 3))
def test_the_order_of_rules_changes_reasons_and_nothing_else(rows: list[tuple[int, int]], low: int, high: int) -> None:
    batch = pa.record_batch([pa.array([row[at] for row in rows], pa.int64()) for at in (0, 1)], names=["a", "b"])
    rules = [Rule("x", "a", minimum=low), Rule("y", "b", maximum=high)]
    (one, reasons), (other, reversed_reasons) = decide(batch, rules), decide(batch, rules[::-1])
    assert one.to_pydict() == {name: other.to_pydict()[name] for name in ("x", "y")}
    assert reasons.is_null().to_pylist() == reversed_reasons.is_null().to_pylist()


def test_without_rules_everything_passes() -> None:
    verdicts, reason = decide(pa.record_batch({"a": pa.array([1, 2])}), [])
    assert verdicts.num_columns == 0
    assert reason.to_pylist() == [None, None]
