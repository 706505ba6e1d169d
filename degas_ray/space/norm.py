"""Batch normalisation, plain or conditional on a class, and a sequence that hands labels to those who want them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]


class ConditionalBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose scale and shift are looked up by class (supervised training, paper 4.1).

    Args:
        channels: Channels of the map.
        num_classes: Classes; labels are integers in ``[0, num_classes)``.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(channels, affine=False)
        self.scale = nn.Parameter(torch.ones(num_classes, channels))
        self.shift = nn.Parameter(torch.zeros(num_classes, channels))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Normalise ``x`` [N, C, H, W] and scale it by the rows that ``labels`` [N] name."""
        if labels is None:
            raise ValueError("a class-conditional generator needs labels [N]")
        scale, shift = self.scale[labels], self.shift[labels]  # [N, C] each
        return super().forward(x) * scale[:, :, None, None] + shift[:, :, None, None]


class Steps(nn.Sequential):
    """Modules one after the other; ``labels`` reach the conditional norms among them."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map ``x`` [N, C, H, W] through every module in turn."""
        for module in self:
            x = module(x, labels) if isinstance(module, ConditionalBatchNorm2d | Steps) else module(x)
        return x


def search_norm(channels: int) -> nn.Module:
    """Return the search's normalisation: batch statistics, no affine part, nothing remembered (as in DARTS)."""
    return nn.BatchNorm2d(channels, affine=False, track_running_stats=False)


def generator_norm(num_classes: int = 0) -> Norm:
    """Return what makes a derived generator's normalisation: affine, and by class where there are classes."""
    if num_classes:
        return lambda channels: ConditionalBatchNorm2d(channels, num_classes)
    return nn.BatchNorm2d
