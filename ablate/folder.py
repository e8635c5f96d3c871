"""A folder of shards as an arm of the comparison: its documents by corpus, hash and length, and what to train on.

Shapes: D documents, counted over all shards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loader.choice import DataError, hash_of
from loader.rows import Rows
from pipeline.shards import Shards


@dataclass(frozen=True)
class Folder:
    """The documents of a folder of shards. A document's hash belongs to its corpus and id, not to its place."""

    path: Path
    shards: Shards
    corpora: tuple[str, ...]  # by name
    corpus_D: np.ndarray  # int16
    hash_D: np.ndarray  # uint64
    tokens_D: np.ndarray  # int64

    @staticmethod
    def open(path: Path, verify: bool = True) -> Folder:
        """Open a run folder or a folder of shards. Raises ShardError where it is damaged, DataError where it is empty."""
        if (path / "over-budget.json").is_file() and not (path / "manifest.json").is_file():
            raise DataError(
                f"{path}: the run rejected more records than its budget allows, and published no manifest; "
                f"name {path / 'shards'} to compare what it kept all the same"
            )
        path = path / "shards" if (path / "shards").is_dir() else path
        shards = Shards.open(path, verify)
        corpora = tuple(sorted({name for info in shards.infos for name in info.corpora}))
        number = {name: place for place, name in enumerate(corpora)}
        corpus_D, hash_D, tokens_D = [], [], []
        for shard in range(len(shards.infos)):
            about = shards.documents(shard)
            names, ids = (about.column(column).to_pylist() for column in ("corpus", "id"))
            corpus_D.append(np.array([number[name] for name in names], np.int16))
            hash_D.append(np.array([hash_of(*both) for both in zip(names, ids, strict=True)], np.uint64))
            tokens_D.append(np.diff(shards.offsets(shard)))
        if not shards.total_tokens:
            raise DataError(f"{path}: holds no tokens to train on")
        return Folder(path, shards, corpora, *(np.concatenate(part) for part in (corpus_D, hash_D, tokens_D)))

    def __len__(self) -> int:
        return len(self.tokens_D)

    def tokens(self, document: int, most: int | None = None) -> np.ndarray:
        """Return the token ids of a document, or its first `most`: a view."""
        shard, place = self.place(np.array([document]))
        start, end = self.shards.offsets(int(shard[0]))[int(place[0]) : int(place[0]) + 2]
        return self.shards.tokens(int(shard[0]))[start : end if most is None else min(end, start + most)]

    def place(self, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the shard of each of these documents and its place there, int64 each."""
        before_S = np.cumsum([0, *(info.documents for info in self.shards.infos)])
        shard_D = np.searchsorted(before_S, documents, side="right") - 1
        return shard_D, documents - before_S[shard_D]

    def rows(self, documents: np.ndarray, row_length: int) -> Rows:
        """Return these documents packed into rows."""
        none = np.zeros(len(documents))
        return Rows(self.shards, *self.place(documents), row_length, none.astype(bool), none.astype(np.uint64))

    def drawn(self, tokens: int, seed: int, among_D: np.ndarray) -> np.ndarray:
        """Return which documents `among_D` make a random subset of at least `tokens`, and no document more, bool [D].

        A keyed hash of corpus, id, length and seed puts them in an order, whatever the order of shards.
        """
        documents = np.flatnonzero(among_D)
        keys = [hash_of(f"{one:x}", str(length), f"subset {seed}") for one, length in self._names(documents)]
        order = documents[np.argsort(np.array(keys, np.uint64), kind="stable")]
        held = np.cumsum(self.tokens_D[order])
        chosen_D = np.zeros(len(self), bool)
        chosen_D[order[: int(np.searchsorted(held, tokens)) + 1]] = True
        return chosen_D

    def _names(self, documents: np.ndarray) -> Sequence[tuple[int, int]]:
        return list(zip(self.hash_D[documents].tolist(), self.tokens_D[documents].tolist(), strict=True))


def same_tokenizer(folders: dict[str, Folder]) -> None:
    """Raise DataError if a folder has another tokenizer than the first: losses per token would not compare."""
    (name, first), *others = folders.items()
    wanted = hashlib.sha256(first.shards.tokenizer_json).hexdigest()
    for other, folder in others:
        found = hashlib.sha256(folder.shards.tokenizer_json).hexdigest()
        if found != wanted or folder.shards.end_of_text != first.shards.end_of_text:
            raise DataError(
                f"{other} ({folder.path}) has the tokenizer {found[:12]}, {name} ({first.path}) {wanted[:12]}: "
                "arms share one; make the shards of both with the same, in a recipe "
                f'`shards: {{tokenizer: "path:{first.path}/tokenizer.json"}}`'
            )
