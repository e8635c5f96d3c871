"""One arm with one seed: a model trained on it, and everything measured on that model.

The learning rate is constant after its warm-up, and what is measured are the weights averaged over the last tenth of the
steps so far, about. A schedule that falls would make each point of the curve but the last a run that was stopped too
early; so every point is a run of that many tokens, and curves can be compared at equal loss.

Shapes: D documents.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch

from ablate.cloze import all_items, right
from ablate.folder import Folder
from ablate.memorisation import GIVEN, beginnings, recited
from loader.rows import IGNORED, Rows
from loader.stream import TrainingData
from pipeline.shards import Shards
from train.config import Config, TrainingConfig
from train.evaluate import token_bytes, token_nats
from train.hardware import best_device
from train.loop import train_step
from train.model import Decoder
from train.optim import optimiser

WARM_UP = 20  # steps
POINTS = 12  # of a curve, over the tokens that all arms read
VERSION = 2  # another one computes other numbers from the same job
AVERAGED = 10  # one over the share of the steps so far whose weights are averaged


class Measured(TypedDict):
    """Documents that a model is measured on: places over all shards of a folder, by corpus."""

    folder: str
    documents: dict[str, list[int]]


@dataclass(frozen=True)
class Job:
    """What is to be computed. Of documents, places over all shards of their folder; `apart` is a file of them."""

    arm: str
    seed: int
    folder: str
    apart: str  # .npy: bool, the documents of the folder that this arm does not train on
    clean: Measured  # along the curve
    others: dict[str, Measured]  # once, by name
    config: dict[str, Any]
    steps: int  # that every arm takes
    longer: int  # that this arm takes: `steps`, or more to see when it gets where the curated arm is
    threads: int

    def identity(self) -> str:
        """Return a name of what is computed: equal jobs on equal shards have equal results."""
        digest = hashlib.sha256(Path(self.apart).read_bytes())
        digest.update(_fingerprint(self.folder).encode())
        for name, measured in {"": self.clean, **self.others}.items():
            digest.update(json.dumps([name, _fingerprint(measured["folder"]), measured["documents"]]).encode())
        rest = (VERSION, self.arm, self.seed, self.config, self.steps, self.longer)
        digest.update(json.dumps(rest, sort_keys=True).encode())
        return digest.hexdigest()


def _fingerprint(folder: str) -> str:
    return Shards.open(folder, verify=False).fingerprint


def settings_for(preset: Config, steps: int) -> Config:
    """Return the preset for arms of `steps` at most: no prediction modules, no filling in, a constant rate, and Muon.

    Muon learns from a quarter of the tokens that AdamW takes here; with AdamW the model, not the data, is what limits.
    """
    model = replace(preset.model, num_nextn_predict_layers=0)
    warmup = min(0.5, WARM_UP / steps)
    constant: dict[str, Any] = {
        "optimiser": "muon",
        "schedule": "wsd",
        "decay_share": 0.0,
        "final_share": 1.0,
        "warmup_share": warmup,
    }
    return Config(model, replace(preset.training, steps=steps, infill_share=0.0, **constant))


def study(job: Job, tell: Callable[[int, float], None]) -> dict[str, Any]:
    """Train and measure; `tell` hears of every step and its loss. The same job gives the same numbers on one thread."""
    started = time.monotonic()
    config = Config.from_json(job.config)
    settings, device = config.training, best_device()
    folder = Folder.open(Path(job.folder), verify=False)
    apart_D = np.load(job.apart, allow_pickle=False)
    data = read_often(folder, apart_D, settings, job.longer, job.seed)
    sizes = token_bytes(folder.shards.tokenizer_json, config.model.vocab_size)
    held = rows_of(job.clean, settings)
    decoder = Decoder(config.model)
    decoder.initialise(job.seed)
    decoder.to(device)
    moves = optimiser(decoder, settings)
    average = Average(decoder)
    if device.type == "cuda":
        decoder.compile_layers()
    at = {round(point * job.steps / POINTS) for point in range(1, POINTS * -(-job.longer // job.steps) + 1)}
    curve = [{"step": 0, "tokens": 0, "bits_per_byte": losses(average.decoder, held, settings, sizes)}]
    result: dict[str, Any] = {}
    tokens, nats, seconds = 0, 0.0, 0.0
    for step in range(job.longer):
        before = time.monotonic()
        batch = data.batch(step * settings.batch_sequences, settings.batch_sequences)
        found = train_step(decoder, moves, batch, step, config)
        average.hear(decoder, step)
        seconds += time.monotonic() - before
        tokens += batch.tokens
        nats += found.loss * batch.tokens
        tell(step + 1, found.loss)
        if step + 1 in at or step + 1 in (job.steps, job.longer):
            curve.append(
                {"step": step + 1, "tokens": tokens, "bits_per_byte": losses(average.decoder, held, settings, sizes)}
            )
        if step + 1 == job.steps:
            result = at_equal_tokens(job, average.decoder, data, settings, sizes)
            result |= {"tokens": tokens, "training_loss": nats / max(1, tokens)}
    arm_tokens = int(folder.tokens_D[~apart_D].sum())
    return {
        "arm": job.arm,
        "seed": job.seed,
        "identity": job.identity(),
        "arm_documents": int((~apart_D).sum()),
        "arm_tokens": arm_tokens,
        "epochs": result["tokens"] / arm_tokens,
        **result,
        "curve": curve,
        "tokens_per_second": round(tokens / max(seconds, 1e-9), 1),
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(time.process_time(), 1),
    }


class Average:
    """A decoder whose weights are those of another, averaged over the last tenth of its steps, about.

    After Shamir and Zhang 2013 (polynomial decay): the window grows with the run and needs no end to be known.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = deepcopy(decoder)

    @torch.no_grad()
    def hear(self, decoder: Decoder, step: int) -> None:
        """Take in the weights after `step`, counted from 0."""
        own, others = (list(one.state_dict().values()) for one in (self.decoder, decoder))
        torch._foreach_lerp_(own, others, AVERAGED / (step + AVERAGED))


