"""How weights move: AdamW or Muon, the learning rate over a run, and the clipping of gradients."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from ranks.group import ALONE, Ranks
from ranks.shares import own
from train.config import TrainingConfig
from train.model import Decoder

BETAS = (0.9, 0.95)  # DeepSeek-V3, section 4.2
EPSILON = 1e-8
MOMENTUM = 0.95


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of `step`, counted from 0: a linear warm-up, then the schedule's course."""
    warmup = max(1, round(config.warmup_share * config.steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "cosine":
        start, end = warmup, config.steps
    else:
        start, end = config.steps - round(config.decay_share * config.steps), config.steps
    progress = min(max((step + 1 - start) / max(1, end - start), 0.0), 1.0)
    fall = (1 - math.cos(math.pi * progress)) / 2 if config.schedule == "cosine" else progress
    return config.learning_rate * (1 - (1 - config.final_share) * fall)


class Muon(torch.optim.AdamW):
    """Muon (Jordan et al. 2024) for the first group, AdamW for the others.

    A matrix moves along its gradient's momentum with all singular values made about one, so that every direction is
    learned alike; of a stack of experts, each does. Scaled as Moonlight does (arXiv 2502.16982), so that AdamW's rate
    and decay serve both.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        every = self.param_groups
        for weight in every[0]["params"]:
            if weight.grad is not None:
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 1 - MOMENTUM)
                move = _orthogonal_share(weight.grad.lerp(momentum, MOMENTUM))
                rate = every[0]["lr"]
                weight.mul_(1 - rate * every[0]["weight_decay"])
                weight.add_(move, alpha=-0.2 * math.sqrt(max(weight.shape[-2:])) * rate)
        self.param_groups = every[1:]
        try:
            return super().step(closure)
        finally:
            self.param_groups = every


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices [..., rows, columns] of the same directions, with singular values between about 0.7 and 1.2.

    Five steps of Jordan's quintic iteration, in bfloat16 on a GPU.
    """
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    wide = x.shape[-2] > x.shape[-1]
    x = x.mT if wide else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.mT if wide else x).to(matrices.dtype)


def _orthogonal_share(matrices: Tensor) -> Tensor:
    """Return `orthogonal`, of which each process holds its share: a matrix is put together; experts are whole anyway."""
    if not isinstance(matrices, DTensor):
        return orthogonal(matrices)
    mesh, cut = matrices.device_mesh, matrices.placements
    if matrices.dim() > 2:
        whole, step = matrices.shape, matrices.stride()
        return DTensor.from_local(orthogonal(matrices.to_local()), mesh, cut, shape=whole, stride=step)
    return distribute_tensor(orthogonal(matrices.full_tensor()), mesh, cut, src_data_rank=None)


def optimiser(decoder: Decoder, config: TrainingConfig) -> torch.optim.AdamW:
    """Return the optimiser of the decoder's weights: matrices decay; norms and the embedding do not.

    With Muon the layers' matrices are its own, except the gates'; AdamW moves the rest.
    """
    hidden: list[torch.nn.Parameter] = []
    decaying: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, weight in decoder.named_parameters():
        if weight.dim() < 2 or name == "model.embed_tokens.weight":
            others.append(weight)
        else:
            own = config.optimiser == "muon" and ".layers." in name and ".gate." not in name
            (hidden if own else decaying).append(weight)
    groups = [{"params": one, "weight_decay": config.weight_decay} for one in (hidden, decaying) if one]
    groups.append({"params": others, "weight_decay": 0.0})
    kind = Muon if hidden else torch.optim.AdamW
    return kind(groups, lr=config.learning_rate, betas=BETAS, eps=EPSILON, fused=True)


def clip(decoder: Decoder, most: float, ranks: Ranks = ALONE) -> float:
    """Scale all gradients so that their norm is at most `most`; return the norm they had, over all processes' shares."""
    gradients = [own(weight.grad) for weight in decoder.parameters() if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if ranks.count > 1:
        norm = ranks.sum(norm.square()).sqrt()
    torch._foreach_mul_(gradients, torch.clamp(most / (norm + 1e-6), max=1.0))
    return float(norm)
