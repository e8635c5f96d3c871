"""The learning rate's course, what decays, and clipping."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from train.config import ConfigError, preset
from train.model import Decoder
from train.optim import Muon, clip, learning_rate, optimiser, orthogonal

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


@pytest.mark.parametrize("shape", [(6, 6), (4, 12), (12, 4), (3, 5, 8), (2, 8, 5)])
def test_orthogonal_matrices_keep_their_directions_and_have_singular_values_about_one(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found = orthogonal(x)
    values = torch.linalg.svdvals(found)
    assert ((values > 0.3) & (values < 1.3)).all()
    left, _, right = torch.linalg.svd(x, full_matrices=False)
    rotated = left.mT @ found @ right.mT  # diagonal where the directions are the same
    assert (rotated - torch.diag_embed(rotated.diagonal(dim1=-2, dim2=-1))).abs().max() < 1e-3
    torch.testing.assert_close(orthogonal(x), orthogonal(x * 1000), rtol=1e-3, atol=1e-4)


def test_a_stack_of_experts_moves_as_each_would_alone() -> None:
    x = torch.randn((3, 5, 8), generator=torch.Generator().manual_seed(2))
    for one, alone in zip(orthogonal(x), x, strict=True):
        torch.testing.assert_close(one, orthogonal(alone))


def test_muon_moves_the_layers_matrices_and_adamw_all_else_as_alone(make_decoder: Callable[..., Decoder]) -> None:
    before = make_decoder()
    ends = {}
    for name in ("adamw", "muon"):
        decoder = make_decoder()
        moves = optimiser(decoder, dataclasses.replace(SETTINGS, optimiser=name, learning_rate=0.01))
        draw = torch.Generator().manual_seed(3)
        for _ in range(2):
            for weight in decoder.parameters():
                weight.grad = torch.randn(weight.shape, generator=draw)
            moves.step()
        ends[name] = dict(decoder.named_parameters())
    for name, start in before.named_parameters():
        hidden = ".layers." in name and start.dim() > 1 and ".gate." not in name
        assert torch.equal(ends["adamw"][name], ends["muon"][name]) == (not hidden)
        assert not torch.equal(ends["muon"][name], start)
        if hidden:  # both move a weight about as far: the rate serves both
            far = [float((ends[kind][name] - start).detach().square().mean().sqrt()) for kind in ("adamw", "muon")]
            assert 0.1 < far[1] / far[0] < 2


def test_muon_solves_a_problem_whose_directions_differ_in_size() -> None:
    draw = torch.Generator().manual_seed(4)
    inputs = torch.randn((256, 16), generator=draw) * torch.logspace(0, -2, 16)
    truth = torch.randn((8, 16), generator=draw)
    losses = {}
    for kind in (torch.optim.AdamW, Muon):
        weight, other = torch.nn.Parameter(torch.zeros(8, 16)), torch.nn.Parameter(torch.zeros(8))
        moves = kind([{"params": [weight]}, {"params": [other]}], lr=0.02, weight_decay=0.0)
        for step in range(200):
            moves.param_groups[0]["lr"] = 0.2 * (1 - step / 200)
            moves.zero_grad()
            loss = (inputs @ (weight - truth).mT + other).square().mean()
            torch.autograd.backward(loss)
            moves.step()
        losses[kind] = float(loss.detach())
    assert losses[Muon] < 0.01 * float((inputs @ truth.mT).square().mean())


def test_an_unknown_optimiser_is_refused() -> None:
    with pytest.raises(ConfigError, match="use 'adamw' or 'muon'"):
        dataclasses.replace(SETTINGS, optimiser="sgd")