def at_equal_tokens(
    job: Job, decoder: Decoder, data: TrainingData, settings: TrainingConfig, sizes: np.ndarray
) -> dict[str, Any]:
    """Measure what is measured once, when as many tokens were read as every arm reads."""
    clean = Folder.open(Path(job.clean["folder"]), verify=False)
    measured = {corpus: np.array(documents) for corpus, documents in job.clean["documents"].items()}
    asked = all_items(clean, measured, settings.sequence_length)
    texts = beginnings(data, job.steps * settings.batch_sequences, min(2 * GIVEN, settings.sequence_length))
    end = clean.shards.end_of_text
    return {
        "others": {name: losses(decoder, rows_of(one, settings), settings, sizes) for name, one in job.others.items()},
        "cloze": {corpus: {"asked": len(ones), "right": right(decoder, ones, end)} for corpus, ones in asked.items()},
        "recited": asdict(recited(decoder, texts, end)),
    }


def rows_of(measured: Measured, settings: TrainingConfig) -> dict[str, Rows]:
    """Return the documents packed into rows, by corpus."""
    folder = Folder.open(Path(measured["folder"]), verify=False)
    documents = {corpus: np.array(ones) for corpus, ones in measured["documents"].items()}
    return {corpus: folder.rows(ones, settings.sequence_length) for corpus, ones in documents.items()}


def losses(decoder: Decoder, held: dict[str, Rows], settings: TrainingConfig, sizes: np.ndarray) -> dict[str, float]:
    """Return bits per byte of every corpus's held-out rows, at most `evaluation_sequences` of them."""
    found = {}
    for corpus, rows in held.items():
        # rows are packed longest piece first; evenly spaced ones are of all lengths
        chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), settings.evaluation_sequences)).astype(int))
        batch = rows.read(chosen, np.zeros(len(chosen), np.int64))
        nats_N, _ = token_nats(decoder, batch)
        targets_N = batch.targets_BT.ravel()
        size = int(sizes[targets_N[targets_N != IGNORED]].sum())
        found[corpus] = float(nats_N.sum(dtype=np.float64)) / np.log(2) / max(1, size)
    return found


def read_often(folder: Folder, apart_D: np.ndarray, settings: TrainingConfig, steps: int, seed: int) -> TrainingData:
    """Return an arm's rows for this many steps, its documents read as often as that takes."""
    tokens = int(folder.tokens_D[~apart_D].sum())
    rows = steps * settings.batch_sequences
    epochs = -(-rows // max(1, -(-tokens // settings.sequence_length)))
    return TrainingData(folder.shards, settings.sequence_length, seed, epochs=epochs, apart=apart_D)
