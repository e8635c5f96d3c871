"""Keep the experts evenly used: by a bias on the choice, and by a small loss within each sequence.

After "Auxiliary-loss-free load balancing" (arXiv 2408.15664) and DeepSeek-V3 (arXiv 2412.19437, section 2.1.2).

Shapes: B sequences, T positions, E experts, K experts per token, M layers with experts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from train.experts import MixtureOfExperts, Routing
from train.model import Decoder

FASTEST, SLOWEST = 0.02, 0.001  # DeepSeek-V3's 0.001 moves nothing in a run of hundreds of steps
TRAVEL = 4.0  # how far a bias may go at its fastest over a run; scores lie within (0, 1)
SETTLED_SHARE = 0.97  # then the bias rests, as in DeepSeek-V3's last 500 of 14,800 billion tokens


def bias_speed(step: int, steps: int) -> float:
    """Return by how much biases move at `step` of `steps`.

    A short run must move faster to get anywhere: the speed starts at TRAVEL over the run's length, kept within
    [SLOWEST, FASTEST], falls to SLOWEST, and is 0 at the very end so that what is exported is what was trained.
    """
    progress = step / steps
    if progress >= SETTLED_SHARE:
        return 0.0
    start = min(max(TRAVEL / steps, SLOWEST), FASTEST)
    return start + (SLOWEST - start) * progress


def loads(routings: list[Routing], experts: int) -> Tensor:
    """Return how many tokens chose each expert in each layer, int64 [M, E]."""
    return torch.stack([torch.bincount(routing.chosen_BTK.flatten(), minlength=experts) for routing in routings])


def sequence_loss(routing: Routing) -> Tensor:
    """Return the sequence-wise balance loss of one layer, averaged over sequences; 1 when perfectly even.

    For each sequence, the share of choices each expert got, times the mean of its normalised scores, summed and times
    E (equations 17 to 20, without alpha).
    """
    scores_BTE, chosen_BTK = routing
    experts, per_token = scores_BTE.shape[-1], chosen_BTK.shape[-1]
    ones = torch.ones_like(chosen_BTK, dtype=scores_BTE.dtype).flatten(1)
    chosen_BE = scores_BTE.new_zeros(len(scores_BTE), experts).scatter_add(1, chosen_BTK.flatten(1), ones)
    share_BE = chosen_BE / (scores_BTE.shape[1] * per_token)
    affinity_BE = (scores_BTE / scores_BTE.sum(dim=-1, keepdim=True)).mean(dim=1)
    return experts * (share_BE * affinity_BE).sum(dim=-1).mean()


def max_violation(loads_ME: Tensor) -> float:
    """Return by what share of the mean the busiest expert exceeds it, averaged over layers; 0 is perfect balance."""
    mean_M1 = loads_ME.double().mean(dim=-1, keepdim=True)
    return float((loads_ME.double().max(dim=-1).values / mean_M1.squeeze(-1) - 1).mean())


def expert_layers(decoder: Decoder) -> list[MixtureOfExperts]:
    """Return the decoder's layers with experts, in the order of its routings; prediction modules come last."""
    layers = [*decoder.blocks, *decoder.prediction_modules]
    return [layer.mlp for layer in layers if isinstance(layer.mlp, MixtureOfExperts)]


@torch.no_grad()
def move_biases(decoder: Decoder, loads_ME: Tensor, speed: float) -> None:
    """Raise the bias of experts that got less than the mean of a batch, lower that of those that got more."""
    below_ME = loads_ME.double().mean(dim=-1, keepdim=True) - loads_ME.double()
    for layer, moves_E in zip(expert_layers(decoder), speed * below_ME.sign().float(), strict=True):
        layer.gate.e_score_correction_bias += moves_E
