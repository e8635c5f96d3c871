"""Cross-entropy of the output head, a few hundred tokens at a time.

Logits of a whole batch over a whole vocabulary are the largest thing a small model makes (268 MB for 2,048 tokens over
32,768 words). Made piece by piece, with the gradient taken at once, they are never held and never computed twice.

Shapes: N tokens, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from loader.rows import IGNORED

PIECE, GPU_PIECE = 512, 4096  # tokens


def _product_kind(x: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype


def _slopes(logits_NV: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of -log p(target), and its gradient by the logits, which are written over."""
    kind, learned_N1, target_N1 = (
        logits_NV.dtype,
        (target_N != IGNORED)[:, None].float(),
        target_N.clamp(min=0)[:, None],
    )
    # in place and with one exponential: these passes cost as much as a small model's attention
    powers_NV = logits_NV.float().sub_(logits_NV.amax(dim=-1, keepdim=True))
    picked_N1 = powers_NV.gather(1, target_N1)
    sum_N1 = powers_NV.exp_().sum(dim=-1, keepdim=True)
    nats = ((sum_N1.log() - picked_N1) * learned_N1).sum()
    return nats, powers_NV.mul_(learned_N1 / sum_N1).scatter_add_(1, target_N1, -learned_N1).to(kind)


def _fusable_slopes(logits_NV: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `_slopes` does, in a form that a compiler fuses into two passes."""
    learned_N1, target_N1 = (target_N != IGNORED)[:, None].float(), target_N.clamp(min=0)[:, None]
    wide_NV = logits_NV.float()
    sum_N1 = wide_NV.logsumexp(dim=-1, keepdim=True)
    nats = ((sum_N1 - wide_NV.gather(1, target_N1)) * learned_N1).sum()
    hit_NV = torch.arange(logits_NV.shape[1], device=logits_NV.device) == target_N1
    return nats, (((wide_NV - sum_N1).exp() - hit_NV.float()) * learned_N1).to(logits_NV.dtype)


@cache
def _fused_slopes() -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return torch.compile(_fusable_slopes, dynamic=True)


class _HeadLoss(torch.autograd.Function):
    """The sum of -log p(target), which takes its gradients while the logits are there."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor) -> Tensor:
        kind = _product_kind(hidden_ND)
        with torch.autocast(hidden_ND.device.type, enabled=False):
            narrow_VD = weight_VD.to(kind)
            total = hidden_ND.new_zeros((), dtype=torch.float32)
            gradient_ND = torch.empty_like(hidden_ND)
            gradient_VD = torch.zeros_like(weight_VD)
            size, slopes = (GPU_PIECE, _fused_slopes()) if hidden_ND.is_cuda else (PIECE, _slopes)
            for start in range(0, len(hidden_ND), size):
                piece_ND, piece_N = hidden_ND[start : start + size].to(kind), target_N[start : start + size]
                nats, slope_NV = slopes(piece_ND @ narrow_VD.T, piece_N)
                total += nats
                gradient_ND[start : start + size] = slope_NV @ narrow_VD
                if kind == gradient_VD.dtype:
                    gradient_VD.addmm_(slope_NV.T, piece_ND)
                else:
                    gradient_VD += slope_NV.T @ piece_ND
        ctx.save_for_backward(gradient_ND, gradient_VD)
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Tensor, Tensor, None]:
        gradient_ND, gradient_VD = ctx.saved_tensors
        return gradient_ND.mul_(upstream[0]), gradient_VD.mul_(upstream[0]), None  # asked for once


def head_loss(hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor) -> Tensor:
    """Return the sum over tokens of -log p(target) in nats, float32. Targets of IGNORED count nothing."""
    return _HeadLoss.apply(hidden_ND, weight_VD, target_N)  # type: ignore[no-untyped-call]


@torch.no_grad()
def token_losses(hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor) -> Tensor:
    """Return -log p(target) of every token in nats, float32 [N]; 0 where the target is IGNORED."""
    kind = _product_kind(hidden_ND)
    losses = []
    for start in range(0, len(hidden_ND), PIECE):
        piece_N = target_N[start : start + PIECE]
        logits_NV = (hidden_ND[start : start + PIECE].to(kind) @ weight_VD.to(kind).T).float()
        picked_N = logits_NV.gather(1, piece_N.clamp(min=0)[:, None])[:, 0]
        losses.append((logits_NV.logsumexp(dim=-1) - picked_N) * (piece_N != IGNORED))
    return torch.cat(losses)
