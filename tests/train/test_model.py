"""Laws of the decoder: what a token may see, and that fast forms compute what plain ones do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from train.attention import LatentCache
from train.config import ConfigError, Yarn, preset
from train.experts import Experts, Gate
from train.loss import IGNORED, _fusable_slopes, _slopes, head_loss, token_losses
from train.model import Decoder, count_parameters
from train.rotary import rotate, rotations

MakeDecoder = Callable[..., Decoder]


def tokens(batch: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(97, (batch, length), generator=torch.Generator().manual_seed(seed))


def logits(decoder: Decoder, tokens_BT: Tensor, documents_BT: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return decoder.lm_head(decoder(tokens_BT, documents_BT)[0])


@pytest.mark.parametrize("place", [0, 7, 15])
def test_a_later_token_changes_no_earlier_logit(place: int, make_decoder: MakeDecoder) -> None:
    decoder, first = make_decoder(), tokens(1, 16)
    second = first.clone()
    second[0, place] = (second[0, place] + 1) % 97
    before, after = logits(decoder, first), logits(decoder, second)
    torch.testing.assert_close(before[:, :place], after[:, :place], rtol=0, atol=2e-5)  # sums may be cut elsewhere
    assert ((before - after)[:, place:].abs().amax(dim=-1) > 1e-3).all()


def test_documents_in_one_row_are_as_if_each_stood_alone(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder()
    parts = [tokens(1, length, seed=length) for length in (5, 1, 9)]
    documents = torch.tensor([[number for number, part in enumerate(parts) for _ in range(part.shape[1])]])
    together = logits(decoder, torch.cat(parts, dim=1), documents)
    alone = torch.cat([logits(decoder, part) for part in parts], dim=1)
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-5)


def test_further_predictions_keep_within_documents_too(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(num_nextn_predict_layers=2)
    first, second = tokens(1, 8, seed=1), tokens(1, 8, seed=2)
    row, documents = torch.cat([first, second], dim=1), torch.tensor([[0] * 8 + [1] * 8])
    with torch.no_grad():
        together, _ = decoder.further(decoder(row, documents)[0], row, documents)
        alone, _ = decoder.further(decoder(second)[0], second)
    for joined, single in zip(together, alone, strict=True):
        torch.testing.assert_close(joined[:, 8:], single, rtol=0, atol=2e-5)


def test_rows_of_a_batch_do_not_see_each_other(make_decoder: MakeDecoder) -> None:
    decoder, rows = make_decoder(), tokens(3, 12)
    torch.testing.assert_close(logits(decoder, rows)[1:2], logits(decoder, rows[1:2]), rtol=0, atol=2e-5)


@pytest.mark.parametrize("cut", [1, 5, 11])
@pytest.mark.parametrize("rank", [None, 24])
def test_decoding_from_the_cache_gives_the_logits_of_the_whole(
    cut: int, rank: int | None, make_decoder: MakeDecoder
) -> None:
    decoder, row = make_decoder(q_lora_rank=rank), tokens(2, 12)
    cache = LatentCache(decoder.config, 3, 2, 12, decoder.lm_head.weight)
    with torch.no_grad():
        parts = [decoder.lm_head(decoder(part, cache=cache)[0]) for part in (row[:, :cut], row[:, cut:])]
    assert cache.length == 12
    torch.testing.assert_close(torch.cat(parts, dim=1), logits(decoder, row), rtol=0, atol=2e-5)


def test_only_the_distance_between_positions_counts() -> None:
    config = preset("tiny-cpu", 97).model
    frequencies = torch.rand(config.qk_rope_head_dim // 2)
    query, key = torch.randn(1, 1, 1, config.qk_rope_head_dim), torch.randn(1, 1, 1, config.qk_rope_head_dim)

    def product(at: int, of: int) -> float:
        turn = [rotate(x, *rotations(frequencies, torch.tensor([[p]]), config)) for x, p in ((query, at), (key, of))]
        return float((turn[0] * turn[1]).sum())

    assert product(9, 4) == pytest.approx(product(105, 100), abs=1e-4)
    assert product(9, 4) != pytest.approx(product(9, 3), abs=1e-4)


def plain_experts(experts: Experts, x_ND: Tensor, weights_NK: Tensor, chosen_NK: Tensor) -> Tensor:
    """The naive twin: token by token, expert by expert."""
    rows = []
    for x_D, weights_K, chosen_K in zip(x_ND, weights_NK, chosen_NK, strict=True):
        row = torch.zeros_like(x_D)
        for weight, expert in zip(weights_K, chosen_K.tolist(), strict=True):
            gate, up = functional.linear(x_D, experts.gate_up_proj[expert]).chunk(2)
            row = row + weight * functional.linear(functional.silu(gate) * up, experts.down_proj[expert])
        rows.append(row)
    return torch.stack(rows)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 12), favourite=st.integers(0, 7), seed=st.integers(0, 99))
def test_grouped_experts_equal_a_plain_loop_in_values_and_gradients(count: int, favourite: int, seed: int) -> None:
    config = preset("tiny-cpu", 97).model
    draw = torch.Generator().manual_seed(seed)
    experts = Experts(config)
    for weight in experts.parameters():
        torch.nn.init.normal_(weight, 0, 0.2, generator=draw)
    x_ND = torch.randn(count, config.hidden_size, generator=draw).requires_grad_()
    weights_NK = torch.rand(count, 3, generator=draw).requires_grad_()
    others_NK = torch.rand(count, 16, generator=draw).argsort(dim=-1)[:, :3]
    chosen_NK = torch.where((others_NK == favourite).any(-1, keepdim=True), others_NK, others_NK.clone())
    chosen_NK[: count // 2, 0] = favourite  # some experts busy, some idle, one perhaps chosen twice
    slope = torch.randn(count, config.hidden_size, generator=draw)
    results = []
    for compute in (experts, lambda *given: plain_experts(experts, *given)):
        y_ND = compute(x_ND, weights_NK, chosen_NK)
        results.append((y_ND, *torch.autograd.grad((y_ND * slope).sum(), [x_ND, weights_NK, *experts.parameters()])))
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=2e-5)


def test_a_gate_chooses_by_bias_and_weighs_without_it(make_decoder: MakeDecoder) -> None:
    gate = Gate(make_decoder().config)
    torch.nn.init.normal_(gate.weight, 0, 0.1)
    gate.e_score_correction_bias[3] = 10.0
    x_BTD = torch.randn(2, 9, 32)
    weights_BTK, (scores_BTE, chosen_BTK) = gate(x_BTD)
    assert (chosen_BTK == 3).any(dim=-1).all()
    assert bool((weights_BTK <= 1.0).all())
    torch.testing.assert_close(weights_BTK.sum(dim=-1), torch.ones(2, 9))
    torch.testing.assert_close(scores_BTE, torch.sigmoid(x_BTD @ gate.weight.T))


def test_no_token_leaves_its_groups(make_decoder: MakeDecoder) -> None:
    gate = Gate(make_decoder(n_group=4, topk_group=2).config)
    torch.nn.init.normal_(gate.weight, 0, 0.3)
    _, routing = gate(torch.randn(3, 50, 32))
    groups = routing.chosen_BTK // 2
    assert max(len(set(row)) for row in groups.flatten(0, 1).tolist()) <= 2


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 700), ignored=st.integers(0, 5), seed=st.integers(0, 99))
def test_the_loss_in_pieces_is_the_loss_of_the_whole(count: int, ignored: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, 12, generator=draw).requires_grad_()
    weight = torch.randn(31, 12, generator=draw).requires_grad_()
    target = torch.randint(31, (count,), generator=draw)
    target[: min(ignored, count)] = IGNORED
    plain = functional.cross_entropy(hidden @ weight.T, target, ignore_index=IGNORED, reduction="none")
    fast = head_loss(hidden, weight, target)
    torch.testing.assert_close(fast, plain.sum(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(token_losses(hidden, weight, target), plain, rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad(fast * 0.5, [hidden, weight])
    theirs = torch.autograd.grad(plain.sum() * 0.5, [hidden, weight])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_decoder_runs_in_bfloat16_where_the_hardware_asks_for_it(make_decoder: MakeDecoder) -> None:
    decoder, row = make_decoder(initializer_range=0.05), tokens(2, 16)
    exact = logits(decoder, row)
    with torch.autocast("cpu", torch.bfloat16):
        hidden, routings = decoder(row)
        loss = head_loss(hidden.flatten(0, 1), decoder.lm_head.weight, row.flatten())
        narrow = decoder.lm_head(hidden)
    loss.backward()
    assert routings[0].scores_BTE.dtype == torch.float32
    assert all(torch.isfinite(weight.grad).all() for weight in decoder.parameters() if weight.grad is not None)
    assert (narrow.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_the_same_seed_draws_the_same_weights(make_decoder: MakeDecoder) -> None:
    one, same, other = (make_decoder(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])


def test_the_largest_preset_counts_671_billion_of_which_37_are_active() -> None:
    total, active = count_parameters(preset("v3-671b").model)
    assert round(total / 1e9) == 671
    assert round(active / 1e9) == 37


def test_the_demo_preset_is_small(make_decoder: MakeDecoder) -> None:
    total, active = count_parameters(preset("tiny-cpu", 8192).model)
    assert 2e6 < total < 4e6
    assert active < 0.7 * total


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_experts_per_tok": 5, "n_group": 4, "topk_group": 2}, "4 experts in reach"),
        ({"n_group": 3}, "not a multiple of n_group 3"),
        ({"n_group": 8, "topk_group": 2}, "a group needs two experts"),
        ({"qk_rope_head_dim": 7}, "rotations take pairs"),
        ({"moe_intermediate_size": 20}, "not a multiple of 8"),
    ],
)
def test_a_config_that_cannot_be_is_refused(changes: dict[str, int], message: str, make_decoder: MakeDecoder) -> None:
    with pytest.raises(ConfigError, match=message):
        make_decoder(**changes)


def test_stretched_positions_turn_slow_pairs_slower_and_fast_pairs_alike(make_decoder: MakeDecoder) -> None:
    plain = make_decoder(qk_rope_head_dim=16).frequencies_P
    stretched = make_decoder(qk_rope_head_dim=16, rope_scaling=Yarn(40.0, 64)).frequencies_P
    assert stretched[0] == plain[0]
    torch.testing.assert_close(stretched[-1], plain[-1] / 40)


def test_the_slopes_that_a_compiler_fuses_are_those_written_in_place() -> None:
    source = torch.Generator().manual_seed(2)
    logits, target = torch.randn(50, 97, generator=source), torch.randint(-1, 97, (50,), generator=source)
    nats, slopes = _slopes(logits.clone(), target)
    fused_nats, fused_slopes = _fusable_slopes(logits, target)
    assert torch.allclose(nats, fused_nats)
    assert torch.allclose(slopes, fused_slopes, atol=1e-6)
