"""Text from a model, one token at a time, remembering one latent per position.

Shapes: T positions, V vocabulary, D hidden.
"""

from __future__ import annotations

import torch

from train.attention import LatentCache
from train.model import Decoder


@torch.no_grad()
def generate(
    decoder: Decoder, prompt: list[int], most: int, temperature: float, seed: int, end_of_text: int | None = None
) -> list[int]:
    """Return at most `most` tokens after the prompt, which holds one at least; END_OF_TEXT ends it and is left out.

    `temperature` 0 takes the likeliest token each time. The same seed gives the same text on the same machine.
    """
    device = decoder.lm_head.weight.device
    most = min(most, decoder.config.max_position_embeddings - len(prompt))
    cache = LatentCache(decoder.config, len(decoder.blocks), 1, len(prompt) + most, decoder.lm_head.weight)
    source = torch.Generator().manual_seed(seed)
    tokens_1T = torch.tensor([prompt], device=device)
    found: list[int] = []
    while len(found) < most:
        hidden_1TD, _ = decoder(tokens_1T, cache=cache)
        logits_V = (decoder.lm_head.weight @ hidden_1TD[0, -1]).float().cpu()
        if temperature > 0:
            chances_V = torch.softmax(logits_V / temperature, dim=-1)
            token = int(torch.multinomial(chances_V, 1, generator=source))
        else:
            token = int(logits_V.argmax())
        if token == end_of_text:
            break
        found.append(token)
        tokens_1T = torch.tensor([[token]], device=device)
    return found
