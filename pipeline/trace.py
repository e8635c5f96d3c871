"""What a training has read: the documents behind a step, with the rules that let them in, and the steps behind a document.

A training's checkpoint says how its rows are made and ordered; the order of the shards' documents is that of the kept rows
of the ledger, so that a document's receipt is found by counting. Needs no weight, and does not load torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.shards import ShardError, Shards
from pipeline.store import Store
from pipeline.terminal import safe

if TYPE_CHECKING:
    from loader.rows import Piece
    from loader.stream import TrainingData

RANGES = 40
"""Stretches of steps shown of one document."""


class TraceError(ValueError):
    """There is no such training, step or document; the message says what there is."""


@dataclass(frozen=True)
class Training:
    """A training that has left a checkpoint: its shards, what it was set to do, and how many steps it has done."""

    run: Path
    shards: Shards
    data: TrainingData
    steps: int
    done: int
    rows_per_step: int
    exclude: frozenset[str]


def opened(run: str, model: str | None = None) -> Training:
    """Open the training in `model` (by default RUN/model) of a run's shards."""
    from loader.choice import DataError
    from train.about import CheckpointError, checkpoints, read_about
    from train.config import Config
    from train.data import training_data

    root = Path(run)
    folder = Path(model) if model else root / "model"
    found = checkpoints(folder)
    if not found:
        raise TraceError(
            f"{folder}: no checkpoint there; `corpusmill train {run}` makes one, --model names another folder"
        )
    try:
        about = read_about(found[-1])
        shards = Shards.open(root / "shards" if (root / "shards").is_dir() else root, verify=False)
        if about.get("fingerprint") != shards.fingerprint:
            raise TraceError(f"{found[-1]}: was trained on other shards than those of {run}")
        settings = Config.from_json(about["config"]).training
        exclude = frozenset(about.get("exclude", ()))
        data = training_data(shards, settings, int(about["seed"]), exclude)
    except (CheckpointError, ShardError, DataError) as error:
        raise TraceError(str(error)) from None
    except (KeyError, TypeError) as error:
        raise TraceError(f"{found[-1]}: is of another version of this program: {error}") from None
    return Training(root, shards, data, settings.steps, int(about["step"]), settings.batch_sequences, exclude)


def rows_of_step(training: Training, step: int) -> list[list[Piece]]:
    """Return what each row of a step, counted from 1, is made of."""
    if not 1 <= step <= training.steps:
        raise TraceError(f"step {step}: this training has steps 1 to {training.steps}")
    return training.data.trace((step - 1) * training.rows_per_step, training.rows_per_step)


def receipts(run: Path, documents: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return the ledger's row of each document, which are counted over all shards; none where the run has no ledger.

    Reads the parts of the ledger that hold one of them, and of the others how many rows they have.
    """
    store, first = Store(str(run)), 0
    found: dict[int, dict[str, Any]] = {}
    wanted = np.unique(np.asarray(documents, np.int64))
    for name in store.names("documents"):
        with store.open(name) as file:
            kept = pq.ParquetFile(file).metadata.num_rows
        here = wanted[(wanted >= first) & (wanted < first + kept)]
        if len(here):
            table = store.read_table(name.replace("documents", "ledger", 1))
            alive = table.filter(pc.is_null(table.column("reason")))
            found |= dict(zip(here.tolist(), alive.take(here - first).to_pylist(), strict=True))
        first += kept
    return found


def records(training: Training, step: int) -> Iterator[dict[str, Any]]:
    """Yield every piece of a step as one record, joined with what the ledger says of its document."""
    rows = rows_of_step(training, step)
    known = receipts(training.run, [piece.document for row in rows for piece in row])
    for number, row in enumerate(rows):
        for piece in row:
            receipt = known.get(piece.document)
            if receipt is not None and receipt["id"] != piece.id:
                raise TraceError(
                    f"{training.run}: the ledger is not of these shards: {receipt['id']!r} stands for {piece.id!r}"
                )
            more = {} if receipt is None else _passed(receipt)
            yield {"step": step, "row": number + 1, **asdict(piece), **more}


def _passed(receipt: dict[str, Any]) -> dict[str, Any]:
    """Return the rules that a kept document passed, and where in its source it was."""
    rules = [name for name, value in receipt.items() if "." in name and value is True]
    return {"offset": receipt["offset"], "rules": rules, "edits": receipt["edits"] or []}


def told(training: Training, step: int) -> Iterator[str]:
    """Yield the lines that say in words what a step learned from."""
    every = list(records(training, step))
    corpora = {one["corpus"]: 0 for one in every}
    for one in every:
        corpora[one["corpus"]] += one["tokens"]
    documents = len({one["document"] for one in every})
    shares = ", ".join(f"{corpus} {tokens:,}" for corpus, tokens in sorted(corpora.items()))
    yield f"step {step} of {training.steps}: {training.rows_per_step} rows, {documents} documents, tokens: {shares}"
    if step > training.done:
        yield f"not taken yet: the last checkpoint is of step {training.done}"
    row = 0
    for one in every:
        if one["row"] != row:
            row = one["row"]
            yield f"row {row}"
        stretch = f"tokens {one['start']:,} to {one['start'] + one['tokens']:,} of {one['length']:,}"
        stretch += ", its middle to fill in" if one["infilled"] else ""
        yield f"  {safe(one['id'], 120)}  ({one['corpus']}, {safe(one['source'], 120)}): {stretch}"
        if one["url"] and one["url"] != one["id"]:
            yield f"    {safe(one['url'], 200)}"
        if "rules" in one:
            edits = f"; edits: {', '.join(one['edits'])}" if one["edits"] else ""
            yield f"    passed {_by_preset(one['rules'])}{edits}"


def _by_preset(rules: Sequence[str]) -> str:
    """Return rules in words, those of a preset counted."""
    counts: dict[str, int] = {}
    for rule in rules:
        preset, _, name = rule.partition(".")
        shown = name if preset == "rules" else preset
        counts[shown] = counts.get(shown, 0) + 1
    return ", ".join(f"{name} ({count} rules)" if count > 1 else name for name, count in counts.items()) or "no rules"


def seen(training: Training, document: str) -> Iterator[str]:
    """Yield the lines that say which steps so far have read a document, by its id or url."""
    from loader.choice import DataError, named

    try:
        numbers = np.flatnonzero(named(training.shards, [document]))
    except DataError as error:
        raise TraceError(str(error)) from None
    positions = training.data.seen(numbers, training.done * training.rows_per_step)
    steps = np.unique(positions // training.rows_per_step) + 1
    if not len(steps):
        held_out = any(len(rows.holding(numbers)) for rows in training.data.held_out.values())
        excluded = named(training.shards, training.exclude)[numbers].any()
        why = "it is held out" if held_out else "it is excluded" if excluded else "its turn comes later"
        yield f"{safe(document)}: in none of {training.done:,} steps: {why}"
        return
    yield f"{safe(document)}: in {len(steps):,} of {training.done:,} steps: {_ranges(steps)}"


def _ranges(steps: np.ndarray) -> str:
    """Return rising numbers as stretches: 1-3, 7."""
    cuts = np.flatnonzero(np.diff(steps) > 1) + 1
    parts = np.split(steps, cuts)
    shown = [f"{part[0]}" if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts[:RANGES]]
    return ", ".join(shown) + (f" and {len(parts) - RANGES:,} more stretches" if len(parts) > RANGES else "")


def as_json(training: Training, step: int) -> Iterator[str]:
    """Yield a step's records as lines of JSON."""
    for one in records(training, step):
        yield json.dumps(one, ensure_ascii=True)
