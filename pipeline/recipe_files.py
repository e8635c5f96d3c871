"""What a recipe names beside its sources: a tokenizer and an embedding model, looked at before any work starts.

A run of hours must not end because of a name that could have been seen to be wrong when it began.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pipeline.remote import located


def tokenizer_fault(wanted: str, base: str) -> str | None:
    """Return what is wrong with a given tokenizer, read for it; None if nothing is."""
    from pipeline.tokens import Tokenizer, TokenizerError, given_tokenizer

    if not wanted.startswith("path:"):
        return f"{wanted!r} is neither 'path:<tokenizer.json>' nor {{train: <size>}}"
    try:
        Tokenizer.from_json(given_tokenizer(_opened(base, wanted)))
    except TokenizerError as error:
        return str(error)
    return None


def model_fault(wanted: str, base: str) -> str | None:
    """Return what is wrong with the name of an embedding model, or with its files; None if nothing is.

    The model is not loaded: a fault inside its weights shows only when it is used.
    """
    from samplers.embed import ModelError, resolve

    try:
        resolve(_opened(base, wanted))
    except ModelError as error:
        return str(error)
    return None


def named_faults(data: Mapping[str, Any], base: str) -> list[tuple[tuple[str | int, ...], str]]:
    """Return the faults of the tokenizer and the model that a recipe, as written, names."""
    faults: list[tuple[tuple[str | int, ...], str]] = []
    for where, fault in ((("shards", "tokenizer"), tokenizer_fault), (("sample", "semantic", "model"), model_fault)):
        value: Any = data
        for key in where:
            value = value.get(key) if isinstance(value, Mapping) else None
        message = fault(value, base) if isinstance(value, str) else None
        if message is not None:
            faults.append((where, message))
    return faults


def _opened(base: str, name: str) -> str:
    """Return `path:…` of the recipe as a path that can be opened, any other name as it is."""
    kind, _, path = name.partition(":")
    return f"path:{located(base, os.path.expanduser(path))}" if kind == "path" else name
