"""How well a model predicts documents it has never seen: by corpus, language, or any label of documents.

Shapes: B rows, T tokens of a row, N = B·T.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from loader.rows import IGNORED, Batch
from loader.stream import TrainingData, rank_parts, rank_rows
from pipeline.shards import Shards
from ranks.group import ALONE, Ranks
from train.balance import loads, max_violation
from train.hardware import precision, uncompiled
from train.loss import token_losses
from train.model import Decoder

ROWS_AT_ONCE = 8
Labels: TypeAlias = tuple[list[str], np.ndarray]
"""Names, and which of them each document of the shards has: -1 for none."""


@dataclass(frozen=True)
class HeldOutLoss:
    """The loss over held-out tokens of a corpus or a label. Bits per byte compare models of different vocabularies."""

    tokens: int
    nats_per_token: float
    bits_per_byte: float
    max_violation: float | None  # of the experts' loads over the tokens of a corpus


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
    """Return inputs (int32) and targets (int64, as the loss wants them) of a batch on the device, and its documents.

    Those stay with the CPU, which finds where they end without waiting for a GPU to tell.
    """
    targets_BT = torch.from_numpy(batch.targets_BT).to(device, torch.int64)
    return torch.from_numpy(batch.inputs_BT).to(device), targets_BT, torch.from_numpy(batch.documents_BT)


@torch.no_grad()
def token_nats(decoder: Decoder, batch: Batch, ranks: Ranks = ALONE) -> tuple[np.ndarray, float]:
    """Return the loss of each token of these rows, float32 [N], and the violation of the experts' balance over them.

    Of several processes each computes its rows, and each returns all.
    """
    device, (_, length) = decoder.lm_head.weight.device, batch.inputs_BT.shape
    nats_BT, busy = torch.zeros(batch.inputs_BT.shape), None
    at = rank_rows(len(batch), ranks.rank, ranks.count).start
    for part, rows in rank_parts(batch, ROWS_AT_ONCE, ranks.rank, ranks.count):
        inputs_BT, targets_BT, documents_BT = as_tensors(part, device)
        with precision(device), uncompiled(device):  # batches of all sizes come here
            hidden_BTD, routings = decoder(inputs_BT, documents_BT)
            losses_N = token_losses(hidden_BTD.flatten(0, 1), decoder.lm_head.weight, targets_BT.flatten())
        nats_BT[at : at + rows] = losses_N.view(-1, length)[:rows].cpu()
        at += rows
        if routings:
            here = loads(routings, decoder.config.n_routed_experts) * min(rows, 1)
            busy = here if busy is None else busy + here
    violation = 0.0 if busy is None else max_violation(ranks.sum(busy))
    return ranks.sum(nats_BT).flatten().numpy(), violation


def evaluate_corpora(
    decoder: Decoder,
    data: TrainingData,
    most: int,
    bytes_of_tokens: np.ndarray,
    labels: Mapping[str, Labels] | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, HeldOutLoss]:
    """Measure the decoder on at most `most` held-out rows of every corpus that has some.

    With `labels`, also over all documents of each label, under names such as `language: en`.
    """
    found, parts = {}, []
    for corpus in data.held_out:
        batch, documents_BT = data.evaluation(corpus, most)
        nats_N, violation = token_nats(decoder, batch, ranks)
        here = batch.targets_BT.ravel() != IGNORED
        bytes_N = bytes_of_tokens[batch.targets_BT.ravel()[here]]
        parts.append((documents_BT.ravel()[here], nats_N[here], bytes_N))
        found[corpus] = _loss(nats_N[here], bytes_N, violation)
    if isinstance(decoder, FSDPModule):
        decoder.reshard()  # else embedding and head would stay put together until the next step
    document_N, nats_N, bytes_N = (
        (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else [np.zeros(0, int)] * 3
    )
    for name, (texts, label_D) in (labels or {}).items():
        label_N = label_D[document_N]
        for label in np.unique(label_N[label_N >= 0]):
            same = label_N == label
            found[f"{name}: {texts[label]}"] = _loss(nats_N[same], bytes_N[same], None)
    return found


def _loss(nats_N: np.ndarray, bytes_N: np.ndarray, violation: float | None) -> HeldOutLoss:
    nats = float(nats_N.sum(dtype=np.float64))
    bits = nats / math.log(2) / max(1, int(bytes_N.sum()))
    return HeldOutLoss(len(nats_N), nats / max(1, len(nats_N)), bits, violation)


def languages(shards: Shards) -> Labels:
    """Return each document's language: of code the programming language, else that of its text."""
    columns = [shards.documents(number) for number in range(len(shards.infos))]
    named = [pc.coalesce(one.column("programming_language"), one.column("language")) for one in columns]
    coded = pa.chunked_array(named, pa.string()).dictionary_encode().combine_chunks()
    return coded.dictionary.to_pylist(), pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
