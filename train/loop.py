"""The training loop: from a folder of shards to a model, step by step, resumable to the bit.

A run is a function of shards, configuration and seed. Where it stands is the number of steps done; the rows it has read
follow from that. Ctrl-C and SIGTERM write a checkpoint and leave.

Shapes: B rows, T tokens of a row, D hidden, V vocabulary, N = B·T.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.shards import Shards
from train.balance import bias_speed, loads, move_biases, sequence_loss
from train.checkpoint import CheckpointError, checkpoints, load_model, load_optimiser, read_about, save_checkpoint
from train.config import Config
from train.data import IGNORED, Batch, TrainingData
from train.evaluate import HeldOutLoss, as_tensors, evaluate_corpora, token_bytes
from train.hardware import best_device, precision
from train.loss import head_loss
from train.model import Decoder
from train.optim import clip, learning_rate, optimiser

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Trained:
    """What a run came to. `first` and `last` are the held-out losses before and after, by corpus."""

    decoder: Decoder
    steps: int
    first: dict[str, HeldOutLoss]
    last: dict[str, HeldOutLoss]
    tokens_per_second: float
    interrupted: bool


def train(shards: Shards, out: Path, config: Config, seed: int, resume: bool = False, quiet: bool = False) -> Trained:
    """Train a model on shards into the folder `out`; with `resume`, go on from its last checkpoint.

    Raises CheckpointError where there is nothing to resume, or it belongs to other shards or another configuration.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings, device = config.training, best_device()
    data = TrainingData(shards, settings.sequence_length, seed)
    sizes = token_bytes(shards.tokenizer_json, config.model.vocab_size)
    decoder = Decoder(config.model)
    decoder.initialise(seed)
    decoder.to(device)
    moves = optimiser(decoder, settings)
    identity = {"fingerprint": shards.fingerprint, "config": config.to_json(), "seed": seed}
    done = _resume(out, decoder, moves, identity) if resume else 0
    first = evaluate_corpora(decoder, data, settings.evaluation_sequences, sizes)
    started, tokens, last = time.monotonic(), 0, first
    with (out / METRICS).open("a" if resume else "w", encoding="utf-8") as metrics, _stop_requested() as stopped:
        for step in range(done, settings.steps):
            batch = data.batch(step * settings.batch_sequences, settings.batch_sequences)
            loss = train_step(decoder, moves, batch, step, config)
            tokens += batch.tokens
            done = step + 1
            seconds = time.monotonic() - started
            line: dict[str, Any] = {"step": done, "loss": loss, "tokens_per_second": round(tokens / seconds, 1)}
            if done % settings.evaluate_every == 0 or done == settings.steps:
                last = evaluate_corpora(decoder, data, settings.evaluation_sequences, sizes)
                line["held_out"] = {corpus: asdict(found) for corpus, found in last.items()}
            metrics.write(json.dumps(line) + "\n")
            metrics.flush()
            if not quiet:
                _show(done, settings.steps, loss, tokens / seconds, seconds)
            if done % settings.checkpoint_every == 0 or done == settings.steps or stopped:
                save_checkpoint(out, done, decoder, moves, identity)
            if stopped:
                break
    rate = tokens / max(time.monotonic() - started, 1e-9)
    return Trained(decoder, done, first, last, rate, bool(stopped) and done < settings.steps)


def train_step(decoder: Decoder, moves: torch.optim.Optimizer, batch: Batch, step: int, config: Config) -> float:
    """Take one step on a batch; return its mean loss in nats per token, without the extra losses."""
    settings, device = config.training, decoder.lm_head.weight.device
    for group in moves.param_groups:
        group["lr"] = learning_rate(step, settings)
    moves.zero_grad(set_to_none=True)
    learned, total, busy = batch.tokens, 0.0, None
    for start in range(0, len(batch), settings.micro_batch_sequences):
        micro = as_tensors(batch[start : start + settings.micro_batch_sequences], device)
        loss, nats, here = _losses(decoder, micro, config, learned, len(micro[0]) / len(batch))
        torch.autograd.backward(loss)
        total += nats
        if here is not None:
            busy = here if busy is None else busy + here
    clip(decoder, settings.clip)
    moves.step()
    if busy is not None:
        move_biases(decoder, busy, bias_speed(step, settings.steps))
    return total / max(1, learned)


def _losses(
    decoder: Decoder, micro: tuple[Tensor, Tensor, Tensor], config: Config, learned: int, share: float
) -> tuple[Tensor, float, Tensor | None]:
    """Return the loss to descend, the nats of the next tokens alone, and the experts' loads [M, E]."""
    inputs_BT, targets_BT, documents_BT = micro
    settings = config.training
    with precision(inputs_BT.device):
        hidden_BTD, routings = decoder(inputs_BT, documents_BT)
        nats = head_loss(hidden_BTD.flatten(0, 1), decoder.lm_head.weight, targets_BT.flatten())
        loss = nats / max(1, learned)
        states, more = decoder.further(hidden_BTD, inputs_BT, documents_BT)
        for depth, state_BTD in enumerate(states, start=1):
            same_BT = documents_BT[:, depth:] == documents_BT[:, :-depth]
            later_BT = targets_BT[:, depth:].masked_fill(~same_BT, IGNORED)
            further = head_loss(state_BTD.flatten(0, 1), decoder.lm_head.weight, later_BT.flatten())
            loss = loss + settings.mtp_weight / len(states) * further / max(1, learned)
        routings = [*routings, *more]
        for routing in routings:
            loss = loss + settings.sequence_balance * share * sequence_loss(routing)
    busy = loads(routings, config.model.n_routed_experts) if routings else None
    return loss, float(nats.detach()), busy


def _resume(out: Path, decoder: Decoder, moves: torch.optim.Optimizer, identity: dict[str, Any]) -> int:
    found = checkpoints(out)
    if not found:
        raise CheckpointError(f"{out}: no checkpoint to resume from; leave --resume out to begin")
    about = read_about(found[-1])
    for name, value in identity.items():
        if about.get(name) != json.loads(json.dumps(value)):
            raise CheckpointError(
                f"{found[-1]}: its {name} is not that of this run; it cannot be resumed with other settings"
            )
    load_model(found[-1], decoder)
    load_optimiser(found[-1], decoder, moves)
    return int(about["step"])


def _show(step: int, steps: int, loss: float, rate: float, seconds: float) -> None:
    left = seconds / step * (steps - step)
    line = f"step {step}/{steps}  loss {loss:.3f}  {rate:,.0f} tokens/s  {left:.0f} s left"
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if step == steps else ""))
    elif step % max(1, steps // 20) == 0 or step == steps:
        sys.stderr.write(line + "\n")
    sys.stderr.flush()


@contextmanager
def _stop_requested() -> Iterator[list[int]]:
    """Yield a list that is empty until Ctrl-C or SIGTERM asks the run to stop; a second time stops at once."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
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
