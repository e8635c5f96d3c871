"""How fast the trainer trains, reads and packs, and how evenly its experts are used.

    python benchmarks/train.py [--documents N] [--steps N] [--json]

Everything is CPU time of one thread. Training steps of the contenders take turns, and the median of their ratios is
reported, so that a busy machine slows them alike. The text is Python's own: the language reference and the standard
library's sources.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from pydoc_data import topics

# Python puts this file's folder first, where the file itself would pass for the package `train`.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

import numpy as np
import pyarrow as pa
import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

from loader.packing import pack
from loader.rows import Batch
from loader.stream import TrainingData
from pipeline.shard import write_shard
from pipeline.shards import Shards, index_files
from pipeline.tokens import Tokenizer
from pipeline.vocabulary import train_tokenizer
from train.attention import LatentCache
from train.balance import expert_layers, loads, max_violation
from train.config import Config, ModelConfig, preset
from train.evaluate import as_tensors, evaluate_corpora, token_bytes
from train.export import huggingface_config
from train.loop import train_step
from train.model import Decoder, count_parameters
from train.optim import BETAS, optimiser

ROWS, ROW = 4, 256
ROUNDS = 12
MEAN_TOKENS = 660


def middle_sized() -> ModelConfig:
    """A model of 16 million weights, 32 experts: the smallest at which experts are worth timing."""
    return dataclasses.replace(
        preset("tiny-cpu", 8192).model,
        hidden_size=256,
        num_hidden_layers=6,
        intermediate_size=768,
        moe_intermediate_size=96,
        n_routed_experts=32,
        num_attention_heads=8,
        kv_lora_rank=64,
        qk_nope_head_dim=16,
        qk_rope_head_dim=16,
        num_nextn_predict_layers=0,
    )


def dense(config: ModelConfig) -> ModelConfig:
    """The same model with dense layers alone, and as many weights in all."""
    width = config.moe_intermediate_size * (config.n_routed_experts + config.n_shared_experts)
    gates = config.n_routed_experts // 3
    share = (config.num_hidden_layers - config.first_k_dense_replace) * (width + gates)
    share += config.first_k_dense_replace * config.intermediate_size
    return dataclasses.replace(
        config,
        first_k_dense_replace=config.num_hidden_layers,
        intermediate_size=round(share / config.num_hidden_layers),
    )


def our_step(config: ModelConfig, batch: Batch) -> Callable[[], None]:
    """Return what takes one training step of ours, all of it: loss, gradients, clipping, update, balancing."""
    settings = dataclasses.replace(
        preset("tiny-cpu").training, steps=1000, sequence_length=ROW, batch_sequences=ROWS, micro_batch_sequences=ROWS
    )
    whole = Config(config, settings)
    decoder = Decoder(config)
    decoder.initialise(1)
    moves = optimiser(decoder, settings)
    return lambda: (train_step(decoder, moves, batch, 100, whole), None)[1]


def their_step(config: ModelConfig, batch: Batch) -> Callable[[], None]:
    """Return what takes one training step of transformers' model with grouped experts."""
    made = DeepseekV3Config.from_dict(huggingface_config(config, 0))
    made._experts_implementation = "grouped_mm"
    made._attn_implementation = "sdpa"
    model = DeepseekV3ForCausalLM(made).train()
    if model.config._experts_implementation != "grouped_mm":
        raise SystemExit("this transformers does not run its experts with grouped_mm")
    moves = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=BETAS, fused=True)
    tokens = torch.from_numpy(batch.inputs_BT).long()

    def step() -> None:
        moves.zero_grad(set_to_none=True)
        torch.autograd.backward(model(input_ids=tokens, labels=tokens, use_cache=False).loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        moves.step()

    return step


def seconds(take: Callable[[], None]) -> float:
    started = time.process_time()
    take()
    return time.process_time() - started


def training(rounds: int) -> dict[str, float]:
    """Time steps of ours, of transformers' and of a dense model of equal size, in turns."""
    tokens = np.random.default_rng(1).integers(0, 8192, (ROWS, ROW + 1)).astype(np.int32)
    batch = Batch(tokens[:, :-1].copy(), tokens[:, 1:].copy(), np.zeros((ROWS, ROW), np.int32))
    ours = middle_sized()
    takers = [our_step(ours, batch), their_step(ours, batch), our_step(dense(ours), batch)]
    for take in takers:
        take()
    times = [[seconds(take) for take in takers] for _ in range(rounds)]
    return {
        "training_tokens_per_second": ROWS * ROW / statistics.median(mine for mine, _, _ in times),
        "tokens_vs_transformers": statistics.median(theirs / mine for mine, theirs, _ in times),
        "tokens_vs_dense": statistics.median(thick / mine for mine, _, thick in times),
        "weights_vs_dense": count_parameters(ours)[0] / count_parameters(dense(ours))[0],
    }


def memory() -> dict[str, float]:
    """Measure what decoding remembers per token, over what heads as wide as the model would have to."""
    found = {}
    for name in ("tiny-cpu", "v3-671b"):
        config = preset(name).model
        layers = config.num_hidden_layers
        cache = LatentCache(config, layers, 1, 1, torch.zeros(0))
        found[name] = cache.bytes_per_token / (layers * 2 * config.hidden_size * 4)
    return {"kv_vs_mha": found["tiny-cpu"], "kv_vs_mha_v3": found["v3-671b"]}


def write_folder(folder: Path, texts: dict[str, list[str]], tokenizer_json: bytes) -> Shards:
    """Write one shard of texts by corpus."""
    tokenizer = Tokenizer.from_json(tokenizer_json)
    rows = [(corpus, text) for corpus, ones in texts.items() for text in ones]
    offsets, ids = tokenizer.encode(pa.array([text for _, text in rows], pa.large_string()))
    return write_tokens(folder, [corpus for corpus, _ in rows], offsets, ids, tokenizer_json, tokenizer.end_of_text)


def write_tokens(
    folder: Path, corpora: list[str], offsets: np.ndarray, ids: np.ndarray, tokenizer_json: bytes, end: int
) -> Shards:
    names = pa.array([str(number) for number in range(len(corpora))])
    nothing = pa.nulls(len(corpora), pa.string())
    columns = pa.table(
        {
            "id": names,
            "corpus": corpora,
            "source": names,
            "language": nothing,
            "programming_language": nothing,
            "url": nothing,
        }
    )
    folder.mkdir(parents=True)
    with (folder / "data-00000.arrow").open("wb") as stream:
        info = write_shard(stream, "data-00000.arrow", columns, offsets, ids)
    for name, content in index_files([info], tokenizer_json, end, {}).items():
        (folder / name).write_bytes(content)
    return Shards.open(folder)


def texts_at_hand() -> dict[str, list[str]]:
    modules = [module for name, module in sorted(sys.modules.items()) if not name.startswith(("torch", "transformers"))]
    sources = []
    for module in modules[:400]:
        try:
            sources.append(inspect.getsource(module))
        except (OSError, TypeError):
            continue
    return {"code": sources, "reference": [topics.topics[name] for name in sorted(topics.topics)]}


def balance(shards: Shards, steps: int, seeds: int) -> dict[str, float]:
    """Train with and without balancing; compare loads over the next 20 batches of the text, and the held-out loss.

    Loads of 20 batches together show how evenly experts are used; those of one batch show its few documents as well.
    Everything is the mean over seeds: the losses of one seed's two runs differ by more than balancing is worth.
    """
    each = [_balance(shards, steps, seed) for seed in range(1, seeds + 1)]
    worse = [one["held_out_nats"] - one["held_out_nats_unbalanced"] for one in each]
    spread = {"balancing_costs_least_nats": min(worse), "balancing_costs_most_nats": max(worse)}
    return {name: statistics.mean(one[name] for one in each) for name in each[0]} | spread


def _balance(shards: Shards, steps: int, seed: int) -> dict[str, float]:
    config = preset("tiny-cpu", shards.vocabulary_size)
    settings = dataclasses.replace(
        config.training, steps=steps, sequence_length=128, batch_sequences=8, micro_batch_sequences=8
    )
    config = Config(dataclasses.replace(config.model, num_nextn_predict_layers=0), settings)
    data = TrainingData(shards, settings.sequence_length, seed)
    sizes = token_bytes(shards.tokenizer_json, shards.vocabulary_size)
    found = {}
    for balanced in (True, False):
        decoder = Decoder(config.model)
        decoder.initialise(seed)
        moves = optimiser(decoder, settings)
        violations = []
        for step in range(steps):
            violations.append(train_step(decoder, moves, data.batch(step * 8, 8), step, config).max_violation)
            for layer in expert_layers(decoder) if not balanced else []:
                layer.gate.e_score_correction_bias.zero_()
        held_out = evaluate_corpora(decoder, data, 32, sizes).values()
        loss = sum(one.nats_per_token * one.tokens for one in held_out) / sum(one.tokens for one in held_out)
        busy = torch.zeros(len(expert_layers(decoder)), config.model.n_routed_experts, dtype=torch.int64)
        with torch.no_grad():
            for step in range(steps, steps + 20):
                inputs, _, documents = as_tensors(data.batch(step * 8, 8), torch.device("cpu"))
                busy += loads(decoder(inputs, documents)[1], config.model.n_routed_experts)
        name = "" if balanced else "_unbalanced"
        found["max_violation" + name] = max_violation(busy)
        found["max_violation_per_batch" + name] = statistics.mean(violations[-20:])
        found["held_out_nats" + name] = loss
    return found


def loading(folder: Path, documents: int) -> dict[str, float]:
    """Time packing documents into rows, and reading shuffled batches of 8 rows of 2,048 tokens."""
    chance = np.random.default_rng(7)
    lengths = np.maximum(1, chance.lognormal(np.log(MEAN_TOKENS) - 0.5, 1.0, documents).astype(np.int64))
    pack(lengths[:100], 2048)
    packing = min(seconds(lambda: (pack(lengths, 2048), None)[1]) for _ in range(3))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = chance.integers(0, 65_536, offsets[-1], np.uint16)
    corpora = [("web", "books", "code")[number % 3] for number in range(documents)]
    tokenizer = json.dumps({"model": {"vocab": {"": 65_535}}, "added_tokens": []}).encode()
    data = TrainingData(write_tokens(folder, corpora, offsets, ids, tokenizer, 0), 2048, 1)
    whole = range(0, data.rows_per_epoch - 8, 8)

    def epoch(positions: Iterable[int]) -> None:
        for position in positions:
            data.batch(position, 8)

    epoch(whole)
    reading = min(seconds(lambda: epoch(whole)) for _ in range(3))
    return {
        "packing_documents_per_second": documents / packing,
        "rows_filled": float(lengths.sum() / (len(pack(lengths, 2048)) * 2048)),
        "loader_tokens_per_second": len(whole) * 8 * 2048 / reading,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=50_000, help="to pack and to read")
    parser.add_argument("--steps", type=int, default=200, help="of the runs that measure balance")
    parser.add_argument("--seeds", type=int, default=3, help="of those runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        found = {**memory(), **loading(Path(scratch) / "wide", arguments.documents), **training(ROUNDS)}
        texts = texts_at_hand()
        tokenizer_json = train_tokenizer([text for ones in texts.values() for text in ones], 4096)
        found |= balance(write_folder(Path(scratch) / "text", texts, tokenizer_json), arguments.steps, arguments.seeds)
    for name, value in found.items():
        print(f"{name:<36}{value:>18,.4g}" if value < 1000 else f"{name:<36}{value:>18,.0f}")
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
