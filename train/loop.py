"""The training loop: from a folder of shards to a model, step by step, resumable to the bit.

A run is a function of shards, configuration and seed. Where it stands is the number of steps done; the rows it has read
follow from that. Ctrl-C and SIGTERM write a checkpoint and leave.

Shapes: B rows, T tokens of a row, D hidden, V vocabulary, N = B·T.
"""

from __future__ import annotations

import math
import shutil
import signal
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loader.rows import IGNORED, Batch
from loader.stream import rank_parts
from pipeline.shards import Shards
from ranks.group import ALONE, Ranks
from train.about import CheckpointError, checkpoints, read_about
from train.balance import bias_speed, loads, max_violation, move_biases, sequence_loss
from train.checkpoint import load_model, load_optimiser, save_checkpoint
from train.command import safe
from train.config import Config
from train.data import training_data
from train.evaluate import HeldOutLoss, Labels, as_tensors, evaluate_corpora, languages, token_bytes
from train.hardware import best_device, memory_bytes, peak_operations, precision
from train.loss import head_loss
from train.model import Decoder, count_parameters
from train.optim import clip, learning_rate, optimiser
from train.parallel import held_bytes, spread
from train.progress import EARLIER, METRICS, Metrics, flat, show


class TrainingError(ValueError):
    """Training cannot go on; the message says at which step and why."""


@dataclass(frozen=True)
class Trained:
    """What a run came to. `first` and `last` are the held-out losses before and after, by corpus and label.

    Of several processes the first one's decoder is whole at the end of the run; else they are what each holds.
    """

    decoder: Decoder
    steps: int
    first: dict[str, HeldOutLoss]
    last: dict[str, HeldOutLoss]
    tokens_per_second: float  # while training, evaluation and checkpoints aside
    interrupted: bool


@dataclass(frozen=True)
class Step:
    """What one step found. Losses are means in nats per token, without the balancing loss."""

    loss: float
    further_loss: float  # of the prediction modules
    gradient_norm: float  # before clipping
    max_violation: float  # of the experts' loads in this batch, averaged over layers


