"""Mixture of experts: a sigmoid gate with a balancing bias, group-limited choice, and dropless experts.

After DeepSeekMoE (arXiv 2401.06066) and DeepSeek-V3 (arXiv 2412.19437, section 2.1.2).

Shapes: B sequences, T positions, N = B·T tokens, D hidden, E experts, G groups, K experts per token, P = N·K pairs of
token and expert, F an expert's inner width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.attention import linear
from train.config import ModelConfig


class Routing(NamedTuple):
    """Where the tokens of one layer went: the gate's scores [B, T, E] in (0, 1), the chosen experts [B, T, K]."""

    scores_BTE: Tensor
    chosen_BTK: Tensor


class FeedForward(nn.Module):
    """A gated feed-forward (SwiGLU): the dense layers', and the shared experts as one."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.gate_proj = linear(hidden, width)
        self.up_proj = linear(hidden, width)
        self.down_proj = linear(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Gate(nn.Module):
    """Choose experts by score plus bias; weigh them by score alone. The bias learns from loads, not from gradients."""

    e_score_correction_bias: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        self.register_buffer("e_score_correction_bias", torch.zeros(config.n_routed_experts))

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Routing]:
        """Return the weights of the chosen experts [B, T, K], and the routing. Computed in float32 throughout."""
        with torch.autocast(x_BTD.device.type, enabled=False):
            scores_BTE = functional.linear(x_BTD.float(), self.weight.float()).sigmoid()
            chosen_BTK = self._choose(scores_BTE.detach() + self.e_score_correction_bias)
            weights_BTK = scores_BTE.gather(-1, chosen_BTK)
            weights_BTK = weights_BTK / (weights_BTK.sum(dim=-1, keepdim=True) + 1e-20)
            return weights_BTK * self.config.routed_scaling_factor, Routing(scores_BTE, chosen_BTK)

    def _choose(self, choice_BTE: Tensor) -> Tensor:
        config = self.config
        if config.topk_group < config.n_group:
            choice_BTGX = choice_BTE.view(*choice_BTE.shape[:2], config.n_group, -1)
            groups_BTG = choice_BTGX.gather(-1, _best(choice_BTGX, 2)).sum(dim=-1)
            best = _best(groups_BTG, config.topk_group)
            closed_BTG = torch.ones_like(groups_BTG, dtype=torch.bool).scatter(-1, best, False)
            choice_BTE = choice_BTGX.masked_fill(closed_BTG[..., None], float("-inf")).flatten(-2)
        return _best(choice_BTE, config.num_experts_per_tok)


class Experts(nn.Module):
    """All routed experts of a layer. Every chosen pair is computed; none is dropped, none is padded."""

    def __init__(self, config: ModelConfig, here: int | None = None) -> None:
        """Make the experts; `here` says how many of them, where other processes have the rest."""
        super().__init__()
        experts = config.n_routed_experts if here is None else here
        hidden, width = config.hidden_size, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(experts, 2 * width, hidden))
        self.down_proj = nn.Parameter(torch.empty(experts, hidden, width))

    def forward(self, x_ND: Tensor, weights_NK: Tensor, chosen_NK: Tensor) -> Tensor:
        kind = torch.get_autocast_dtype(x_ND.device.type) if torch.is_autocast_enabled(x_ND.device.type) else x_ND.dtype
        expert_P, order_P = chosen_NK.flatten().sort(stable=True)
        token_P = order_P // chosen_NK.shape[1]
        place_NK = torch.empty_like(order_P).scatter_(0, order_P, torch.arange(len(order_P), device=order_P.device))
        place_NK = place_NK.view_as(chosen_NK)
        x_PD: Tensor = _Dealt.apply(x_ND.to(kind), token_P, place_NK)  # type: ignore[no-untyped-call]
        weights_P1 = weights_NK.flatten().index_select(0, order_P)[:, None].to(kind)
        y_PD = self.compute(x_PD, weights_P1, expert_P)
        summed_ND: Tensor = _Summed.apply(y_PD, token_P, place_NK)  # type: ignore[no-untyped-call]
        return summed_ND

    def compute(self, x_PD: Tensor, weights_P1: Tensor, expert_P: Tensor) -> Tensor:
        """Return what each pair's expert makes of its token, weighed. Pairs come sorted by expert."""
        kind = x_PD.dtype
        experts = torch.arange(len(self.down_proj), device=x_PD.device)
        ends_E = torch.searchsorted(expert_P, experts, right=True).to(torch.int32)
        gate_PF, up_PF = _grouped(x_PD, self.gate_up_proj.to(kind), ends_E).chunk(2, dim=-1)
        # weighed before the last matrix, where rows are narrower than after it
        return _grouped(functional.silu(gate_PF) * (up_PF * weights_P1), self.down_proj.to(kind), ends_E)


class _Dealt(torch.autograd.Function):
    """Copy each token's row to the places where its experts look for it; its gradient is the sum of theirs.

    With the places at hand no sum needs `index_add`, which is slow on a GPU, and adds there in an order of its own.
    """

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, token_P: Tensor, place_NK: Tensor) -> Tensor:
        ctx.save_for_backward(token_P, place_NK)
        return x_ND.index_select(0, token_P)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Tensor, None, None]:
        _, place_NK = ctx.saved_tensors
        return _summed(upstream[0], place_NK), None, None


class _Summed(torch.autograd.Function):
    """Sum the rows that the experts of each token made of it: the inverse of `_Dealt`, and its gradient."""

    @staticmethod
    def forward(ctx: Any, y_PD: Tensor, token_P: Tensor, place_NK: Tensor) -> Tensor:
        ctx.save_for_backward(token_P, place_NK)
        return _summed(y_PD, place_NK)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Tensor, None, None]:
        token_P, _ = ctx.saved_tensors
        return upstream[0].index_select(0, token_P), None, None


def _grouped(x_PI: Tensor, weights_EOI: Tensor, ends_E: Tensor) -> Tensor:
    """Multiply each expert's run of rows, ending before `ends_E`, with that expert's matrix."""
    return functional.grouped_mm(x_PI, weights_EOI.transpose(1, 2), offs=ends_E)


def _summed(rows_PD: Tensor, place_NK: Tensor) -> Tensor:
    """Return the sum of each token's rows, [N, D]. On a GPU a compiler fuses what a CPU has one kernel for."""
    if rows_PD.is_cuda:
        return rows_PD.index_select(0, place_NK.flatten()).view(*place_NK.shape, -1).sum(dim=1)
    return functional.embedding_bag(place_NK, rows_PD.contiguous(), mode="sum")


def _best(scores: Tensor, most: int) -> Tensor:
    """Return the places of the `most` greatest along the last dimension, in no order. A GPU sorts a few dozen faster."""
    if scores.is_cuda:
        return scores.sort(dim=-1, descending=True).indices[..., :most]
    return scores.topk(most, dim=-1, sorted=False).indices


class MixtureOfExperts(nn.Module):
    """The routed experts each token chose, plus the shared ones every token goes through."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = Gate(config)
        self.experts = Experts(config)
        self.shared_experts = FeedForward(config.hidden_size, config.moe_intermediate_size * config.n_shared_experts)

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Routing]:
        weights_BTK, routing = self.gate(x_BTD)
        routed_ND = self.experts(x_BTD.flatten(0, 1), weights_BTK.flatten(0, 1), routing.chosen_BTK.flatten(0, 1))
        return routed_ND.view_as(x_BTD) + self.shared_experts(x_BTD), routing
