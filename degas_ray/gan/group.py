"""Many workers, one training: each computes its rows of every batch, and what is a mean over a batch is shared.

A group computes what one worker would: the random numbers are the whole batch's (:mod:`degas_ray.gan.group`), batch
normalisation has the whole batch's statistics, and gradients and losses are averaged before they are used. torch's own
SyncBatchNorm does the second for GPUs alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from degas_ray.errors import InputError
from degas_ray.space.operations import ConditionalBatchNorm2d


class Noise(torch.Generator):
    """A source of random numbers; the workers of a group draw a whole batch's from it and each keeps its own rows.

    So the numbers do not depend on how many workers there are, and every worker's source stands at the same place.
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


@dataclass(frozen=True)
class Group:
    """The workers of a training, of which this process is one; a single one has nobody to tell anything.

    Args:
        workers: How many there are; more than one have a process group of ``torch.distributed``.
    """

    rank: int = 0
    workers: int = 1

    @classmethod
    def joined(cls) -> "Group":
        """Return the group of this process, from ``torch.distributed``."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

    @property
    def leads(self) -> bool:
        """Whether this worker writes and reports for all."""
        return self.rank == 0

    def check(self, **batches: int) -> None:
        """Refuse batches that the workers cannot share evenly.

        Raises:
            InputError: With the first of them.
        """
        for name, count in batches.items():
            if count % self.workers:
                fitting = -(-count // self.workers) * self.workers
                raise InputError(
                    f"{name}: got {count} for {self.workers} workers, expected a multiple of {self.workers}, "
                    f"such as {fitting}; set full.{name}={fitting}, or choose another number of workers"
                )

    def noise(self, device: torch.device, seed: int) -> Noise:
        """Return this worker's source of random numbers."""
        noise = Noise(device, rank=self.rank, workers=self.workers)
        noise.manual_seed(seed)
        return noise

    def own(self, batch: Tensor) -> Tensor:
        """Return this worker's rows of a whole batch."""
        size = len(batch) // self.workers
        return batch[self.rank * size : (self.rank + 1) * size]

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Average tensors of one kind over the workers, in one message."""
        if self.workers == 1:
            return list(tensors)
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        parts = (flat / self.workers).split([tensor.numel() for tensor in tensors])
        return [
            torch.empty_like(tensor).copy_(part.view(tensor.shape)) for part, tensor in zip(parts, tensors, strict=True)
        ]

    def gather(self, own: Tensor) -> Tensor:
        """Return the whole batch of which every worker has its ``own`` rows."""
        if self.workers == 1:
            return own
        own = own.contiguous()
        parts = [torch.empty_like(own) for _ in range(self.workers)]
        dist.all_gather(parts, own)
        return torch.cat(parts)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether any worker says so."""
        if self.workers == 1:
            return flag
        told = torch.tensor(float(flag), device=device)
        dist.all_reduce(told)
        return bool(told > 0)

    @contextmanager
    def whole_batch_statistics(self, generator: nn.Module) -> Iterator[None]:
        """Have batch normalisations in training mode take the statistics of all workers' rows for a while."""
        norms = [m for m in generator.modules() if isinstance(m, nn.BatchNorm2d)] if self.workers > 1 else []
        for norm in norms:
            norm.forward = partial(_normalise, norm, self.workers)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for norm in norms:
                del norm.forward


class _Sum(torch.autograd.Function):
    """The sum over all workers; its derivative is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        whole = own.clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].clone()
        dist.all_reduce(whole)
        return whole


def _normalise(norm: nn.BatchNorm2d, workers: int, x: Tensor, labels: Tensor | None = None) -> Tensor:
    """Do what ``norm`` does in training mode, with the statistics of all workers' rows of ``x`` [N, C, H, W]."""
    full = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    count = full.numel() // full.shape[1] * workers
    mean = _sum(full.sum((0, 2, 3))) / count
    centred = full - mean[:, None, None]
    variance = _sum(centred.square().sum((0, 2, 3))) / count
    if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
        assert norm.momentum is not None
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean.detach(), norm.momentum)
        norm.running_var.lerp_(variance.detach() * (count / (count - 1)), norm.momentum)
    y = centred * (variance + norm.eps).rsqrt()[:, None, None]
    if isinstance(norm, ConditionalBatchNorm2d):
        assert labels is not None
        y = y * norm.scale[labels][:, :, None, None] + norm.shift[labels][:, :, None, None]
    elif norm.affine:
        y = y * norm.weight[:, None, None] + norm.bias[:, None, None]
    return y.to(x.dtype)


def _sum(own: Tensor) -> Tensor:
    whole: Tensor = _Sum.apply(own)
    return whole
