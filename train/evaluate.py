"""How well a model predicts documents it has never seen, corpus by corpus.

Shapes: B rows, T tokens of a row, N = B·T.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from train.balance import loads, max_violation
from train.data import Batch, TrainingData
from train.hardware import precision
from train.loss import token_losses
from train.model import Decoder

ROWS_AT_ONCE = 8


@dataclass(frozen=True)
class HeldOutLoss:
    """The loss over a corpus's held-out tokens. Bits per byte compare models of different vocabularies."""

    tokens: int
    nats_per_token: float
    bits_per_byte: float
    max_violation: float  # of the experts' loads over these tokens


def token_bytes(tokenizer_json: bytes, vocabulary_size: int) -> np.ndarray:
    """Return how many bytes of text each token stands for, int64 [V]; a special token stands for none.

    The tokenizer must be byte-level: then each character of a token's name is one byte.
    """
    document = json.loads(tokenizer_json)
    lengths = np.zeros(vocabulary_size, np.int64)
    for name, token in document["model"]["vocab"].items():
        lengths[token] = len(name)
    for added in document["added_tokens"]:
        lengths[added["id"]] = 0 if added["special"] else len(added["content"].encode())
    return lengths


def as_tensors(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs (int32), targets (int64, as the loss wants them) and documents of a batch on the device."""
    targets_BT = torch.from_numpy(batch.targets_BT).to(device, torch.int64)
    return torch.from_numpy(batch.inputs_BT).to(device), targets_BT, torch.from_numpy(batch.documents_BT).to(device)


@torch.no_grad()
def evaluate(decoder: Decoder, batch: Batch, bytes_of_tokens: np.ndarray) -> HeldOutLoss:
    """Measure the decoder on these rows."""
    device = decoder.lm_head.weight.device
    nats = 0.0
    busy = None
    for start in range(0, len(batch), ROWS_AT_ONCE):
        inputs_BT, targets_BT, documents_BT = as_tensors(batch[start : start + ROWS_AT_ONCE], device)
        with precision(device):
            hidden_BTD, routings = decoder(inputs_BT, documents_BT)
            losses_N = token_losses(hidden_BTD.flatten(0, 1), decoder.lm_head.weight, targets_BT.flatten())
        nats += float(losses_N.double().sum())
        if routings:
            here = loads(routings, decoder.config.n_routed_experts)
            busy = here if busy is None else busy + here
    learned = batch.targets_BT[batch.targets_BT >= 0]
    size = int(bytes_of_tokens[learned].sum())
    return HeldOutLoss(
        tokens=len(learned),
        nats_per_token=nats / max(1, len(learned)),
        bits_per_byte=nats / math.log(2) / max(1, size),
        max_violation=0.0 if busy is None else max_violation(busy),
    )


def evaluate_corpora(
    decoder: Decoder, data: TrainingData, most: int, bytes_of_tokens: np.ndarray
) -> dict[str, HeldOutLoss]:
    """Measure the decoder on at most `most` held-out rows of every corpus that has some."""
    return {corpus: evaluate(decoder, data.evaluation(corpus, most), bytes_of_tokens) for corpus in data.held_out}
