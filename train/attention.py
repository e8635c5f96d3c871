"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1).

Keys and values of all heads are made from one small latent per position, so a decoder needs to remember only that
latent and one rotated key: R + C numbers per token and layer.

Shapes: B sequences, T new positions, S positions seen so far, D hidden, H heads, N and C the parts of a query without
and with rotation, Q = N + C, V of a value, R of the latent, L layers.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

from train import rotary
from train.config import ModelConfig


class Norm(nn.Module):
    """Divide by the root of the mean square, then weigh each number."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.epsilon)


class Laid(NamedTuple):
    """Rows laid end to end, and where a document of them begins or ends, int32 [documents + 1]: none sees another."""

    ends: Tensor
    longest: int  # no document is longer


Seen: TypeAlias = "Tensor | Laid | None"
"""What a token may see: numbers [B, T, S] added to scores; with a past, whether [B, T, S]; where documents end; or all
before it."""


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


class LatentCache:
    """What attention remembers of `length` past positions: latent and rotated key, R + C numbers each, per layer."""

    def __init__(self, config: ModelConfig, layers: int, batch: int, positions: int, like: Tensor) -> None:
        self.rank = config.kv_lora_rank
        width = config.kv_lora_rank + config.qk_rope_head_dim
        self.states_LBSW = like.new_zeros(layers, batch, positions, width)
        self.length = 0

    def extend(self, layer: int, latent_BTR: Tensor, key_BTC: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new positions behind `length`; return all of the layer's latents [B,S,R] and keys [B,S,C]."""
        end = self.length + latent_BTR.shape[1]
        states_BSW = self.states_LBSW[layer, :, :end]
        states_BSW[:, self.length :, : self.rank] = latent_BTR
        states_BSW[:, self.length :, self.rank :] = key_BTC
        return states_BSW[..., : self.rank], states_BSW[..., self.rank :]

    @property
    def bytes_per_token(self) -> int:
        layers, _, _, width = self.states_LBSW.shape
        return layers * width * self.states_LBSW.element_size()


