"""Small folders of shards with one tokenizer, and a configuration small enough for a test."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ablate.folder import Folder
from tests.train.conftest import (  # noqa: F401 - fixtures
    corpora,
    make_config,
    make_decoder,
    one_thread,
    tokenizer_json,
    write_folder,
)

Texts = dict[str, list[str]]


def noisy(texts: Texts, seed: int = 0) -> Texts:
    """Return the texts with as much again in repeats and words in random order."""
    source = random.Random(seed)
    return {
        corpus: [*ones, *(source.choice(ones[:3]) for _ in ones), *(_salad(one, source) for one in ones)]
        for corpus, ones in texts.items()
    }


def _salad(text: str, source: random.Random) -> str:
    words = text.split()
    return " ".join(source.sample(words, len(words)))


@pytest.fixture
def folder(tmp_path: Path, tokenizer_json: bytes) -> Callable[..., Folder]:  # noqa: F811
    """A function that writes and opens a folder: `folder(name, texts=corpora(), shards=2)`."""

    def make(name: str, texts: Texts | None = None, shards: int = 2) -> Folder:
        return Folder.open(write_folder(tmp_path / name, corpora() if texts is None else texts, tokenizer_json, shards))

    return make
