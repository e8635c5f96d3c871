"""Small models for the trainer's tests, on one thread so that sums have one order."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from pydoc_data import topics
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.shard import write_shard
from pipeline.shards import index_files
from pipeline.tokens import Tokenizer
from pipeline.vocabulary import train_tokenizer
from train.config import Config, ModelConfig, preset
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
def make_decoder() -> Callable[..., Decoder]:
    """A function that draws a small decoder: `make_decoder(seed, **changes of its config)`."""

    def make(seed: int = 1, **changes: Any) -> Decoder:
        decoder = Decoder(small(**{"initializer_range": 0.2, **changes}))
        decoder.initialise(seed)
        return decoder

    return make


def corpora() -> dict[str, list[str]]:
    """Two real corpora that every Python carries: the language reference's topics, and functions' sources."""
    modules = (dataclasses, inspect)
    functions = [item for module in modules for _, item in inspect.getmembers(module, inspect.isfunction)]
    return {
        "code": [inspect.getsource(item) for item in functions],
        "reference": [topics.topics[name] for name in sorted(topics.topics)[:40]],
    }


def write_folder(folder: Path, texts: dict[str, list[str]], tokenizer_json: bytes, shards: int = 2) -> Path:
    """Write a folder of shards of these texts, documents dealt to the shards in turn. Ids are `<corpus>-<number>`."""
    tokenizer = Tokenizer.from_json(tokenizer_json)
    rows = [(name, f"{name}-{i}", text) for name, ones in texts.items() for i, text in enumerate(ones)]
    folder.mkdir(parents=True)
    infos = []
    for number in range(shards):
        infos.append(_write_one(folder / f"data-{number:05}.arrow", rows[number::shards], tokenizer))
    for name, content in index_files(infos, tokenizer_json, tokenizer.end_of_text, {}).items():
        (folder / name).write_bytes(content)
    return folder


def _write_one(path: Path, rows: Sequence[tuple[str, str, str]], tokenizer: Tokenizer) -> Any:
    offsets, ids = tokenizer.encode(pa.array([text for _, _, text in rows], pa.large_string()))
    columns = pa.table(
        {
            "id": [one for _, one, _ in rows],
            "corpus": [corpus for corpus, _, _ in rows],
            "source": pa.array([f"{corpus}.txt" for corpus, _, _ in rows], pa.string()),
            "language": pa.nulls(len(rows), pa.string()),
            "programming_language": pa.array(
                ["Python" if corpus == "code" else None for corpus, _, _ in rows], pa.string()
            ),
            "url": pa.nulls(len(rows), pa.string()),
        }
    )
    with path.open("wb") as stream:
        return write_shard(stream, path.name, columns, offsets, np.asarray(ids))


@pytest.fixture(scope="session")
def tokenizer_json() -> bytes:
    return train_tokenizer([text for texts in corpora().values() for text in texts], 512)


@pytest.fixture(scope="session")
def shards_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: bytes) -> Path:
    """A folder of two shards with two corpora, about 80 documents each."""
    return write_folder(tmp_path_factory.mktemp("run") / "shards", corpora(), tokenizer_json)


@pytest.fixture
def folder_of() -> Callable[..., Path]:
    """A function that writes shards: `folder_of(folder, tokenizer_json, shards, texts=corpora())`."""

    def make(folder: Path, tokenizer: bytes, shards: int, texts: dict[str, list[str]] | None = None) -> Path:
        return write_folder(folder, corpora() if texts is None else texts, tokenizer, shards)

    return make


def small_config(vocabulary_size: int, **training: Any) -> Config:
    """A model and training small enough for a test: rows of 64 tokens, 4 a step."""
    values = {
        "steps": 6,
        "sequence_length": 64,
        "batch_sequences": 4,
        "micro_batch_sequences": 4,
        "evaluate_every": 3,
        "evaluation_sequences": 4,
        "checkpoint_every": 2,
        **training,
    }
    settings = dataclasses.replace(preset("tiny-cpu").training, **values)
    return Config(small(vocab_size=vocabulary_size, initializer_range=0.02), settings)


@pytest.fixture(scope="session")
def make_config(tokenizer_json: bytes) -> Callable[..., Config]:
    """A function that makes a small configuration for the tests' tokenizer, with these changes of its training."""
    size = Tokenizer.from_json(tokenizer_json).vocabulary_size

    def make(**training: Any) -> Config:
        return small_config(size, **training)

    return make
