"""The decoder: DeepSeek-V3's architecture, with Hugging Face's tensor names from birth.

`Decoder.state_dict()` names tensors as transformers' `DeepseekV3ForCausalLM` does; the multi-token prediction modules
are the layers after the last one, as in DeepSeek's own release.

Shapes: B sequences, T positions, S positions seen so far, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn import functional

from train import rotary
from train.attention import Attention, Laid, LatentCache, Norm, Seen, linear
from train.config import ModelConfig
from train.experts import FeedForward, MixtureOfExperts, Routing


class Block(nn.Module):
    """Attention, then a feed-forward or experts, each on a normed copy and added back."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.mlp: FeedForward | MixtureOfExperts = (
            FeedForward(config.hidden_size, config.intermediate_size)
            if config.is_dense(layer)
            else MixtureOfExperts(config)
        )

    def forward(
        self,
        x_BTD: Tensor,
        rotations: tuple[Tensor, Tensor],
        seen: Seen,
        cache: LatentCache | None = None,
        layer: int = 0,
    ) -> tuple[Tensor, Routing | None]:
        """Return the new hidden states, and where the tokens went if this block has experts."""
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), rotations, seen, cache, layer)
        normed_BTD = self.post_attention_layernorm(x_BTD)
        if isinstance(self.mlp, FeedForward):
            return x_BTD + self.mlp(normed_BTD), None
        y_BTD, routing = self.mlp(normed_BTD)
        return x_BTD + y_BTD, routing


class SharedHead(nn.Module):
    """The norm before the output head, which prediction modules share with the decoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = Norm(config.hidden_size, config.rms_norm_eps)


class PredictionModule(Block):
    """Predict one token further: from a position's hidden state and the token that follows (section 2.2)."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.enorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.hnorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.eh_proj = linear(2 * config.hidden_size, config.hidden_size)
        self.shared_head = SharedHead(config)

    def predict(
        self,
        hidden_BTD: Tensor,
        embedded_BTD: Tensor,
        rotations: tuple[Tensor, Tensor],
        seen: Seen,
        cache: LatentCache | None = None,
        layer: int = 0,
    ) -> tuple[Tensor, Routing | None]:
        joined = torch.cat([self.enorm(embedded_BTD), self.hnorm(hidden_BTD)], dim=-1)
        # FSDP puts weights together for `predict`, and a call within would part them; what grows by a token is not compiled
        block = self if cache is None and not isinstance(self, FSDPModule) else self.forward
        x_BTD, routing = block(self.eh_proj(joined), rotations, seen, cache, layer)
        return self.shared_head.norm(x_BTD), routing


