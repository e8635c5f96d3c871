"""Small models for the trainer's tests, on one thread so that sums have one order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from train.config import ModelConfig, preset
from train.model import Decoder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(**changes: Any) -> ModelConfig:
    """The tiny preset, smaller yet: 97 words, 32 wide, 3 layers, 8 experts."""
    values = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "intermediate_size": 48,
        "moe_intermediate_size": 16,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "num_attention_heads": 2,
        "kv_lora_rank": 16,
        **changes,
    }
    return dataclasses.replace(preset("tiny-cpu", 97).model, **values)


@pytest.fixture
def make_decoder():  # type: ignore[no-untyped-def]
    """A function that draws a small decoder: `make_decoder(seed, **changes of its config)`."""

    def make(seed: int = 1, **changes: Any) -> Decoder:
        decoder = Decoder(small(**{"initializer_range": 0.2, **changes}))
        decoder.initialise(seed)
        return decoder

    return make
