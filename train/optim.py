"""How weights move: AdamW, the learning rate over a run, and the clipping of gradients."""

from __future__ import annotations

import math

import torch

from train.config import TrainingConfig
from train.model import Decoder

BETAS = (0.9, 0.95)  # DeepSeek-V3, section 4.2
EPSILON = 1e-8


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


def optimiser(decoder: Decoder, config: TrainingConfig) -> torch.optim.AdamW:
    """Return AdamW over the decoder's weights, in two groups: matrices decay; norms and the embedding do not."""
    decaying: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, weight in decoder.named_parameters():
        (decaying if weight.dim() > 1 and name != "model.embed_tokens.weight" else others).append(weight)
    groups = [{"params": decaying, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS, eps=EPSILON, fused=True)


def clip(decoder: Decoder, most: float) -> float:
    """Scale all gradients so that their norm is at most `most`; return the norm they had."""
    return float(torch.nn.utils.clip_grad_norm_(decoder.parameters(), most))
