"""A folder of shards: what the pipeline writes and `train` reads.

Beside the shards (`pipeline.shard`) lie `manifest.json`, `tokenizer.json`, and what Hugging Face's `datasets` needs to open
the folder as it is. The manifest holds the size and SHA-256 of every other file and a fingerprint of itself, so that a changed
byte is found before the first token is read. Tokens are memory-mapped, never copied. See docs/shards.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import pyarrow as pa

from pipeline.shard import SUFFIX, Count, ShardError, ShardInfo, map_shard, schema

__all__ = ["INFILLING", "TOKENIZER", "ShardError", "Shards", "index_files"]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

FORMAT = 2
MANIFEST, TOKENIZER = "manifest.json", "tokenizer.json"

INFILLING = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
)
"""What tokenizers call the marks before the beginning, the end and the middle of a text whose middle comes last. Ours has
the first three; of a given tokenizer the first that it has are taken."""


def index_files(
    shards: Sequence[ShardInfo], tokenizer_json: bytes, end_of_text: int, about: Mapping[str, JSON]
) -> dict[str, bytes]:
    """Return the files (name → content) that make a folder of shards whole; the manifest, last, must be written last.

    `about` goes into the manifest as it is: digests of the recipe, the funnel of each corpus.
    """
    if not shards:
        raise ShardError("a folder of shards needs at least one; where nothing was kept, write one without documents")
    dtypes = sorted({shard.dtype for shard in shards})
    names = [shard.file for shard in shards]
    if len(dtypes) > 1 or len(set(names)) < len(names):
        raise ShardError(f"shards of one folder have one dtype and different names, not {dtypes} and {names}")
    files = {
        "state.json": _canonical(_state(shards)),
        "dataset_info.json": _canonical(_dataset_info(np.dtype(dtypes[0]))),
        TOKENIZER: tokenizer_json,
    }
    corpora = {name for shard in shards for name in shard.corpora}
    manifest: dict[str, JSON] = {
        "format": FORMAT,
        "documents": sum(shard.documents for shard in shards),
        "tokens": sum(shard.tokens for shard in shards),
        "dtype": dtypes[0],
        "end_of_text": end_of_text,
        "vocabulary_size": _vocabulary_size(tokenizer_json),
        "corpora": {name: cast(JSON, _total(shards, name)) for name in corpora},
        "shards": [asdict(shard) for shard in shards],
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
        "about": about,
    }
    manifest["fingerprint"] = _fingerprint(manifest)
    return {**files, MANIFEST: _canonical(manifest)}


class Shards:
    """A folder of shards, memory-mapped. `fingerprint` names its content: another content has another fingerprint."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], verify: bool) -> None:
        self.infos: tuple[ShardInfo, ...] = tuple(ShardInfo(**shard) for shard in manifest["shards"])
        self.fingerprint: str = manifest["fingerprint"]
        self.dtype: np.dtype[Any] = np.dtype(manifest["dtype"])
        self.end_of_text: int = manifest["end_of_text"]
        self.vocabulary_size: int = manifest["vocabulary_size"]
        self.total_tokens: int = manifest["tokens"]
        self.about: Mapping[str, JSON] = manifest["about"]
        _check_folder(folder, self.infos)
        for name, file in manifest["files"].items():
            _check_file(folder / name, file["bytes"], file["sha256"] if verify else None)
        for info in self.infos:
            _check_file(folder / info.file, info.bytes, info.sha256 if verify else None)
        self.tokenizer_json: bytes = (folder / TOKENIZER).read_bytes()
        self.infilling: tuple[int, ...] | None = _infilling(self.tokenizer_json)
        self._batches = [map_shard(folder / info.file, info) for info in self.infos]
        for shard, info in enumerate(self.infos if verify else ()):
            largest = int(self.tokens(shard).max(initial=0))
            if largest >= self.vocabulary_size:
                raise ShardError(f"{folder / info.file}: id {largest}, but ids end at {self.vocabulary_size - 1}")

    @classmethod
    def open(cls, folder: str | Path, verify: bool = True) -> Shards:
        """Open a folder of shards. Raises ShardError, which names the file, if one is not as it was written.

        Every byte is read and hashed, unless `verify` is False: then only the manifest, and the sizes of the files.
        """
        manifest = _read_manifest(Path(folder) / MANIFEST)
        return cls(Path(folder), manifest, verify)

    def tokens(self, shard: int) -> np.ndarray:
        """Return the token ids [tokens] of a shard: a read-only view of the mapped file."""
        return cast(np.ndarray, self._lists(shard).values.to_numpy())

    def offsets(self, shard: int) -> np.ndarray:
        """Return where documents start: document i of the shard is tokens(shard)[o[i]:o[i + 1]]. int64, a view."""
        return cast(np.ndarray, self._lists(shard).offsets.to_numpy())

    def documents(self, shard: int) -> pa.RecordBatch:
        """Return the other columns of a shard, a row per document."""
        batch = self._batches[shard]
        return batch.select([name for name in batch.schema.names if name != "input_ids"])

    def _lists(self, shard: int) -> pa.LargeListArray:
        return self._batches[shard].column("input_ids")


