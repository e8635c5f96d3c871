"""Tokens to a loss: equal curves need equally many, and what was not reached is said to be a bound."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.compare import at_loss_of_arm, at_loss_of_reference, bits, summary, tokens_to
from ablate.plot import drawn


def result(values: list[float], arm: str = "raw", seed: int = 0, every: int = 100) -> dict[str, Any]:
    curve = [
        {"step": at, "tokens": at * every, "bits_per_byte": {"web": value, "code": value}}
        for at, value in enumerate(values)
    ]
    return {
        "arm": arm, "seed": seed, "curve": curve, "tokens": 400, "arm_tokens": 1000, "epochs": 0.4, "training_loss": 1.0,
        "others": {"raw": {"web": 2.0}}, "cloze": {"web": {"asked": 8, "right": 4}},
        "recited": {"documents": 4, "exact": 1, "tokens": 0.5},
    }  # fmt: skip


@given(st.lists(st.floats(0.5, 8), min_size=3, max_size=9))
def test_equal_curves_need_equally_many_tokens(values: list[float]):
    one, other = result(values), result(values, "curated")
    for law in (at_loss_of_reference, at_loss_of_arm):
        found = law(one, other, len(values) - 1)
        assert found.value == 1 or (found.value, tokens_to(one["curve"], found.target)) == (0.0, 0.0)
        assert not found.at_least


def test_twice_as_fast_is_a_multiplier_of_two():
    raw, curated = result([8, 7, 6, 5, 4]), result([8, 6, 4, 2, 0.5], "curated")
    assert at_loss_of_arm(raw, curated, 4).value == 2
    assert tokens_to(raw["curve"], 6.5) == 150
    reached = at_loss_of_reference(raw, curated, 2)
    assert (reached.value, reached.at_least, reached.target) == (2, False, 4)


def test_what_was_not_reached_is_a_bound():
    raw, curated = result([8, 7, 6, 5, 4]), result([8, 6, 4, 2, 1], "curated")
    found = at_loss_of_reference(raw, curated, 4)
    assert (found.value, found.at_least) == (1, True)
    assert tokens_to(raw["curve"], 1) is None
    worse = at_loss_of_arm(curated, raw, 4)
    assert (worse.value, worse.at_least) == (1, True)


def test_the_mean_counts_each_corpus_alike():
    assert bits({"bits_per_byte": {"a": 1.0, "b": 3.0}}) == 2
    assert bits({"bits_per_byte": {"a": 1.0, "b": 3.0}}, "b") == 3


def test_a_summary_has_means_and_ranges_over_seeds():
    results = [result([8, 4, 2], arm, seed) for arm in ("raw", "curated") for seed in (0, 1)]
    results[1]["curve"][2]["bits_per_byte"] = {"web": 3.0, "code": 3.0}
    found = summary(results, "curated", 2)
    spread = found["raw"]["bits_per_byte"]["all"]
    assert (spread.mean, spread.least, spread.largest) == (2.5, 2, 3)
    assert found["raw"]["cloze"]["web"]["right"].mean == 0.5
    assert found["raw"]["recited_exactly"].mean == 0.25


def test_a_plot_has_a_panel_per_corpus_and_escapes_names():
    results = [result([8, 4, 2, 1], arm, seed) for arm in ("raw", "a<b") for seed in (0, 1)]
    svg = drawn(results)
    assert svg.count("<g ") == 3
    assert "a&lt;b" in svg
    assert "a<b" not in svg


@pytest.mark.parametrize("target", [9.0, 8.0])
def test_a_loss_that_is_there_at_the_start_needs_no_tokens(target: float):
    assert tokens_to(result([8, 7])["curve"], target) == 0
