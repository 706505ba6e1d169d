"""How a supernet is run fast on this machine: layout, compiler, reduced precision."""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from degas_ray.search.supernet import Supernet

Forward = Callable[..., Tensor]  # (z, weights=None) -> images

# By device; others are never compiled unasked. On two CPU cores the compiler had not finished after nine minutes, a
# fifth of the paper's whole schedule (docs/performance.md).
COMPILE_PAYS_AFTER_STEPS = {"cuda": 1_000}


def accelerate(
    supernet: Supernet,
    compile: Literal["auto", "on", "off"] = "auto",
    precision: Literal["float32", "bf16"] = "float32",
    steps: int = 0,
) -> Forward:
    """Return the callable that the search really runs; parameters stay those of ``supernet``.

    Args:
        supernet: Laid out in place as channels_last.
        compile: ``auto`` compiles where ``steps`` is long enough to pay for it.
        precision: ``bf16`` runs under autocast.
        steps: How many steps are to come.
    """
    supernet.to(memory_format=torch.channels_last)
    device = next(supernet.parameters()).device.type
    forward: Forward = supernet
    if compile == "on" or (compile == "auto" and steps >= COMPILE_PAYS_AFTER_STEPS.get(device, math.inf)):
        forward = torch.compile(supernet)
    if precision == "float32":
        return forward

    def reduced(z: Tensor, weights: Mapping[str, Mapping[str, Tensor]] | None = None) -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            return forward(z, weights).float()

    return reduced
