"""Stages that say how much of the survivors is looked at where a part of them is enough.

A document belongs to such a part if its draw is below a limit. The limits follow from two sums over all pieces, so no
process needs the draws of all documents; how many fall below is as near to what was wanted as chance allows (50,000
rows ± 220), and the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.stages.work import Message, Messages, Work, pack

FIT_ROWS = 50_000
"""Documents that cluster centres are fitted on."""
TRAIN_CHARACTERS = 24_000_000
"""Text that a tokenizer is trained on."""
TRAIN_DOCUMENT = 20_000
"""Characters of one document that are trained on at most, so that a few long books do not become the whole vocabulary."""


def count_survivors(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Yield how many documents of a piece are alive, and how many characters of them training may look at."""
    piece = Messages.unpack(messages).piece
    rows = work.alive(piece)
    characters = work.columns(piece, "measured", ["characters"]).column("characters").to_numpy()[rows]
    counts = {"rows": len(rows), "characters": int(np.minimum(characters, TRAIN_DOCUMENT).sum(dtype=np.int64))}
    yield 0, pack({"number": piece.number, **counts})


def set_limits(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Set the limits of draws below which documents are looked at; yield their file to every piece."""
    counts = Messages.unpack(messages).values
    rows, characters = (sum(count[what] for count in counts) for what in ("rows", "characters"))
    found = {
        "rows": rows,
        "fit": FIT_ROWS / max(rows, FIT_ROWS),
        "train": TRAIN_CHARACTERS / max(characters, TRAIN_CHARACTERS),
    }
    name = work.key("limits", found) + ".json"
    if not work.store.exists(name):
        work.store.write_json(name, found)
    for count in counts:
        yield count["number"], pack({"limits": name})


def limits(work: Work, messages: Messages) -> dict[str, float]:
    """Return the limits, from the messages that a piece got: `fit`, `train`, and the `rows` that are alive in all."""
    (name,) = (value["limits"] for value in messages.values if "limits" in value)
    found: dict[str, float] = work.store.read_json(name)
    return found
