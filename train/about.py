"""What a checkpoint says of itself: `checkpoint.json`, read without loading a weight, or torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ABOUT = "checkpoint.json"
ADVICE = "remove its folder to resume from the checkpoint before it"


class CheckpointError(ValueError):
    """A checkpoint is damaged, or belongs to another run; the message names the file and what is wrong."""


def checkpoints(folder: Path) -> list[Path]:
    """Return the finished checkpoints of a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / ABOUT).is_file())


def read_about(checkpoint: Path) -> dict[str, Any]:
    """Return what `checkpoint.json` says, after checking its own digest."""
    path = checkpoint / ABOUT
    try:
        about: dict[str, Any] = json.loads(path.read_bytes())
        digest = about.pop("sha256")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error!r}; {ADVICE}") from None
    if hashlib.sha256(canonical(about)).hexdigest() != digest:
        raise CheckpointError(f"{path}: damaged: its content does not match its digest; {ADVICE}")
    return about


def canonical(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, indent=1, sort_keys=True).encode() + b"\n"
