"""The processes of one training: who they are, and what they tell one another.

Alone, everything here does nothing. Only tensors pass between processes, never pickled objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(minutes=10)  # with a process that says nothing


class RanksError(ValueError):
    """Processes cannot work together as they were started."""


class ElsewhereError(ValueError):
    """Another process has failed, and says why."""


@dataclass(frozen=True)
class Ranks:
    """This process's number, how many there are, and over how many of them the experts of a layer are dealt."""

    rank: int = 0
    count: int = 1
    expert_parallel: int = 1
    on_machine: int = 1

    def check(self, experts: int) -> None:
        """Raise RanksError where a layer's experts cannot be dealt evenly."""
        for many, what in ((self.count, "processes"), (experts, "routed experts")):
            if self.expert_parallel < 1 or many % self.expert_parallel:
                raise RanksError(f"expert_parallel {self.expert_parallel} does not divide {many} {what}")

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of all processes' tensors, made in place."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, claim: bool) -> bool:
        """Return whether the claim holds in some process."""
        return bool(self.sum(torch.tensor(int(claim))))

    def said_once(self, error: ValueError) -> ValueError:
        """Return what to raise for an error that all processes have come to: the first one's says why."""
        return error if self.is_first else ElsewhereError(str(error))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a body that no process leaves alone: where it fails in one it fails in all, and one of them says why.

        The body may not wait for other processes.
        """
        failure: Exception | None = None
        try:
            yield
        except (ValueError, OSError) as error:
            failure = error
        failed = self.sum(torch.tensor([int(failure is not None and rank == self.rank) for rank in range(self.count)]))
        if failed.any() and (failure is None or int(failed.argmax()) != self.rank):
            raise ElsewhereError(f"process {int(failed.argmax())} of {self.count} has failed")
        if failure is not None:
            raise failure


ALONE = Ranks()


def join(environment: Mapping[str, str], device: torch.device, expert_parallel: int = 1) -> Ranks:
    """Meet the other processes that torchrun, or `ranks.launch`, has started with this environment."""
    count = _number(environment, "WORLD_SIZE", 1, 1)
    if count == 1:
        return Ranks(expert_parallel=expert_parallel)
    on_machine, backend = _number(environment, "LOCAL_WORLD_SIZE", count, 1, count), "gloo"
    _number(environment, "RANK", 0, 0, count - 1)  # read by torch, which would not name it
    alone = device.type != "cuda" or on_machine == 1
    place = _number(environment, "LOCAL_RANK", 0 if alone else None, 0, on_machine - 1)
    if device.type == "cuda":
        if on_machine > torch.cuda.device_count():
            raise RanksError(f"{on_machine} processes are more than this machine's {torch.cuda.device_count()} GPUs")
        torch.cuda.set_device(place)
        backend = "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
    except (ValueError, dist.DistError) as error:
        raise RanksError(f"WORLD_SIZE is {count}, and the processes do not meet: {error}; unset, one trains") from None
    return Ranks(dist.get_rank(), count, expert_parallel, on_machine)


def _number(environment: Mapping[str, str], name: str, unset: int | None, least: int, most: int | None = None) -> int:
    """Return what a variable says, or `unset`; raise RanksError where that is no number, or one that cannot be."""
    said = environment.get(name, None if unset is None else str(unset))
    number = int(said) if said and said.isdecimal() else least - 1
    if number < least or (most is not None and number > most):
        right = f"from {least} on" if most is None else f"from {least} to {most}"
        seen = f"{name} is {said!r}" if said is not None else f"{name} is not set"
        raise RanksError(
            f"{seen}: a whole number {right} is wanted, as torchrun sets it; without WORLD_SIZE one trains"
        )
    return number


def lost(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone. Gloo has no name for its errors but in their text."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def leave() -> None:
    """Part from the other processes, all having come to the end."""
    if dist.is_initialized():
        dist.destroy_process_group()
