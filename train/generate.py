"""Text from a model, one token at a time or several, remembering one latent per position.

Prediction modules can draft the tokens that follow; the decoder then reads all drafts at once and keeps those it would
have chosen itself. The text is that of greedy decoding, in fewer passes (DeepSeek-V3, section 5.4.3).

Shapes: T positions, V vocabulary, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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


@dataclass(frozen=True)
class Drafted:
    """A text, the passes of the decoder it took, and how many drafted tokens were offered and kept."""

    tokens: list[int]
    forwards: int
    offered: int
    kept: int

    @property
    def acceptance(self) -> float:
        return self.kept / max(1, self.offered)


@torch.no_grad()
def generate_with_drafts(decoder: Decoder, prompt: list[int], most: int, end_of_text: int | None = None) -> Drafted:
    """Return the text of `generate` at temperature 0, drafted by the prediction modules and checked by the decoder."""
    modules = len(decoder.prediction_modules)
    most = min(most, decoder.config.max_position_embeddings - len(prompt))
    room = len(prompt) + most + modules
    cache = LatentCache(decoder.config, len(decoder.blocks), 1, room, decoder.lm_head.weight)
    drafter = _Drafter(decoder, room)
    text, drafts = list(prompt), list[int]()
    forwards = offered = kept = 0
    while len(text) - len(prompt) < most:
        read = text[cache.length :] + drafts
        hidden_TD = decoder(torch.tensor([read], device=decoder.lm_head.weight.device), cache=cache)[0][0]
        forwards, offered = forwards + 1, offered + len(drafts)
        known = len(read) - len(drafts)  # of what was read, the rest was drafted
        chosen = decoder.lm_head(hidden_TD[known - 1 :]).argmax(dim=-1).tolist()
        good = 0
        while good < len(drafts) and chosen[good] == drafts[good]:
            good += 1
        kept += good
        text += chosen[: good + 1]
        if end_of_text in chosen[: good + 1]:
            break
        cache.length -= len(drafts) - good  # the latents behind a wrong draft are forgotten
        drafter.hear(hidden_TD[: known + good])
        left = most - (len(text) - len(prompt)) - 1
        drafts = drafter.draft(text)[: max(0, left)]
    found = text[len(prompt) : len(prompt) + most]
    return Drafted(found[: found.index(end_of_text)] if end_of_text in found else found, forwards, offered, kept)


class _Drafter:
    """The prediction modules at work: each remembers the latents of positions whose tokens are certain."""

    def __init__(self, decoder: Decoder, room: int) -> None:
        self.decoder = decoder
        like = decoder.lm_head.weight
        self.caches = [LatentCache(decoder.config, 1, 1, room, like) for _ in decoder.prediction_modules]
        # per module, the states below it of positions that it has not read for certain
        self.waiting: list[Tensor] = [like.new_zeros(0, decoder.config.hidden_size) for _ in self.caches]

    def hear(self, hidden_TD: Tensor) -> None:
        """Take in the decoder's states of the positions that have become certain."""
        if self.waiting:
            self.waiting[0] = torch.cat([self.waiting[0], hidden_TD])

    def draft(self, text: list[int]) -> list[int]:
        """Return a token per module, which may follow the text.

        Module d reads, at position t, the state below it and token t + d. Within the text that is certain and kept;
        for the positions behind, the tokens just drafted stand in, and what they leave is forgotten again.
        """
        drafts: list[int] = []
        guessed = self.decoder.lm_head.weight.new_zeros(0, self.decoder.config.hidden_size)
        for depth, (module, cache) in enumerate(
            zip(self.decoder.prediction_modules, self.caches, strict=True), start=1
        ):
            below_TD = torch.cat([self.waiting[depth - 1], guessed])
            start, certain = cache.length, max(0, len(text) - depth - cache.length)
            tokens = (text + drafts)[start + depth : start + depth + len(below_TD)]
            device = below_TD.device
            tokens_1T = torch.tensor([tokens], device=device)
            rotations, mask = self.decoder.surroundings(tokens_1T, None, start, seen=start)
            embedded = self.decoder.model.embed_tokens(tokens_1T)
            state_TD = module.predict(below_TD[None], embedded, rotations, mask, cache)[0][0]
            cache.length += certain
            self.waiting[depth - 1] = below_TD[certain : len(self.waiting[depth - 1])]
            if depth < len(self.caches):
                self.waiting[depth] = torch.cat([self.waiting[depth], state_TD[:certain]])
            guessed = state_TD[certain:]
            drafts.append(int(self.decoder.lm_head(state_TD[-1]).argmax()))
        return drafts
