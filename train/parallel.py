"""One decoder over several processes: its weights sharded by FSDP, the experts of a layer dealt out.

Processes 0, 1, … of `--expert-parallel` N hold a layer's experts between them, N..2N-1 hold them again, and so on. A token
goes to the process that has its expert, and what the expert makes of it comes back. All other weights are cut into as
many shares as there are processes, those of experts among the processes with the same ones; they are put together for
a layer while it is computed.

Shapes: E experts, D hidden, P pairs of token and expert here, Q pairs that others send, R processes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from ranks.group import Ranks
from ranks.shares import share
from train import rotary
from train.balance import expert_layers
from train.config import ModelConfig
from train.experts import Experts
from train.model import Decoder, drawn_weights

BYTES_PER_WEIGHT = 16  # the weight, its gradient, and AdamW's two moments, float32 each
BYTES_TOGETHER = 8  # a weight that is put together, and its gradient


class _Exchange(torch.autograd.Function):
    """Send runs of rows to each process of a group, and get theirs; gradients go the other way."""

    @staticmethod
    def forward(ctx: Any, x_PD: Tensor, sent_R: list[int], got_R: list[int], group: Any) -> Tensor:
        ctx.back = got_R, sent_R, group
        got_QD = x_PD.new_empty(sum(got_R), *x_PD.shape[1:])
        dist.all_to_all_single(got_QD, x_PD.contiguous(), got_R, sent_R, group)
        return got_QD

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Tensor, None, None, None]:
        return _Exchange.apply(upstream[0], *ctx.back), None, None, None  # type: ignore[no-untyped-call]


class DealtExperts(Experts):
    """One process's deal of a layer's experts, computed for the tokens of all processes of the group."""

    def __init__(self, config: ModelConfig, group: Any) -> None:
        super().__init__(config, config.n_routed_experts // group.size())
        self.group = group

    def compute(self, x_PD: Tensor, weights_P1: Tensor, expert_P: Tensor) -> Tensor:
        ranks, here = self.group.size(), len(self.down_proj)
        sent_E = torch.bincount(expert_P, minlength=ranks * here)
        got_E = torch.empty_like(sent_E)  # of each process, its pairs for each expert here
        dist.all_to_all_single(got_E, sent_E, group=self.group)
        sent_R, got_R = (counts.view(ranks, here).sum(dim=1).tolist() for counts in (sent_E, got_E))
        expert_Q, order_Q = (
            torch.arange(here, device=x_PD.device).repeat(ranks).repeat_interleave(got_E).sort(stable=True)
        )
        x_QD, weights_Q1 = (
            _Exchange.apply(x, sent_R, got_R, self.group).index_select(0, order_Q)  # type: ignore[no-untyped-call]
            for x in (x_PD, weights_P1)
        )
        y_QD = super().compute(x_QD, weights_Q1, expert_Q).index_select(0, order_Q.argsort())
        returned: Tensor = _Exchange.apply(y_QD, got_R, sent_R, self.group)  # type: ignore[no-untyped-call]
        return returned


def spread(config: ModelConfig, seed: int, device: torch.device, ranks: Ranks) -> Decoder:
    """Return the decoder drawn from the seed; of several processes each builds and holds its share alone."""
    if ranks.count == 1:
        decoder = Decoder(config)
        decoder.initialise(seed)
        return decoder.to(device)
    every = init_device_mesh(device.type, (ranks.count,))
    sizes = ranks.count // ranks.expert_parallel, ranks.expert_parallel
    groups = init_device_mesh(device.type, sizes, mesh_dim_names=("copies", "deals"))
    with torch.device("meta"):
        decoder = Decoder(config)
        for experts_of in expert_layers(decoder):
            if ranks.expert_parallel > 1:
                experts_of.experts = DealtExperts(config, groups["deals"].get_group())
            fully_shard(experts_of.experts, mesh=groups["copies"])
    for layer in decoder.model.layers:
        fully_shard(layer, mesh=every)
    for predicting in decoder.prediction_modules:
        register_fsdp_forward_method(predicting, "predict")
    fully_shard(decoder, mesh=every)
    for module in decoder.modules():
        if isinstance(module, FSDPModule):  # losses are shares of the batch's mean: gradients add up
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    decoder.to_empty(device=device)
    with torch.no_grad():
        for _, buffer in decoder.named_buffers():
            buffer.zero_()
        decoder.frequencies_P.copy_(rotary.frequencies(config))
    weights = dict(decoder.named_parameters())
    for name, values in drawn_weights(config, seed):
        share(weights[name], ranks, ".mlp.experts." in name).take(values)
    return decoder


def held_bytes(config: ModelConfig, ranks: Ranks) -> int:
    """Return what training takes in each process: its share of all, and, of several, what is put together at once.

    That is embedding, head, and two layers, one computed and one on its way, without the experts dealt to others.
    """
    with torch.device("meta"):
        decoder = Decoder(config)
    sizes = {name: weight.numel() for name, weight in decoder.named_parameters()}
    if ranks.count == 1:
        return sum(sizes.values()) * BYTES_PER_WEIGHT
    layers = [0] * len(decoder.model.layers)
    for name, size in sizes.items():
        if name.startswith("model.layers."):
            layers[int(name.split(".")[2])] += size // (ranks.expert_parallel if ".mlp.experts." in name else 1)
    others = sum(size for name, size in sizes.items() if not name.startswith("model.layers."))
    return sum(sizes.values()) * BYTES_PER_WEIGHT // ranks.count + (others + 2 * max(layers)) * BYTES_TOGETHER
