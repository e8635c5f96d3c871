"""What a model is and how it is trained: frozen values, and the presets by name.

The model's fields carry the names of a Hugging Face `config.json` of model type `deepseek_v3`, so that an export is
these values and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


class ConfigError(ValueError):
    """A value does not fit the others; the message names both."""


@dataclass(frozen=True)
class Yarn:
    """YaRN's stretching of the rotary positions (Peng et al. 2023), with DeepSeek-V3's constants."""

    factor: float
    original_max_position_embeddings: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float = 1.0
    mscale_all_dim: float = 1.0


@dataclass(frozen=True)
class ModelConfig:
    """A decoder of DeepSeek-V3's shape (arXiv 2412.19437, section 2)."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    first_k_dense_replace: int  # the first layers have one dense feed-forward; the others have experts
    intermediate_size: int  # of the dense feed-forward
    moe_intermediate_size: int  # of one expert
    n_routed_experts: int
    n_shared_experts: int
    num_experts_per_tok: int
    n_group: int  # experts are chosen from the best `topk_group` of `n_group` groups
    topk_group: int
    routed_scaling_factor: float
    num_attention_heads: int
    q_lora_rank: int | None  # None: queries are not compressed
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    num_nextn_predict_layers: int  # multi-token prediction modules, one further token each
    max_position_embeddings: int
    rope_theta: float = 10_000.0
    rope_scaling: Yarn | None = None
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        def must(holds: bool, message: str) -> None:
            if not holds:
                raise ConfigError(message)

        experts, groups = self.n_routed_experts, self.n_group
        must(experts % groups == 0, f"n_routed_experts {experts} is not a multiple of n_group {groups}")
        must(groups == 1 or experts // groups >= 2, f"a group needs two experts at least, not {experts}/{groups}")
        must(1 <= self.topk_group <= groups, f"topk_group {self.topk_group} is not between 1 and n_group {groups}")
        reachable = experts // groups * self.topk_group
        must(
            1 <= self.num_experts_per_tok <= reachable,
            f"num_experts_per_tok {self.num_experts_per_tok} is not between 1 and the {reachable} experts in reach",
        )
        must(self.qk_rope_head_dim % 2 == 0, f"qk_rope_head_dim {self.qk_rope_head_dim} is odd; rotations take pairs")
        must(
            self.v_head_dim <= self.qk_head_dim,
            f"v_head_dim {self.v_head_dim} exceeds the width of a query, {self.qk_head_dim}",
        )
        must(
            0 <= self.first_k_dense_replace <= self.num_hidden_layers,
            f"first_k_dense_replace {self.first_k_dense_replace} exceeds num_hidden_layers {self.num_hidden_layers}",
        )
        for name in ("hidden_size", "moe_intermediate_size"):  # grouped_mm wants rows aligned to 16 bytes
            must(getattr(self, name) % 8 == 0, f"{name} {getattr(self, name)} is not a multiple of 8")

    @property
    def qk_head_dim(self) -> int:
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    def is_dense(self, layer: int) -> bool:
        """Whether `layer` has one dense feed-forward. Prediction modules, numbered on from the layers, have experts."""
        return layer < self.first_k_dense_replace


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained. A step is one update over `batch_sequences` × `sequence_length` tokens."""

    steps: int
    sequence_length: int
    batch_sequences: int
    micro_batch_sequences: int  # sequences whose activations are held at once; must divide the batch
    learning_rate: float
    optimiser: str = "adamw"  # or "muon"
    schedule: str = "wsd"  # or "cosine"
    warmup_share: float = 0.05  # of the steps, linearly from nothing
    decay_share: float = 0.3  # of the steps, at the end of "wsd", linearly to `final_share`
    final_share: float = 0.05  # of the learning rate, at the last step
    weight_decay: float = 0.1
    clip: float = 1.0
    mtp_weight: float = 0.3  # DeepSeek-V3, section 4.2: 0.3 for most of its run, 0.1 at the end
    sequence_balance: float = 1e-4  # the same section's alpha
    mixture: Mapping[str, float] = field(default_factory=dict)  # share of the rows by corpus; empty: by size
    epochs: int = 4  # of a corpus, at most: more repetition is worth little (Muennighoff et al. 2023)
    corpus_epochs: Mapping[str, int] = field(default_factory=dict)  # where a corpus has another bound
    infill_share: float = 0.1  # of the documents of code; DeepSeek-V3, section 4.1
    evaluate_every: int = 100
    evaluation_sequences: int = 32  # per corpus, at most
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        if self.micro_batch_sequences < 1 or self.batch_sequences % self.micro_batch_sequences:
            raise ConfigError(
                f"batch_sequences {self.batch_sequences} is not a multiple of "
                f"micro_batch_sequences {self.micro_batch_sequences}"
            )
        if self.optimiser not in ("adamw", "muon"):
            raise ConfigError(f"optimiser {self.optimiser!r} is not known; use 'adamw' or 'muon'")
        if self.schedule not in ("wsd", "cosine"):
            raise ConfigError(f"schedule {self.schedule!r} is not known; use 'wsd' or 'cosine'")
        if min(self.steps, self.sequence_length, self.batch_sequences) < 1:
            raise ConfigError("steps, sequence_length and batch_sequences start at 1")
        epochs = (self.epochs, *self.corpus_epochs.values())
        if not 1 <= min(epochs) <= max(epochs) <= 10_000:  # the order of each is at hand from the start
            raise ConfigError(f"epochs lie between 1 and 10,000, not {min(epochs)} and {max(epochs)}")
        if not 0 <= self.infill_share <= 1:
            raise ConfigError(f"infill_share {self.infill_share} is no share")


@dataclass(frozen=True)
class Config:
    """A model and its training."""

    model: ModelConfig
    training: TrainingConfig

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Config:
        model = dict(values["model"])
        if model["rope_scaling"] is not None:
            model["rope_scaling"] = Yarn(**model["rope_scaling"])
        return Config(ModelConfig(**model), TrainingConfig(**values["training"]))


def _tiny_cpu(vocabulary_size: int) -> Config:
    model = ModelConfig(
        vocab_size=vocabulary_size,
        hidden_size=128,
        num_hidden_layers=4,
        first_k_dense_replace=1,
        intermediate_size=384,
        moe_intermediate_size=64,
        n_routed_experts=16,
        n_shared_experts=1,
        num_experts_per_tok=4,
        n_group=1,
        topk_group=1,
        routed_scaling_factor=1.0,
        num_attention_heads=4,
        q_lora_rank=None,
        kv_lora_rank=32,
        qk_nope_head_dim=24,
        qk_rope_head_dim=8,
        v_head_dim=32,
        num_nextn_predict_layers=1,
        max_position_embeddings=1024,
    )
    training = TrainingConfig(
        steps=300,
        sequence_length=256,
        batch_sequences=8,
        micro_batch_sequences=8,
        learning_rate=4e-3,
    )
    return Config(model, training)


def _100m(vocabulary_size: int) -> Config:
    model = ModelConfig(
        vocab_size=vocabulary_size,
        hidden_size=512,
        num_hidden_layers=12,
        first_k_dense_replace=1,
        intermediate_size=1536,
        moe_intermediate_size=128,
        n_routed_experts=32,
        n_shared_experts=1,
        num_experts_per_tok=4,
        n_group=4,
        topk_group=2,
        routed_scaling_factor=1.0,
        num_attention_heads=8,
        q_lora_rank=None,
        kv_lora_rank=128,
        qk_nope_head_dim=48,
        qk_rope_head_dim=16,
        v_head_dim=64,
        num_nextn_predict_layers=1,
        max_position_embeddings=4096,
    )
    training = TrainingConfig(
        steps=4000,
        sequence_length=1024,
        batch_sequences=64,
        micro_batch_sequences=64,  # 18 GB on a GPU
        learning_rate=1.5e-3,
        evaluate_every=250,
        evaluation_sequences=64,
        checkpoint_every=500,
    )
    return Config(model, training)


def _v3_671b(vocabulary_size: int) -> Config:
    model = ModelConfig(
        vocab_size=vocabulary_size,
        hidden_size=7168,
        num_hidden_layers=61,
        first_k_dense_replace=3,
        intermediate_size=18432,
        moe_intermediate_size=2048,
        n_routed_experts=256,
        n_shared_experts=1,
        num_experts_per_tok=8,
        n_group=8,
        topk_group=4,
        routed_scaling_factor=2.5,
        num_attention_heads=128,
        q_lora_rank=1536,
        kv_lora_rank=512,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
        num_nextn_predict_layers=1,
        max_position_embeddings=163_840,
        rope_scaling=Yarn(factor=40.0, original_max_position_embeddings=4096),
        initializer_range=0.006,
    )
    training = TrainingConfig(
        steps=235_000,  # 14.8 trillion tokens
        sequence_length=4096,
        batch_sequences=15_360,
        micro_batch_sequences=1,
        learning_rate=2.2e-4,
        schedule="cosine",
        warmup_share=0.0085,
    )
    return Config(model, training)


PRESETS = {"tiny-cpu": _tiny_cpu, "100m": _100m, "v3-671b": _v3_671b}


def preset(name: str, vocabulary_size: int = 129_280) -> Config:
    """Return the preset `name` for a vocabulary of this size (DeepSeek-V3's own by default)."""
    if name not in PRESETS:
        raise ConfigError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name](vocabulary_size)
