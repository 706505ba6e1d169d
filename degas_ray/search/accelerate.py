"""How a supernet is run fast on this machine: layout, compiler, reduced precision."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from degas_ray.search.supernet import Supernet

Forward = Callable[..., Tensor]  # (z, weights=None) -> images

# torch.compile needs minutes on a CPU and saves milliseconds a step there: docs/performance.md has the measurement.
COMPILE_PAYS_AFTER_STEPS = {"cpu": 20_000, "cuda": 1_000}


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
    if compile == "on" or (compile == "auto" and steps >= COMPILE_PAYS_AFTER_STEPS.get(device, 1 << 62)):
        forward = torch.compile(supernet)
    if precision == "float32":
        return forward

    def reduced(z: Tensor, weights: Mapping[str, Mapping[str, Tensor]] | None = None) -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            return forward(z, weights).float()

    return reduced
