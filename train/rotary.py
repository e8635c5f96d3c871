"""Rotary positions, with YaRN: where a query and a key stand, as rotations of pairs of numbers.

Shapes: B sequences, T positions, H heads, C numbers rotated, P = C/2 pairs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from train.config import ModelConfig, Yarn


def magnitude(factor: float, weight: float) -> float:
    """YaRN's correction of the attention's temperature for positions stretched by `factor` (Peng et al. 2023)."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def softmax_scale(config: ModelConfig) -> float:
    """Return what the products of queries and keys are multiplied by before the softmax."""
    scale = config.qk_head_dim**-0.5
    yarn = config.rope_scaling
    return scale if yarn is None else scale * magnitude(yarn.factor, yarn.mscale_all_dim) ** 2


def frequencies(config: ModelConfig) -> Tensor:
    """Return the angle by which each pair turns per position, float32 [P], slow pairs stretched by YaRN."""
    width = config.qk_rope_head_dim
    inverse_P = config.rope_theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
    yarn = config.rope_scaling
    if yarn is None:
        return 1.0 / inverse_P
    low, high = _ramp_ends(yarn, width, config.rope_theta)
    ramp_P = ((torch.arange(width // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    return (1.0 / inverse_P) * (1 - ramp_P) + (1.0 / (yarn.factor * inverse_P)) * ramp_P


def _ramp_ends(yarn: Yarn, width: int, theta: float) -> tuple[float, float]:
    """Between which pairs the stretching sets in: those that turn `beta_fast` and `beta_slow` times in the original."""

    def pair(turns: float) -> float:
        positions = yarn.original_max_position_embeddings
        return width * math.log(positions / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(pair(yarn.beta_fast)), 0)
    high = min(math.ceil(pair(yarn.beta_slow)), width - 1)
    return low, high if high != low else high + 0.001


def rotations(frequencies_P: Tensor, positions_BT: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Return cosines and sines [B, T, P] of the angles at `positions_BT`, float32."""
    yarn = config.rope_scaling
    weight = 1.0 if yarn is None else magnitude(yarn.factor, yarn.mscale) / magnitude(yarn.factor, yarn.mscale_all_dim)
    angles_BTP = positions_BT[..., None].float() * frequencies_P
    return angles_BTP.cos() * weight, angles_BTP.sin() * weight


def rotate(x_BHTC: Tensor, cosines_BTP: Tensor, sines_BTP: Tensor) -> Tensor:
    """Turn neighbouring pairs of numbers. Of the result, first come all first halves of pairs, then all second.

    Queries and keys are reordered alike, so their products are those of the interleaved order.
    """
    cosines, sines = cosines_BTP[:, None].to(x_BHTC.dtype), sines_BTP[:, None].to(x_BHTC.dtype)
    first, second = x_BHTC[..., 0::2], x_BHTC[..., 1::2]
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)
