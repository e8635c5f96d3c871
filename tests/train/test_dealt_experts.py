"""Experts dealt out compute what they compute together, also where a process has none that any token chose."""

from __future__ import annotations

from tests.train.several import ranks_of

EXPERTS = """
import json, os, sys
import torch
import torch.distributed as dist
from ranks.group import join, leave
from tests.train.conftest import small
from train.experts import Experts
from train.parallel import DealtExperts

torch.set_num_threads(1)
ranks = join(os.environ, torch.device("cpu"), 2)
config, draw = small(), torch.Generator().manual_seed(3)
whole, dealt = Experts(config), DealtExperts(config, dist.group.WORLD)
own = slice(4 * ranks.rank, 4 * ranks.rank + 4)
with torch.no_grad():
    for weight, share in zip(whole.parameters(), dealt.parameters()):
        share.copy_(weight.normal_(generator=draw)[own])
chosen_NK = torch.rand(10, json.loads(sys.argv[1])[0]["among"], generator=draw).argsort(dim=1)[:, :2]
x_ND, weights_NK = (torch.randn(10, width, generator=draw).requires_grad_() for width in (32, 2))
mine = slice(5 * ranks.rank, 5 * ranks.rank + 5)
found = dealt(x_ND[mine], weights_NK[mine], chosen_NK[mine])
found.square().sum().backward()
slope_ND, x_ND.grad = x_ND.grad[mine].clone(), None
expected = whole(x_ND, weights_NK, chosen_NK)
expected.square().sum().backward()
torch.testing.assert_close(found, expected[mine])
torch.testing.assert_close(slope_ND, x_ND.grad[mine])
for weight, share in zip(whole.parameters(), dealt.parameters()):
    torch.testing.assert_close(share.grad, weight.grad[own])
leave()
"""


def test_a_process_whose_experts_nobody_chose_computes_nothing_and_its_gradients_are_zero() -> None:
    for code, _, error in ranks_of(2, [{"among": 4}], code=EXPERTS):  # of eight: the first process has them all
        assert code == 0, error
