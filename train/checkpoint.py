"""Checkpoints: safetensors and JSON, whole or not at all, the previous one kept.

A checkpoint is a folder `step-<n>` of `model.safetensors`, `optimiser.safetensors` and `checkpoint.json`, which holds the
digests of the two and is written last. Nothing is loaded before its digest was checked.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from train.about import ABOUT, ADVICE, CheckpointError, canonical, checkpoints, read_about
from train.model import Decoder

KEPT = 2


def save_checkpoint(
    folder: Path, step: int, decoder: Decoder, optimiser: torch.optim.Optimizer, about: Mapping[str, Any]
) -> Path:
    """Write the checkpoint of `step` and remove all but the last KEPT; return its folder."""
    target, building = folder / f"step-{step:08}", folder / f".step-{step:08}"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    parts = {"model": _tensors(decoder.state_dict()), "optimiser": _optimiser_tensors(decoder, optimiser)}
    digests = {}
    for name, tensors in parts.items():
        data = save(tensors)
        digests[name] = {"sha256": hashlib.sha256(data).hexdigest(), "tensors": _digests(tensors)}
        _write(building / f"{name}.safetensors", data)
    values = {"step": step, "digests": digests, **about}
    _write(building / ABOUT, canonical({**values, "sha256": hashlib.sha256(canonical(values)).hexdigest()}))
    if target.exists():
        shutil.rmtree(target)
    os.replace(building, target)
    for changed in (target, folder):
        _sync_folder(changed)
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)
    return target


def load_model(checkpoint: Path, decoder: Decoder) -> dict[str, Any]:
    """Load a checkpoint's weights into a decoder and return what the checkpoint says of itself."""
    about = read_about(checkpoint)
    tensors = _read(checkpoint, "model", about)
    wanted = decoder.state_dict()
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in wanted.items()}:
        raise CheckpointError(f"{checkpoint}: its tensors are not those of this model's configuration")
    decoder.load_state_dict(tensors)
    return about


def load_optimiser(checkpoint: Path, decoder: Decoder, optimiser: torch.optim.Optimizer) -> None:
    """Load the optimiser's state, so that training goes on as if it had never stopped."""
    tensors = _read(checkpoint, "optimiser", read_about(checkpoint))
    for name, weight in decoder.named_parameters():
        state = {key.rsplit("|", 1)[1]: tensors[key] for key in tensors if key.rsplit("|", 1)[0] == name}
        optimiser.state[weight] = {
            key: value if key == "step" else value.to(weight.device) for key, value in state.items()
        }


def _read(checkpoint: Path, part: str, about: Mapping[str, Any]) -> dict[str, Tensor]:
    path = checkpoint / f"{part}.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    digests = about["digests"][part]
    if hashlib.sha256(data).hexdigest() == digests["sha256"]:
        return load(data)
    raise CheckpointError(f"{path}: damaged: {_damage(data, digests['tensors'])}; {ADVICE}")


def _damage(data: bytes, digests: Mapping[str, str]) -> str:
    """Say which tensors of a damaged file differ from what was written."""
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError):
        return "its header cannot be read, or it is cut short"
    found = _digests(tensors)
    wrong = [name for name in digests if found.get(name) != digests[name]]
    return f"the tensor {wrong[0]!r} differs" if wrong else "its header differs"


def _optimiser_tensors(decoder: Decoder, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    found = {}
    for name, weight in decoder.named_parameters():
        for key, value in optimiser.state.get(weight, {}).items():
            found[f"{name}|{key}"] = value if isinstance(value, Tensor) else torch.tensor(float(value))
    return _tensors(found)


def _tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in tensors.items()}


def _digests(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    flat = {name: tensor.contiguous().view(-1).view(torch.uint8) for name, tensor in tensors.items()}
    return {name: hashlib.blake2b(flat[name].numpy().tobytes(), digest_size=16).hexdigest() for name in sorted(flat)}


def _sync_folder(folder: Path) -> None:
    """Make a rename within a folder last through a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
