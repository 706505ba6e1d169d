"""Where a training's random numbers come from, alone or in a group of workers that share a batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo


class Noise(torch.Generator):
    """A source of random numbers; the workers of a group draw a whole batch's from it and each keeps its own rows.

    So the numbers do not depend on how many workers there are, and every worker's source stands at the same place.

    Args:
        device: Where the numbers are made.
        rank: Which worker this is.
        workers: How many there are.
    """

    def __new__(cls, device: torch.device | str = "cpu", **_: Any) -> "Noise":
        """Make it on ``device``."""
        return super().__new__(cls, device)  # type: ignore[call-arg]

    def __init__(self, device: torch.device | str = "cpu", *, rank: int = 0, workers: int = 1) -> None:
        self.rank, self.workers = rank, workers
        self.rows = 0  # of one batch that are this worker's; a tensor may hold several batches, one after the other


def uniform_like(shaped: Tensor, noise: torch.Generator | None) -> Tensor:
    """Draw numbers in [0, 1) in the shape and layout of ``shaped`` [N, ...], whose rows are this worker's."""
    drawn: Tensor = _drawn(shaped, noise, torch.Tensor.uniform_)
    return drawn


def normal_like(shaped: Tensor, noise: torch.Generator | None) -> Tensor:
    """Draw from N(0, 1) in the shape and layout of ``shaped`` [N, ...], whose rows are this worker's."""
    drawn: Tensor = _drawn(shaped, noise, torch.Tensor.normal_)
    return drawn


# The compiler does not trace random generators. torch.compiler.disable would load it here, which takes seconds.
@_disable_dynamo
def _drawn(shaped: Tensor, noise: torch.Generator | None, fill: Callable[..., Tensor]) -> Tensor:
    own = torch.empty_like(shaped)
    if not isinstance(noise, Noise) or noise.workers == 1:
        return fill(own, generator=noise)
    whole = torch.empty_strided(
        (len(own) * noise.workers, *own.shape[1:]), own.stride(), dtype=own.dtype, device=own.device
    )
    whole = fill(whole, generator=noise)
    parts = whole.split(noise.rows)
    return torch.cat(parts[noise.rank :: noise.workers])
