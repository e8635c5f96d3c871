"""The oracle: transformers' own implementation reads our folder and computes the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from train.balance import expert_layers
from train.config import Yarn
from train.export import export, released_names
from train.model import Decoder

YARN = Yarn(factor=4.0, original_max_position_embeddings=64)
UNEVEN = Yarn(factor=8.0, original_max_position_embeddings=16, mscale=1.0, mscale_all_dim=0.7)
SHAPES: dict[str, dict[str, Any]] = {
    "plain queries": {},
    "compressed queries": {"q_lora_rank": 24},
    "groups and scaling": {"n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5, "num_experts_per_tok": 3},
    "stretched positions": {"rope_scaling": YARN, "qk_rope_head_dim": 16, "v_head_dim": 24},
    "stretched unevenly": {"rope_scaling": UNEVEN, "qk_rope_head_dim": 16},
    "two shared experts, two predictions": {"n_shared_experts": 2, "num_nextn_predict_layers": 2},
    "all at once": {
        "q_lora_rank": 16,
        "n_group": 2,
        "topk_group": 1,
        "routed_scaling_factor": 2.5,
        "rope_scaling": YARN,
        "v_head_dim": 16,
        "first_k_dense_replace": 2,
    },
    "experts everywhere": {"first_k_dense_replace": 0, "num_nextn_predict_layers": 0},
}


def load(folder: Path, layers: int) -> Any:
    transformers = pytest.importorskip("transformers")

    class Oracle(transformers.DeepseekV3ForCausalLM):  # type: ignore[name-defined,misc]
        # transformers looks for prediction modules in layer 61 alone, that of the 671 B model
        _keys_to_ignore_on_load_unexpected = (rf"model\.layers\.({layers}|{layers + 1})\.",)

    model, found = Oracle.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not found["missing_keys"]
    assert not found["mismatched_keys"]
    return model.eval()


def biased(decoder: Decoder) -> Decoder:
    """Give the gates biases worth a test: they change the choice, and must not change the weights."""
    for number, layer in enumerate(expert_layers(decoder)):
        draw = torch.Generator().manual_seed(number)
        layer.gate.e_score_correction_bias.normal_(0, 0.3, generator=draw)
    return decoder


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_computes_the_same_logits(
    shape: str, make_decoder: Callable[..., Decoder], tmp_path: Path
) -> None:
    decoder = biased(make_decoder(**SHAPES[shape]))
    oracle = load(export(decoder, tmp_path / "exported", None, 0), decoder.config.num_hidden_layers)
    tokens_BT = torch.randint(97, (2, 33), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        hidden_BTD, _ = decoder(tokens_BT)
        logits_BTV = decoder.lm_head(hidden_BTD)
        expected_BTV = oracle(tokens_BT, use_cache=False).logits
    assert logits_BTV.std() > 0.1  # else anything agrees
    assert (logits_BTV - expected_BTV).abs().max() <= 1e-5


@pytest.mark.parametrize("shape", ["plain queries", "two shared experts, two predictions", "all at once"])
def test_transformers_predicts_the_same_further_tokens(
    shape: str, make_decoder: Callable[..., Decoder], tmp_path: Path
) -> None:
    decoder = biased(make_decoder(**SHAPES[shape]))
    layers, depths = decoder.config.num_hidden_layers, decoder.config.num_nextn_predict_layers
    oracle = load(export(decoder, tmp_path / "exported", None, 0), layers)
    from transformers.modeling_layers import MtpModel

    modules: nn.Module = MtpModel.from_pretrained(oracle).eval()
    tokens_BT = torch.randint(97, (1, 21), generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        hidden_BTD, _ = decoder(tokens_BT)
        states, _ = decoder.further(hidden_BTD, tokens_BT)
        assert len(states) == depths
        last = hidden_BTD
        for depth, ours in enumerate(states):
            length = tokens_BT.shape[1] - depth - 1
            places = torch.arange(length)[None]
            last = modules.forward_layer(  # type: ignore[operator]
                depth, last[:, :length], places, None, input_ids=tokens_BT[:, depth + 1 :]
            )
            assert (decoder.lm_head(ours) - oracle.lm_head(last)).abs().max() <= 1e-5


def test_experts_are_written_one_by_one_as_in_the_release(make_decoder: Callable[..., Decoder]) -> None:
    decoder = make_decoder()
    tensors = released_names(decoder)
    fused = decoder.state_dict()["model.layers.1.mlp.experts.gate_up_proj"]
    gate, up = (tensors[f"model.layers.1.mlp.experts.5.{part}_proj.weight"] for part in ("gate", "up"))
    assert torch.equal(torch.cat([gate, up]), fused[5])
    assert not any("gate_up" in name for name in tensors)
    assert "model.layers.3.enorm.weight" in tensors  # the prediction module, numbered on


def test_the_exported_config_says_what_the_model_is(make_decoder: Callable[..., Decoder], tmp_path: Path) -> None:
    export(make_decoder(rope_scaling=YARN), tmp_path, None, 3)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["DeepseekV3ForCausalLM"]
    assert config["eos_token_id"] == 3
    assert config["rope_scaling"]["factor"] == 4.0
    assert "tokenizer.json" not in {path.name for path in tmp_path.iterdir()}
