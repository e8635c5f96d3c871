"""Which rows of a tensor a process holds, when several hold it between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from ranks.group import Ranks


def own(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@dataclass(frozen=True)
class Share:
    """What one process holds of a tensor: `local`, its rows from `start` on, of `rows` in all. A number is one row."""

    local: Tensor
    start: int
    rows: int

    @property
    def stop(self) -> int:
        return self.start + (len(self.local) if self.local.dim() else 1)

    @property
    def is_all(self) -> bool:
        return self.stop - self.start == self.rows

    @torch.no_grad()
    def take(self, piece: Tensor, start: int = 0) -> None:
        """Copy what `piece`, the whole's rows from `start` on, has of this share."""
        if not self.local.dim():
            self.local.copy_(piece)
            return
        first, last = max(self.start, start), min(self.stop, start + len(piece))
        if first < last:
            self.local[first - self.start : last - self.start].copy_(piece[first - start : last - start])


def share(tensor: Tensor, ranks: Ranks, dealt: bool) -> Share:
    """Return this process's share of a tensor.

    FSDP cuts the first dimension into as many runs of rows as there are processes, the last ones short or empty. What is
    `dealt`, as experts are, is so before; then each deal is cut among the processes that hold the same.
    """
    if not isinstance(tensor, DTensor):
        return Share(tensor, 0, len(tensor) if tensor.dim() else 1)
    deals = ranks.expert_parallel if dealt else 1
    rows, (part, deal) = len(tensor), divmod(ranks.rank, deals)
    longest = -(-rows // (ranks.count // deals))
    return Share(own(tensor), deal * rows + min(part * longest, rows), rows * deals)