class Attention(nn.Module):
    """Latent attention, in two forms that give the same: whole heads for training, latents for decoding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        hidden, heads = config.hidden_size, config.num_attention_heads
        if config.q_lora_rank is None:
            self.q_proj = linear(hidden, heads * config.qk_head_dim)
        else:
            self.q_a_proj = linear(hidden, config.q_lora_rank)
            self.q_a_layernorm = Norm(config.q_lora_rank, 1e-6)
            self.q_b_proj = linear(config.q_lora_rank, heads * config.qk_head_dim)
        self.kv_a_proj_with_mqa = linear(hidden, config.kv_lora_rank + config.qk_rope_head_dim)
        self.kv_a_layernorm = Norm(config.kv_lora_rank, 1e-6)
        self.kv_b_proj = linear(config.kv_lora_rank, heads * (config.qk_nope_head_dim + config.v_head_dim))
        self.o_proj = linear(heads * config.v_head_dim, hidden)
        self.scale = rotary.softmax_scale(config)

    def forward(
        self,
        x_BTD: Tensor,
        rotations: tuple[Tensor, Tensor],
        seen: Seen,
        cache: LatentCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """Attend to the past, as far as it may be seen."""
        config, (batch, length, _) = self.config, x_BTD.shape
        if config.q_lora_rank is None:
            q = self.q_proj(x_BTD)
        else:
            q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x_BTD)))
        q_BHTQ = q.view(batch, length, config.num_attention_heads, config.qk_head_dim).transpose(1, 2)
        q_BHTN, q_BHTC = q_BHTQ.split([config.qk_nope_head_dim, config.qk_rope_head_dim], dim=-1)
        latent_BTR, key_BTC = self.kv_a_proj_with_mqa(x_BTD).split(
            [config.kv_lora_rank, config.qk_rope_head_dim], dim=-1
        )
        latent_BTR = self.kv_a_layernorm(latent_BTR)
        q_BHTC = rotary.rotate(q_BHTC, *rotations)
        key_B1TC = rotary.rotate(key_BTC[:, None], *rotations)
        if cache is None:
            y_BHTV = self._expanded(q_BHTN, q_BHTC, latent_BTR, key_B1TC, seen)
        else:
            if not isinstance(seen, Tensor):
                raise ValueError("decoding from a cache needs the mask of what each new position may see")
            past = cache.extend(layer, latent_BTR, key_B1TC[:, 0])
            y_BHTV = self._absorbed(q_BHTN, q_BHTC, *past, seen)
        return self.o_proj(y_BHTV.transpose(1, 2).reshape(batch, length, -1))

    def _expanded(self, q_BHTN: Tensor, q_BHTC: Tensor, latent_BTR: Tensor, key_B1TC: Tensor, seen: Seen) -> Tensor:
        config, (batch, heads, length, _) = self.config, q_BHTN.shape
        keys_values = self.kv_b_proj(latent_BTR).view(batch, length, heads, -1).transpose(1, 2)
        k_BHTN, v_BHTV = keys_values.split([config.qk_nope_head_dim, config.v_head_dim], dim=-1)
        q_BHTQ = torch.cat([q_BHTN, q_BHTC], dim=-1)
        k_BHTQ = torch.cat([k_BHTN, key_B1TC.expand(-1, heads, -1, -1)], dim=-1)
        # The fused kernels want values as wide as keys: padding them is 1.4 times as fast as the unfused path.
        v_BHTQ = functional.pad(v_BHTV, (0, config.qk_head_dim - config.v_head_dim))
        if isinstance(seen, Laid):
            y_BHTQ = self._laid(q_BHTQ, k_BHTQ, v_BHTQ, seen)
        else:
            mask = None if seen is None else seen[:, None].to(q_BHTQ.dtype)
            y_BHTQ = functional.scaled_dot_product_attention(
                q_BHTQ, k_BHTQ, v_BHTQ, attn_mask=mask, is_causal=mask is None, scale=self.scale
            )
        return y_BHTQ[..., : config.v_head_dim]

    def _laid(self, q_BHTQ: Tensor, k_BHTQ: Tensor, v_BHTQ: Tensor, laid: Laid) -> Tensor:
        """Attend within documents alone, without ever making the scores across them (a GPU's kernel, in bfloat16)."""
        batch, _, length, _ = q_BHTQ.shape
        q, k, v = (x.transpose(1, 2).flatten(0, 1).to(torch.bfloat16) for x in (q_BHTQ, k_BHTQ, v_BHTQ))
        ends, longest = laid
        y = varlen_attn(q, k, v, ends, ends, longest, longest, scale=self.scale, window_size=(-1, 0))
        assert isinstance(y, Tensor)  # it returns more only if asked to
        return y.view(batch, length, *y.shape[1:]).transpose(1, 2)

    def _absorbed(
        self, q_BHTN: Tensor, q_BHTC: Tensor, latent_BSR: Tensor, key_BSC: Tensor, mask_BTS: Tensor
    ) -> Tensor:
        """Move the key's and the value's expansion onto the query and the result, so that the past stays latent."""
        config, heads = self.config, q_BHTN.shape[1]
        expand = self.kv_b_proj.weight.view(heads, -1, config.kv_lora_rank)
        expand_HNR, expand_HVR = torch.split(expand, [config.qk_nope_head_dim, config.v_head_dim], dim=1)
        q_BHTR = torch.einsum("bhtn,hnr->bhtr", q_BHTN, expand_HNR.to(q_BHTN.dtype))
        scores_BHTS = q_BHTR @ latent_BSR[:, None].transpose(2, 3) + q_BHTC @ key_BSC[:, None].transpose(2, 3)
        scores_BHTS = (scores_BHTS.float() * self.scale).masked_fill(~mask_BTS[:, None], float("-inf"))
        seen_BHTR = scores_BHTS.softmax(dim=-1).to(latent_BSR.dtype) @ latent_BSR[:, None]
        return torch.einsum("bhtr,hvr->bhtv", seen_BHTR, expand_HVR.to(seen_BHTR.dtype))
