"""How much of its training text a model can recite: the beginning of a document given, does it continue it word by word?

After Lee et al. 2021 (arXiv 2107.06499), section 6.3: greedy, 50 tokens given, 50 compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from loader.order import key_of, shuffled
from loader.stream import TrainingData
from train.attention import LatentCache
from train.model import Decoder

GIVEN, DOCUMENTS = 50, 96
_TRIED = 4096  # rows looked into, at most


@dataclass(frozen=True)
class Recited:
    """Of how many documents the continuation was the document's own, and the share of tokens that were."""

    documents: int
    exact: int
    tokens: float


def beginnings(data: TrainingData, rows: int, length: int) -> np.ndarray:
    """Return the first `length` tokens of documents that stand in the first `rows` rows of a run, int32 [documents, length].

    At most 96 documents, those of rows chosen by a keyed order: what stands there ten times is ten times as likely.
    """
    found: dict[int, np.ndarray] = {}
    for position in shuffled(np.arange(min(rows, _TRIED)), rows, key_of("recite")).tolist() if rows else []:
        place = 0
        for piece in data.trace(position, 1)[0]:
            if piece.start == 0 and piece.tokens >= length and piece.document not in found and len(found) < DOCUMENTS:
                found[piece.document] = data.batch(position, 1).targets_BT[0, place : place + length]
            place += piece.tokens
        if len(found) == DOCUMENTS:
            break
    return np.stack(list(found.values())) if found else np.zeros((0, length), np.int32)


def recited(decoder: Decoder, texts_BT: np.ndarray, end_of_text: int) -> Recited:
    """Return how well the decoder continues the first half of each text with its second."""
    count, length = texts_BT.shape
    if count == 0:
        return Recited(0, 0, 0.0)
    given = length // 2
    written_BT = greedy(decoder, texts_BT[:, :given], length - given, end_of_text)
    same_BT = written_BT == texts_BT[:, given:]
    return Recited(count, int(same_BT.all(axis=1).sum()), float(same_BT.mean()))


@torch.no_grad()
def greedy(decoder: Decoder, prompts_BT: np.ndarray, most: int, end_of_text: int) -> np.ndarray:
    """Return the `most` likeliest tokens, one after the other, behind prompts of one length, int64 [prompts, most]."""
    device = decoder.lm_head.weight.device
    count, given = prompts_BT.shape
    cache = LatentCache(decoder.config, len(decoder.blocks), count, given + 1 + most, decoder.lm_head.weight)
    first_B1 = np.full((count, 1), end_of_text)
    tokens_BT = torch.from_numpy(np.concatenate([first_B1, prompts_BT], axis=1)).to(device)
    written = []
    for _ in range(most):
        hidden_BTD, _ = decoder(tokens_BT, cache=cache)
        tokens_BT = (hidden_BTD[:, -1:] @ decoder.lm_head.weight.T).argmax(dim=-1)
        written.append(tokens_BT.cpu().numpy())
    return np.concatenate(written, axis=1)
