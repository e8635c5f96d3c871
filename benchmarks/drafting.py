"""How many drafts of the prediction modules are kept, and what they save, for each corpus.

    python benchmarks/drafting.py RUN [--model DIR] [--rows N] [--prompt N] [--tokens N] [--json]

Continues the beginnings of held-out rows of a trained run, greedily and with drafts in turns, in float32. Times are CPU
time on a CPU of one thread and wall time on a GPU. `same` is the share of texts that are equal: all, but for ties that
rounding decides, since a pass over several tokens may add up in another order than a pass over one.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

# Python puts this file's folder first, where `train.py` would pass for the package `train`.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

import torch

from pipeline.shards import Shards
from train.about import checkpoints, read_about
from train.checkpoint import load_model
from train.config import Config
from train.data import training_data
from train.generate import generate, generate_with_drafts
from train.hardware import best_device
from train.model import Decoder

Made = TypeVar("Made")


def timed(make: Callable[[], Made], device: torch.device) -> tuple[Made, float]:
    """Return what `make` makes, and in how many seconds."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    started = clock()
    made = make()  # ends with tokens on the CPU, so a GPU is done as well
    return made, clock() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--model", type=Path, help="the trained model's folder (default: RUN/model)")
    parser.add_argument("--rows", type=int, default=6, help="texts per corpus")
    parser.add_argument("--prompt", type=int, default=64, help="tokens given of each")
    parser.add_argument("--tokens", type=int, default=128, help="tokens to write")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = best_device()
    shards = Shards.open(arguments.run / "shards" if (arguments.run / "shards").is_dir() else arguments.run)
    last = checkpoints(arguments.model or arguments.run / "model")[-1]
    about = read_about(last)
    config = Config.from_json(about["config"])
    decoder = Decoder(config.model)
    load_model(last, decoder)
    decoder.to(device)
    data = training_data(shards, config.training, int(about["seed"]), about.get("exclude", ()))
    found: dict[str, dict[str, float]] = {}
    print(f"{'corpus':<16}{'kept':>8}{'tokens/pass':>13}{'speed':>8}{'same':>7}{'plain tokens/s':>16}")
    generate_with_drafts(decoder, list(range(1, 9)), 16)
    for corpus in data.held_out:
        batch, _ = data.evaluation(corpus, arguments.rows)
        plain_seconds = drafted_seconds = 0.0
        offered = kept = passes = written = same = 0
        for row in batch.inputs_BT:
            prompt = row[: arguments.prompt].tolist()
            plain, took = timed(partial(generate, decoder, prompt, arguments.tokens, 0.0, 0), device)
            drafted, less = timed(partial(generate_with_drafts, decoder, prompt, arguments.tokens), device)
            plain_seconds, drafted_seconds = plain_seconds + took, drafted_seconds + less
            offered, kept, passes = offered + drafted.offered, kept + drafted.kept, passes + drafted.forwards
            written, same = written + len(drafted.tokens), same + (plain == drafted.tokens)
        found[corpus] = {
            "kept": kept / max(1, offered),
            "tokens_per_pass": written / max(1, passes),
            "speed": plain_seconds / drafted_seconds,
            "same": same / len(batch),
            "plain_tokens_per_second": written / plain_seconds,
        }
        one = found[corpus]
        print(
            f"{corpus:<16}{one['kept']:>8.1%}{one['tokens_per_pass']:>13.2f}{one['speed']:>8.2f}{one['same']:>7.0%}"
            f"{one['plain_tokens_per_second']:>16.0f}"
        )
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