def _total(shards: Sequence[ShardInfo], corpus: str) -> Count:
    counts = [shard.corpora[corpus] for shard in shards if corpus in shard.corpora]
    return Count(documents=sum(one["documents"] for one in counts), tokens=sum(one["tokens"] for one in counts))


def _canonical(value: JSON) -> bytes:
    """Return the one way to write a value as JSON: a file of any other bytes was not written by us."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _fingerprint(manifest: Mapping[str, JSON]) -> str:
    return hashlib.sha256(_canonical({key: manifest[key] for key in manifest if key != "fingerprint"})).hexdigest()


def _state(shards: Sequence[ShardInfo]) -> JSON:
    """Return what `datasets` writes beside its files, for files that it did not write."""
    digests = "".join(shard.sha256 for shard in shards)
    return {
        "_data_files": [{"filename": shard.file} for shard in shards],
        "_fingerprint": hashlib.sha256(digests.encode()).hexdigest()[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": "train",
    }


def _dataset_info(dtype: np.dtype[Any]) -> JSON:
    features: dict[str, JSON] = {
        field.name: {"_type": "Value", "dtype": str(field.type)} for field in schema(dtype) if field.name != "input_ids"
    }
    features["input_ids"] = {"_type": "LargeList", "feature": {"_type": "Value", "dtype": str(dtype)}}
    return {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}


def _vocabulary_size(tokenizer_json: bytes) -> int:
    """Return one more than the largest id of a tokenizer.json."""
    try:
        document = json.loads(tokenizer_json)
        ids = [*document["model"]["vocab"].values(), *(token["id"] for token in document.get("added_tokens", []))]
        return int(max(ids)) + 1
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"{TOKENIZER}: its vocabulary cannot be read: {error!r}") from None


def _infilling(tokenizer_json: bytes) -> tuple[int, ...] | None:
    """Return the ids of a tokenizer's INFILLING marks, None if it has none."""
    added = {token.get("content"): int(token["id"]) for token in json.loads(tokenizer_json).get("added_tokens") or []}
    return next((tuple(added[name] for name in names) for names in INFILLING if added.keys() >= {*names}), None)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ShardError(f"{path}: {error.strerror or error}; a folder of shards has one") from None
    try:
        manifest = json.loads(data)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise ShardError(f"{path}: not a manifest of format {FORMAT}, which this version reads")
        untouched = manifest.get("fingerprint") == _fingerprint(manifest) and data == _canonical(manifest)
    except ShardError:
        raise
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{path}: not JSON as it was written: {error}") from None
    if not untouched:
        raise ShardError(f"{path}: its fingerprint does not match its content: it was changed after it was written")
    return manifest


def _check_folder(folder: Path, infos: Sequence[ShardInfo]) -> None:
    listed = {info.file for info in infos}
    extra = sorted({path.name for path in folder.glob(f"*{SUFFIX}")} - listed)
    if extra:
        raise ShardError(f"{folder / extra[0]}: the manifest does not list this shard; a folder holds those of one run")


def _check_file(path: Path, size: int, sha256: str | None) -> None:
    try:
        found = path.stat().st_size
        if found != size:
            raise ShardError(f"{path}: {found} bytes; the manifest says {size}")
        if sha256 is None:
            return
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ShardError(f"{path}: {error.strerror or error}; the manifest lists this file") from None
    if digest != sha256:
        raise ShardError(f"{path}: its bytes changed: SHA-256 {digest}; the manifest says {sha256}")
