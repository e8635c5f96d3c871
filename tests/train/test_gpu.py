"""Laws of training on a GPU: it computes what the CPU does, to bfloat16's precision. They skip where there is none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from loader.rows import IGNORED, Batch
from pipeline.shards import Shards
from tests.train.conftest import small
from train.config import Config, preset
from train.evaluate import token_nats
from train.generate import generate, generate_with_drafts
from train.hardware import best_device
from train.loop import train, train_step
from train.loss import head_loss
from train.model import Decoder
from train.optim import optimiser

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
VOCABULARY, ROWS, ROW = 97, 4, 64


def rows(seed: int) -> Batch:
    """Rows of several documents, some a single token long, and with an unlearned end."""
    source = np.random.default_rng(seed)
    tokens = source.integers(0, VOCABULARY, (ROWS, ROW + 1)).astype(np.int32)
    documents = np.cumsum(source.random((ROWS, ROW)) < 0.1, axis=1).astype(np.int32)
    targets = tokens[:, 1:].copy()
    targets[:, -3:] = IGNORED
    return Batch(tokens[:, :-1].copy(), targets, documents)


def pair(make_decoder: Callable[..., Decoder], **changes: int) -> tuple[Decoder, Decoder]:
    here = make_decoder(3, hidden_size=64, qk_nope_head_dim=24, qk_rope_head_dim=8, v_head_dim=32, **changes)
    return here, copy.deepcopy(here).to("cuda")


def test_a_token_sees_its_own_document_alone(make_decoder: Callable[..., Decoder]) -> None:
    here, there = pair(make_decoder)
    batch = rows(1)
    nats, _ = token_nats(here, batch)
    found, _ = token_nats(there, batch)
    assert np.median(np.abs(nats - found)) < 0.05  # a few tokens go to another expert: rounding decides
    assert abs(nats.mean() - found.mean()) < 0.02
    changed = batch.inputs_BT.copy()
    others = batch.documents_BT != batch.documents_BT[:, -1:]
    changed[others] = (changed[others] + 1) % VOCABULARY
    again, _ = token_nats(there, Batch(changed, batch.targets_BT, batch.documents_BT))
    assert np.abs(again - found)[~others.ravel()].max() < 1e-3
    assert np.abs(again - found)[others.ravel()].max() > 1e-3


def test_steps_of_compiled_layers_follow_the_cpu(make_decoder: Callable[..., Decoder]) -> None:
    config = preset("tiny-cpu", VOCABULARY)
    losses = []
    for decoder in pair(make_decoder):
        if decoder.lm_head.weight.is_cuda:
            decoder.compile_layers()
        moves = optimiser(decoder, config.training)
        whole = Config(decoder.config, config.training)
        losses.append([train_step(decoder, moves, rows(number), number, whole).loss for number in range(5)])
    assert np.allclose(*losses, rtol=5e-3)


def test_the_fused_loss_has_the_gradients_of_the_plain_one() -> None:
    source = torch.Generator().manual_seed(1)
    hidden, weight = torch.randn(700, 32, generator=source), torch.randn(VOCABULARY, 32, generator=source)
    target = torch.randint(-1, VOCABULARY, (700,), generator=source)
    found = []
    for device in ("cpu", "cuda"):
        inputs = [x.to(device).clone().requires_grad_() for x in (hidden, weight)]
        loss = head_loss(*inputs, target.to(device))
        torch.autograd.backward(loss)
        found.append([loss.detach().cpu(), *(x.grad.cpu() for x in inputs if x.grad is not None)])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


def test_drafted_text_is_that_of_greedy_decoding(make_decoder: Callable[..., Decoder]) -> None:
    _, there = pair(make_decoder)
    prompt = list(range(1, 9))
    assert generate_with_drafts(there, prompt, 40).tokens == generate(there, prompt, 40, 0.0, 1)


def test_a_training_runs_there_and_goes_on_from_its_checkpoint(shards_folder: Path, tmp_path: Path) -> None:
    import dataclasses

    assert best_device().type == "cuda"
    shards = Shards.open(shards_folder)
    model = dataclasses.replace(small(hidden_size=64, v_head_dim=32), vocab_size=shards.vocabulary_size)
    settings = dataclasses.replace(
        preset("tiny-cpu").training, steps=6, checkpoint_every=3, evaluate_every=3, sequence_length=64, epochs=50
    )
    config = Config(model, settings)
    whole = train(shards, tmp_path / "whole", config, 1, quiet=True)
    again = train(shards, tmp_path / "whole", config, 1, resume=True, quiet=True)
    assert whole.steps == again.steps == 6
    for corpus in whole.first:
        assert whole.last[corpus].nats_per_token < whole.first[corpus].nats_per_token
        assert again.last[corpus].nats_per_token == pytest.approx(whole.last[corpus].nats_per_token, rel=1e-3)
