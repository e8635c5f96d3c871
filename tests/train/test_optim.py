"""The learning rate's course, what decays, and clipping."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from train.config import ConfigError, preset
from train.model import Decoder
from train.optim import clip, learning_rate, optimiser

SETTINGS = dataclasses.replace(
    preset("tiny-cpu").training, steps=200, learning_rate=1.0, warmup_share=0.1, decay_share=0.3, final_share=0.05
)


def test_the_rate_warms_up_stays_and_falls() -> None:
    rates = [learning_rate(step, SETTINGS) for step in range(200)]
    assert rates[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert set(rates[20:140]) == {1.0}
    assert all(later < earlier for earlier, later in zip(rates[139:], rates[140:], strict=False))
    assert rates[-1] == pytest.approx(0.05)


def test_the_cosine_falls_all_the_way_and_is_half_way_down_in_the_middle() -> None:
    settings = dataclasses.replace(SETTINGS, schedule="cosine", final_share=0.0)
    rates = [learning_rate(step, settings) for step in range(200)]
    assert max(rates) == 1.0
    assert rates[109] == pytest.approx(0.5, abs=0.01)
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_a_rate(steps: int) -> None:
    settings = dataclasses.replace(SETTINGS, steps=steps)
    assert all(0 < learning_rate(step, settings) <= 1 for step in range(steps))


def test_matrices_decay_and_norms_and_the_embedding_do_not(make_decoder: Callable[..., Decoder]) -> None:
    decoder = make_decoder()
    before = {name: weight.detach().clone() for name, weight in decoder.named_parameters()}
    moves = optimiser(decoder, SETTINGS)
    for weight in decoder.parameters():
        weight.grad = torch.zeros_like(weight)
    moves.step()
    still = {name for name, weight in decoder.named_parameters() if torch.equal(weight, before[name])}
    assert still == {name for name in before if name.endswith("norm.weight") or name == "model.embed_tokens.weight"}


def test_gradients_are_cut_to_the_norm_asked_for(make_decoder: Callable[..., Decoder]) -> None:
    decoder = make_decoder()
    for weight in decoder.parameters():
        weight.grad = torch.full_like(weight, 3.0)
    before = clip(decoder, 1.0)
    assert before > 100
    assert clip(decoder, 1e9) == pytest.approx(1.0, rel=1e-4)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ConfigError, match="use 'wsd' or 'cosine'"):
        dataclasses.replace(SETTINGS, schedule="linear")