def train(
    shards: Shards,
    out: Path,
    config: Config,
    seed: int,
    resume: bool = False,
    quiet: bool = False,
    exclude: Collection[str] = (),
    labels: Mapping[str, Labels] | None = None,
    tensorboard: bool = False,
    ranks: Ranks = ALONE,
) -> Trained:
    """Train a model on shards into the folder `out`; with `resume`, go on from its last checkpoint.

    Without `resume` training begins anew, and its first checkpoint replaces those of an earlier run in `out`.
    Documents whose id or url is in `exclude` are left out. Held-out losses are by corpus, language and each of `labels`.
    Raises CheckpointError where there is nothing to resume, or it belongs to other shards or another configuration,
    and TrainingError where the model is too large for this machine, or the loss is no number any more.
    """
    settings, device = config.training, best_device()
    with ranks.together():
        ranks.check(config.model.n_routed_experts)
        check_size(config, device, ranks)
        out.mkdir(parents=True, exist_ok=True)
        data = training_data(shards, settings, seed, exclude)
        sizes = token_bytes(shards.tokenizer_json, config.model.vocab_size)
    decoder = spread(config.model, seed, device, ranks)
    if device.type == "cuda" and ranks.count == 1:
        decoder.compile_layers()
    moves = optimiser(decoder, settings)
    identity: dict[str, Any] = {"fingerprint": shards.fingerprint, "config": config.to_json(), "seed": seed}
    identity["exclude"] = sorted(set(exclude))
    replaced = [] if resume else checkpoints(out)
    with ranks.together():
        begun = done = _resume(out, decoder, moves, identity, ranks) if resume else 0
        if ranks.is_first and not resume:
            if not replaced:
                (out / EARLIER).unlink(missing_ok=True)  # of checkpoints that are gone
            elif not (out / EARLIER).exists():
                (out / METRICS).touch()
                (out / METRICS).rename(out / EARLIER)
    kept = "the first new checkpoint replaces it; another --out would keep it"
    notes = [f"{last} is of an earlier run: {kept}" for last in replaced[-1:]]
    for place, corpora in data.exhausted:
        if (at := place // settings.batch_sequences) < settings.steps:
            notes.append(f"at step {at + 1} {', '.join(corpora)} will have been read as often as allowed")
    for note in notes if ranks.is_first and not quiet else []:
        print(safe(f"note: {note}"), file=sys.stderr)
    labels = {"language": languages(shards), **(labels or {})}
    first = last = evaluate_corpora(decoder, data, settings.evaluation_sequences, sizes, labels, ranks)
    tokens, seconds, peak = 0, 1e-9, peak_operations(device)
    operations = 6 * count_parameters(config.model)[1]  # per token, forwards and backwards
    written = Metrics(out, done, tensorboard) if ranks.is_first else nullcontext()
    with written as metrics, _stop_requested(patient=ranks.count > 1) as asked:
        stopped = ranks.any(bool(asked))
        while done < settings.steps and not stopped:
            started = time.monotonic()
            batch = data.batch(done * settings.batch_sequences, settings.batch_sequences)
            step = train_step(decoder, moves, batch, done, config, ranks)
            done += 1
            tokens += batch.tokens
            seconds += time.monotonic() - started
            line: dict[str, Any] = {"step": done, **asdict(step), "tokens_per_second": round(tokens / seconds, 1)}
            if done % settings.evaluate_every == 0 or done == settings.steps:
                last = evaluate_corpora(decoder, data, settings.evaluation_sequences, sizes, labels, ranks)
                line["held_out"] = {corpus: asdict(found) for corpus, found in last.items()}
            if metrics is not None:
                metrics.write(line)
            if not quiet and ranks.is_first:
                used = None if peak is None else tokens / seconds * operations / peak / ranks.count
                show(done, settings.steps, step.loss, tokens / seconds, used, seconds / (done - begun))
            stopped = ranks.any(bool(asked))
            if done % settings.checkpoint_every == 0 or done == settings.steps or stopped:
                for old in replaced if ranks.is_first else []:
                    shutil.rmtree(old)
                if replaced and ranks.is_first:
                    (out / EARLIER).unlink(missing_ok=True)
                replaced = []
                save_checkpoint(out, done, decoder, moves, identity, ranks)
    if ranks.count > 1 and ranks.is_first and done == settings.steps:  # whole again, from what all have written
        decoder = Decoder(config.model)
        load_model(checkpoints(out)[-1], decoder)
        decoder.to(device)
    return Trained(decoder, done, first, last, tokens / seconds, stopped and done < settings.steps)


def train_step(
    decoder: Decoder, moves: torch.optim.Optimizer, batch: Batch, step: int, config: Config, ranks: Ranks = ALONE
) -> Step:
    """Take one step, counted from 0, on a batch. The gradient is the mean over the batch's tokens, however it is cut."""
    settings, device = config.training, decoder.lm_head.weight.device
    for group in moves.param_groups:
        group["lr"] = learning_rate(step, settings)
    moves.zero_grad(set_to_none=True)
    learned, busy = max(1, batch.tokens), None
    nats = torch.zeros(2, device=device)
    for part, rows in rank_parts(batch, settings.micro_batch_sequences, ranks.rank, ranks.count):
        loss, found, here = _losses(decoder, as_tensors(part, device), config, learned, rows / len(batch))
        torch.autograd.backward(loss)
        nats += found  # read at the end alone, so that a GPU need not be waited for
        if here is not None:
            busy = here * min(rows, 1) if busy is None else busy + here * min(rows, 1)
    norm = clip(decoder, settings.clip, ranks)
    total, total_further = ranks.sum(nats).tolist()
    if not math.isfinite(total) or not math.isfinite(norm):
        seen = f"step {step + 1}: the loss is {total / learned} and the gradient's norm {norm}"
        raise ranks.said_once(TrainingError(f"{seen}; a lower learning rate than {settings.learning_rate} may help"))
    moves.step()
    if busy is not None:
        busy = ranks.sum(busy)
        move_biases(decoder, busy, bias_speed(step, settings.steps))
    violation = 0.0 if busy is None else max_violation(busy)
    return Step(total / learned, total_further / learned, norm, violation)


def _losses(
    decoder: Decoder, micro: tuple[Tensor, Tensor, Tensor], config: Config, learned: int, share: float
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the loss to descend, the nats of the next tokens and of further ones [2], and the experts' loads [M, E]."""
    inputs_BT, targets_BT, documents_BT = micro
    settings = config.training
    with precision(inputs_BT.device):
        hidden_BTD, routings = decoder(inputs_BT, documents_BT)
        nats = head_loss(hidden_BTD.flatten(0, 1), decoder.lm_head.weight, targets_BT.flatten())
        further = torch.zeros_like(nats)
        states, more = decoder.further(hidden_BTD, inputs_BT, documents_BT)
        for depth, state_BTD in enumerate(states, start=1):
            same_BT = (documents_BT[:, depth:] == documents_BT[:, :-depth]).to(inputs_BT.device)
            later_BT = targets_BT[:, depth:].masked_fill(~same_BT, IGNORED)
            piece = head_loss(state_BTD.flatten(0, 1), decoder.lm_head.weight, later_BT.flatten())
            further = further + piece / len(states)
        loss = (nats + settings.mtp_weight * further) / learned
        routings = [*routings, *more]
        for routing in routings:
            loss = loss + settings.sequence_balance * share * sequence_loss(routing)
    busy = loads(routings, config.model.n_routed_experts) if routings else None
    return loss, torch.stack([nats, further]).detach(), busy


def check_size(config: Config, device: torch.device, ranks: Ranks = ALONE) -> None:
    """Raise TrainingError if the model is too large to be trained on this machine."""
    needed, there = held_bytes(config.model, ranks), memory_bytes(device)
    here = ranks.on_machine if device.type == "cpu" else 1
    if needed * here > there:
        which = "" if ranks.count == 1 else f" in each of {ranks.count} processes, {ranks.on_machine} to a machine"
        raise TrainingError(
            f"a model of {count_parameters(config.model)[0] / 1e9:,.1f} billion weights needs {needed / 1e9:,.0f} GB "
            f"to train{which}; this machine's {device.type} has {there / 1e9:,.0f} GB"
        )


def _resume(out: Path, decoder: Decoder, moves: torch.optim.Optimizer, identity: dict[str, Any], ranks: Ranks) -> int:
    found = checkpoints(out)
    if not found:
        raise CheckpointError(f"{out}: no checkpoint to resume from; leave --resume out to begin")
    if (out / EARLIER).exists():
        last = (
            f"{found[-1]} is of an earlier run than the last, which came to no checkpoint; leave --resume out to begin"
        )
        raise CheckpointError(f"{last} anew, or rename {EARLIER} to {METRICS} to go on from it")
    about = read_about(found[-1])
    if about.get("fingerprint") != identity["fingerprint"]:
        raise CheckpointError(f"{found[-1]}: was trained on other shards than these; leave --resume out to begin anew")
    there, here = (flat({name: of.get(name) for name in ("config", "seed")}) for of in (about, identity))
    for name in {**here, **there}:
        one, other = there.get(name), here.get(name)
        if one != other and not name.endswith(".micro_batch_sequences"):  # sums, cut in other places
            raise CheckpointError(f"{found[-1]}: {name} is {one} there and {other} here; both must agree")
    others = sorted(set(about.get("exclude", ())) ^ set(identity["exclude"]))
    if others:
        where = "there" if others[0] in about.get("exclude", ()) else "here"
        raise CheckpointError(f"{found[-1]}: {others[0]!r} is excluded {where} alone; the same must be left out")
    load_model(found[-1], decoder, ranks)
    load_optimiser(found[-1], decoder, moves, ranks)
    return int(about["step"])


@contextmanager
def _stop_requested(patient: bool) -> Iterator[list[int]]:
    """Yield a list that is empty until Ctrl-C or SIGTERM asks the run to stop; a second time stops at once.

    If `patient` it does not: who starts several processes passes on to them the Ctrl-C that they have got themselves.
    """
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked and not patient:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are somebody else's business
        before = {}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
