"""What several processes cost and save on one machine: tokens a second, CPU time, and memory of each.

    python benchmarks/parallel.py [--steps N] [--json]

The same steps of a model of 16 million weights, by one process on one thread and on all cores, and by processes of one
thread each. All share this machine's cores and memory, so more processes cannot compute more; the figures say what
talking to one another costs, and what each process holds. Memory is the largest resident set, of which a process that
has only imported torch takes a part that is named. One run; a busy machine makes everything slower.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

# Python puts this file's folder first, where a neighbour would pass for the package `train`.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

import numpy as np
import torch

from loader.rows import Batch
from ranks.group import ALONE, join, leave
from ranks.launch import launch
from train.config import Config, ModelConfig, preset
from train.loop import train_step
from train.optim import optimiser
from train.parallel import held_bytes, spread

ROWS, ROW, WARM = 8, 256, 2


def model() -> ModelConfig:
    """A model of 16 million weights and 32 experts a layer."""
    changes = {"hidden_size": 256, "num_hidden_layers": 6, "intermediate_size": 768, "moe_intermediate_size": 96}
    heads = {"num_attention_heads": 8, "kv_lora_rank": 64, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16}
    shape = {**vars(preset("tiny-cpu", 8192).model), **changes, **heads}
    return ModelConfig(**{**shape, "n_routed_experts": 32, "num_nextn_predict_layers": 0})


def measure(out: str, steps: int, threads: int, dealt: int) -> int:
    """Take steps as one of the processes that the environment names; write what they took to a file in `out`."""
    torch.set_num_threads(threads)
    ranks = join(os.environ, torch.device("cpu"), dealt)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    settings = {**vars(preset("tiny-cpu").training), "micro_batch_sequences": ROWS, "batch_sequences": ROWS}
    config = Config(model(), type(preset("tiny-cpu").training)(**settings))
    decoder = spread(config.model, 1, torch.device("cpu"), ranks)
    moves = optimiser(decoder, config.training)
    draw = np.random.default_rng(1)
    tokens_BT = draw.integers(config.model.vocab_size, size=(ROWS, ROW + 1)).astype(np.int32)
    batch = Batch(tokens_BT[:, :-1].copy(), tokens_BT[:, 1:].copy(), np.zeros((ROWS, ROW), np.int32))
    for step in range(WARM + steps):
        if step == WARM:
            started, used = time.perf_counter(), time.process_time()
        train_step(decoder, moves, batch, step, config, ranks)
    found = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - used,
        "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "imports_bytes": before,
        "held_bytes": held_bytes(config.model, ranks),
    }
    (Path(out) / f"{ranks.rank}.json").write_text(json.dumps(found))
    if ranks != ALONE:
        leave()
    return 0


def timed(count: int, threads: int, dealt: int, steps: int) -> dict[str, float]:
    """Return what `count` processes took for the same steps."""
    with tempfile.TemporaryDirectory() as out:
        if launch(count, measure, out, steps, threads, dealt):
            raise SystemExit("a process failed")
        found = [json.loads((Path(out) / f"{rank}.json").read_text()) for rank in range(count)]
    return {
        "tokens_per_second": round(steps * ROWS * ROW / max(one["seconds"] for one in found)),
        "tokens_per_cpu_second": round(steps * ROWS * ROW / sum(one["cpu_seconds"] for one in found)),
        "largest_process_mb": round(max(one["memory_bytes"] for one in found) / 1e6),
        "of_it_imports_mb": round(max(one["imports_bytes"] for one in found) / 1e6),
        "weights_and_states_mb": round(max(one["held_bytes"] for one in found) / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does
    cores = os.cpu_count() or 1
    cases = {
        "one process, one thread": (1, 1, 1),
        f"one process, {cores} threads": (1, cores, 1),
        "2 processes": (2, 1, 1),
        "2 processes, experts dealt": (2, 1, 2),
        "4 processes, experts dealt over 2": (4, 1, 2),
    }
    found = {name: timed(*case, given.steps) for name, case in cases.items()}
    if given.json:
        print(json.dumps(found, indent=1))
        return
    names = list(next(iter(found.values())))
    print(f"{'':<36}" + "".join(f"{name:>24}" for name in names))
    for case, values in found.items():
        print(f"{case:<36}" + "".join(f"{values[name]:>24,}" for name in names))


if __name__ == "__main__":
    main()
