"""Where and how precisely a model is computed: as the machine allows, not as somebody configured."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch


def best_device() -> torch.device:
    """Return the first GPU with bfloat16 units if there is one, else the CPU."""
    if torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.device("cuda")
    return torch.device("cpu")


def precision(device: torch.device) -> AbstractContextManager[object]:
    """Return the context to compute in: bfloat16 products on a GPU, float32 on a CPU.

    Most CPUs have no bfloat16 units, and emulate them at half the speed of float32. Weights, gradients' sums and the
    optimiser's state are float32 everywhere.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def uncompiled(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which compiled layers run as they are written. On a CPU none is compiled (see Decoder)."""
    return torch.compiler.set_stance("force_eager") if device.type == "cuda" else nullcontext()


PEAKS = {"H100 PCIe": 756, "H100": 989, "H200": 989, "GH200": 989, "A100": 312, "L40S": 362, "B200": 2250}
"""Dense bfloat16 operations a second by the name of a GPU, in units of 10¹², as its maker states them."""


def peak_operations(device: torch.device) -> float | None:
    """Return how many operations a second the device can do at best, None where that is not known."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak * 1e12 for part, peak in PEAKS.items() if part in name), None)


def memory_bytes(device: torch.device) -> int:
    """Return how much memory the device has in all."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