class Body(nn.Module):
    """Embedding, layers and last norm; the prediction modules are numbered on from the layers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        layers: list[nn.Module] = [Block(config, layer) for layer in range(config.num_hidden_layers)]
        for depth in range(config.num_nextn_predict_layers):
            layers.append(PredictionModule(config, config.num_hidden_layers + depth))
        self.layers = nn.ModuleList(layers)
        self.norm = Norm(config.hidden_size, config.rms_norm_eps)


class Decoder(nn.Module):
    """The whole model. Logits are `hidden @ lm_head.weight.T`; the loss makes them piece by piece."""

    frequencies_P: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Body(config)
        self.lm_head = linear(config.hidden_size, config.vocab_size)
        self.register_buffer("frequencies_P", rotary.frequencies(config), persistent=False)

    @property
    def blocks(self) -> list[Block]:
        return [layer for layer in self.model.layers if isinstance(layer, Block)][: self.config.num_hidden_layers]

    @property
    def prediction_modules(self) -> list[PredictionModule]:
        return [layer for layer in self.model.layers if isinstance(layer, PredictionModule)]

    def forward(
        self, tokens_BT: Tensor, documents_BT: Tensor | None = None, cache: LatentCache | None = None
    ) -> tuple[Tensor, list[Routing]]:
        """Return hidden states [B, T, D] after the last norm, and the routing of each layer with experts.

        `documents_BT` numbers the document of each token: a token sees only those before it in its own, and positions
        start again with each. With a cache, the tokens follow those already in it, and it grows by them.
        """
        start = 0 if cache is None else cache.length
        rotations, seen = self.surroundings(tokens_BT, documents_BT, start, seen=None if cache is None else start)
        x_BTD = self.model.embed_tokens(tokens_BT)
        routings = []
        for layer, block in enumerate(self.blocks):
            run = block if cache is None else block.forward  # what grows by a token at a time is never compiled
            x_BTD, routing = run(x_BTD, rotations, seen, cache, layer)
            if routing is not None:
                routings.append(routing)
        if cache is not None:
            cache.length += tokens_BT.shape[1]
        return self.model.norm(x_BTD), routings

    def further(
        self, hidden_BTD: Tensor, tokens_BT: Tensor, documents_BT: Tensor | None = None
    ) -> tuple[list[Tensor], list[Routing]]:
        """Return the hidden states of each prediction module, [B, T-1, D], [B, T-2, D], …, and their routings.

        Position t of module d has seen the tokens up to t + d and predicts token t + d + 1.
        """
        states, routings = [], []
        for depth, module in enumerate(self.prediction_modules, start=1):
            length = tokens_BT.shape[1] - depth
            documents = None if documents_BT is None else documents_BT[:, :length]
            rotations, seen = self.surroundings(tokens_BT[:, :length], documents)
            embedded_BTD = self.model.embed_tokens(tokens_BT[:, depth:])
            hidden_BTD, routing = module.predict(hidden_BTD[:, :length], embedded_BTD, rotations, seen)
            states.append(hidden_BTD)
            routings.extend([] if routing is None else [routing])
        return states, routings

    def compile_layers(self) -> None:
        """Have torch compile each layer, for training. Worth it on a GPU: 1.5 times the speed, after half a minute.

        On a CPU the products rule; compiled layers were 1.02 to 1.07 times as fast, after 24 to 150 seconds.
        """
        for layer in self.model.layers:
            layer.compile()

    def surroundings(
        self, tokens_BT: Tensor, documents_BT: Tensor | None = None, start: int = 0, seen: int | None = None
    ) -> tuple[tuple[Tensor, Tensor], Seen]:
        """Return the rotations of these tokens' positions, and what each may see.

        `documents_BT` may lie on another device than the tokens; each of its numbers stands in one stretch of a row.
        """
        length, device = tokens_BT.shape[1], tokens_BT.device
        places_T = torch.arange(length, device=device)
        if documents_BT is None:
            mask = None
            if seen is not None:
                mask = (torch.arange(seen + length, device=device) <= (seen + places_T)[:, None])[None]
            return rotary.rotations(self.frequencies_P, (start + places_T)[None], self.config), mask
        first_BT = functional.pad(documents_BT[:, 1:] != documents_BT[:, :-1], (1, 0), value=True)
        start_BT = torch.where(first_BT.to(device), places_T, 0).cummax(dim=1).values
        rotations = rotary.rotations(self.frequencies_P, places_T - start_BT, self.config)
        if device.type == "cuda":
            ends = functional.pad(first_BT.flatten().nonzero()[:, 0], (0, 1), value=first_BT.numel())
            return rotations, Laid(ends.to(device, torch.int32, non_blocking=True), length)
        open_BTT = (start_BT[:, None, :] == start_BT[:, :, None]) & (places_T <= places_T[:, None])
        # added to scores as it is: attention would turn a mask of truth values into this anew in every layer
        return rotations, torch.zeros(open_BTT.shape, device=device).masked_fill(~open_BTT, float("-inf"))

    def initialise(self, seed: int) -> None:
        """Draw all weights anew, as `drawn_weights` does."""
        with torch.no_grad():
            for name, values in drawn_weights(self.config, seed):
                self.get_parameter(name).copy_(values)


def drawn_weights(config: ModelConfig, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Yield a decoder's first weights one by one: norms are 1, the rest normal with the config's deviation.

    A function of the seed: whoever needs a part of a weight draws the whole, and all before it.
    """
    source = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        decoder = Decoder(config)
    for name, weight in sorted(decoder.named_parameters()):
        if name.endswith("norm.weight") or weight.dim() == 1:
            yield name, torch.ones(weight.shape)
        else:
            yield name, torch.empty(weight.shape).normal_(0.0, config.initializer_range, generator=source)


def count_parameters(config: ModelConfig) -> tuple[int, int]:
    """Return how many weights the decoder has, and how many one token is multiplied with.

    Neither counts the prediction modules; the second counts neither the embedding table, which is looked up, nor the
    experts a token does not choose. Builds nothing: works for models larger than memory.
    """
    with torch.device("meta"):
        decoder = Decoder(config)
    total = active = 0
    unchosen = 1 - config.num_experts_per_tok / config.n_routed_experts
    further = tuple(f"model.layers.{config.num_hidden_layers + d}." for d in range(config.num_nextn_predict_layers))
    for name, weight in decoder.named_parameters():
        if name.startswith(further or ("-",)):
            continue
        total += weight.numel()
        if name != "model.embed_tokens.weight":
            active += weight.numel() - (round(weight.numel() * unchosen) if ".mlp.experts." in name else 0)
    return total, active
