"""Write a model as a Hugging Face folder: `config.json`, `model.safetensors`, `tokenizer.json`.

The tensors are laid out as in DeepSeek's own release, one matrix per expert, which transformers, vLLM and llama.cpp's
converter all read. `DeepseekV3ForCausalLM.from_pretrained(folder)` gives the same logits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from train.config import ModelConfig
from train.model import Decoder


def huggingface_config(config: ModelConfig, end_of_text: int | None) -> dict[str, Any]:
    """Return what `config.json` says of the model."""
    scaling = None
    if config.rope_scaling is not None:
        scaling = {"type": "yarn", **vars(config.rope_scaling)}
    names = [name for name in vars(config) if name != "rope_scaling"]
    return {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "dtype": "float32",
        **{name: getattr(config, name) for name in names},
        "rope_scaling": scaling,
        "num_key_value_heads": config.num_attention_heads,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "moe_layer_freq": 1,
        "norm_topk_prob": True,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "rope_interleave": True,
        "tie_word_embeddings": False,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "use_cache": True,
    }


def released_names(decoder: Decoder) -> dict[str, Tensor]:
    """Return the decoder's tensors under the names of DeepSeek's release: experts one by one, shared parts repeated."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in decoder.state_dict().items():
        if name.endswith(".experts.gate_up_proj"):
            for expert, matrix in enumerate(tensor):
                gate, up = matrix.chunk(2)
                stem = f"{name.removesuffix('gate_up_proj')}{expert}"
                tensors[f"{stem}.gate_proj.weight"], tensors[f"{stem}.up_proj.weight"] = gate, up
        elif name.endswith(".experts.down_proj"):
            for expert, matrix in enumerate(tensor):
                tensors[f"{name.removesuffix('down_proj')}{expert}.down_proj.weight"] = matrix
        else:
            tensors[name] = tensor
    for depth in range(decoder.config.num_nextn_predict_layers):
        module = f"model.layers.{decoder.config.num_hidden_layers + depth}"
        tensors[f"{module}.embed_tokens.weight"] = decoder.model.embed_tokens.weight
        tensors[f"{module}.shared_head.head.weight"] = decoder.lm_head.weight
    # safetensors refuses tensors that share memory, and slices of one are such
    return {name: tensor.detach().to("cpu", torch.float32).clone() for name, tensor in tensors.items()}


def export(decoder: Decoder, folder: Path, tokenizer_json: str | None, end_of_text: int | None) -> Path:
    """Write `folder` for `from_pretrained`, and return it. `tokenizer_json` is the tokenizer's own file, if any."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(released_names(decoder), folder / "model.safetensors", metadata={"format": "pt"})
    if tokenizer_json is not None:
        (folder / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
        about: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
        about["model_max_length"] = decoder.config.max_position_embeddings
        (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    text = json.dumps(huggingface_config(decoder.config, end_of_text), indent=1)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    return folder
