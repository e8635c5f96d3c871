"""What each of several processes has of a batch, of a tensor and of the memory: all together it is the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from loader.rows import IGNORED, Batch
from loader.stream import rank_parts
from ranks.group import Ranks, RanksError
from ranks.shares import Share
from train.config import preset
from train.parallel import held_bytes


@pytest.mark.parametrize(("count", "most"), [(8, 3), (5, 2), (2, 8), (1, 1)])
def test_every_row_is_computed_once_in_as_many_parts_by_each(count: int, most: int) -> None:
    rows = np.arange(count * 3, dtype=np.int32).reshape(count, 3)
    batch = Batch(rows, rows, rows)
    for ranks in (1, 2, 3, 4):
        parts = [list(rank_parts(batch, most, rank, ranks)) for rank in range(ranks)]
        assert len({len(part) for part in parts}) == 1
        counted = [part for own in parts for part, many in own if many]
        assert np.concatenate([part.inputs_BT for part in counted]).tolist() == rows.tolist()
        assert all(len(part) <= most for part in counted)
        assert all((part.targets_BT == IGNORED).all() for own in parts for part, many in own if not many)


def test_shares_of_any_cut_come_together() -> None:
    whole = torch.arange(22.0).view(11, 2)
    for cuts in ((0, 11), (0, 4, 8, 11), (0, 6, 11), (0, 11, 11)):
        shares = [Share(torch.zeros(b - a, 2), a, 11) for a, b in zip(cuts, cuts[1:], strict=False)]
        for start in (0, 3, 6, 9):
            for one in shares:
                one.take(whole[start : start + 3], start)
        assert torch.equal(torch.cat([one.local for one in shares]), whole)


def test_processes_need_less_memory_each_and_experts_less_where_they_are_dealt() -> None:
    model = preset("v3-671b").model
    alone, spread, dealt = (held_bytes(model, Ranks(0, n, deal)) for n, deal in ((1, 1), (256, 1), (256, 64)))
    assert alone > 671e9 * 16
    assert alone / 256 < dealt < spread < alone / 16


@pytest.mark.parametrize(("count", "deal"), [(4, 3), (6, 6), (2, 0)])
def test_experts_that_cannot_be_dealt_evenly_are_refused(count: int, deal: int) -> None:
    with pytest.raises(RanksError, match=f"expert_parallel {deal} does not divide"):
        Ranks(0, count, deal).check(16)
    Ranks(0, 8, 4).check(16)
