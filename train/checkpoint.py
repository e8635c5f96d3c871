"""Checkpoints: safetensors and JSON, whole or not at all, the previous one kept.

A checkpoint is a folder `step-<n>` of `model.safetensors`, `optimiser.safetensors` and `checkpoint.json`, which holds the
digests of the two and is written last. Nothing is loaded before its digest was checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ranks.group import ALONE, Ranks
from ranks.shares import Share, share
from train.about import ABOUT, ADVICE, CheckpointError, canonical, checkpoints, read_about
from train.model import Decoder

KEPT = 2


def save_checkpoint(
    folder: Path,
    step: int,
    decoder: Decoder,
    optimiser: torch.optim.Optimizer,
    about: Mapping[str, Any],
    ranks: Ranks = ALONE,
) -> Path:
    """Write the checkpoint of `step` and remove all but the last KEPT; return its folder.

    Of several processes each writes its shares; the first says that the checkpoint is whole once all have written.
    """
    target, building = folder / f"step-{step:08}", folder / f".step-{step:08}"
    with ranks.together():
        if ranks.is_first:
            for unfinished in folder.glob(".step-*"):  # of a run that was killed while it wrote
                shutil.rmtree(unfinished)
            building.mkdir(parents=True)
    digests: dict[str, Any] = {}
    with ranks.together():
        for part, shares in (("model", _model(decoder, ranks)), ("optimiser", _state(decoder, optimiser, ranks))):
            name = part if ranks.count == 1 else f"{part}-{ranks.rank + 1}-of-{ranks.count}"
            # what all processes hold alike the first writes
            written = {key: one for key, one in shares.items() if ranks.is_first or not one.is_all}
            tensors = {key: one.local.detach().to("cpu").contiguous().clone() for key, one in written.items()}
            data = save(tensors)
            digests[name] = {"sha256": hashlib.sha256(data).hexdigest(), "tensors": _digests(tensors)}
            if ranks.count > 1:
                digests[name]["rows"] = {key: [one.start, one.stop, one.rows] for key, one in written.items()}
            _write(building / f"{name}.safetensors", data)
        (building / f".{ranks.rank}.json").write_text(json.dumps(digests))
    with ranks.together():
        if ranks.is_first:
            for rank in range(ranks.count):
                said = building / f".{rank}.json"
                digests |= json.loads(said.read_text())
                said.unlink()
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


def load_model(checkpoint: Path, decoder: Decoder, ranks: Ranks = ALONE) -> dict[str, Any]:
    """Load a checkpoint's weights into a decoder and return what the checkpoint says of itself.

    Whichever number of processes wrote it: of several each takes its share.
    """
    about = read_about(checkpoint)
    _fill(checkpoint, "model", about, _model(decoder, ranks))
    return about


def load_optimiser(checkpoint: Path, decoder: Decoder, optimiser: torch.optim.Optimizer, ranks: Ranks = ALONE) -> None:
    """Load the optimiser's state, so that training goes on as if it had never stopped."""
    about, weights = read_about(checkpoint), dict(decoder.named_parameters())
    for key in sorted({key for _, digests in _files(about, "optimiser") for key in digests["tensors"]}):
        name, state = key.rsplit("|", 1)
        if name in weights:
            empty = torch.zeros(()) if state == "step" else torch.zeros_like(weights[name])
            optimiser.state[weights[name]][state] = empty
    _fill(checkpoint, "optimiser", about, _state(decoder, optimiser, ranks))


def _model(decoder: Decoder, ranks: Ranks) -> dict[str, Share]:
    return {name: share(tensor, ranks, ".mlp.experts." in name) for name, tensor in decoder.state_dict().items()}


def _state(decoder: Decoder, optimiser: torch.optim.Optimizer, ranks: Ranks) -> dict[str, Share]:
    return {
        f"{name}|{key}": share(value, ranks, ".mlp.experts." in name)
        for name, weight in decoder.named_parameters()
        for key, value in optimiser.state.get(weight, {}).items()
    }


def _files(about: Mapping[str, Any], part: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the names of the files of a part, one or one of each process, and their digests."""
    return [(name, digests) for name, digests in about["digests"].items() if name.split("-")[0] == part]


def _fill(checkpoint: Path, part: str, about: Mapping[str, Any], shares: Mapping[str, Share]) -> None:
    """Copy what is wanted of a part. A file that has none of its rows is not read."""
    missing = {name: one.rows for name, one in shares.items()}
    unlike = CheckpointError(f"{checkpoint}: its tensors are not those of this model's configuration")
    for file, digests in _files(about, part):
        rows = digests.get("rows")
        if not set(digests["tensors"]) <= set(shares):
            raise unlike
        for name, (start, stop, _) in (rows or {}).items():
            missing[name] -= stop - start
        if rows and not any(start < shares[n].stop and shares[n].start < stop for n, (start, stop, _) in rows.items()):
            continue
        tensors = _read(checkpoint, file, digests)
        for name, tensor in tensors.items():
            if tensor.shape[1:] != shares[name].local.shape[1:] or tensor.dim() != shares[name].local.dim():
                raise unlike
            missing[name] -= 0 if rows else len(tensor) if tensor.dim() else 1
        for name, tensor in tensors.items():
            shares[name].take(tensor, rows[name][0] if rows else 0)
    if any(missing.values()):
        raise unlike


def _read(checkpoint: Path, name: str, digests: Mapping[str, Any]) -> dict[str, Tensor]:
    path = checkpoint / f"{name}.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}; {ADVICE}") from None
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
