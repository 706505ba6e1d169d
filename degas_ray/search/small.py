"""Separable convolutions on small maps as matrix products.

On a map of a few pixels a depthwise convolution library spends its time on borders. There a depthwise convolution is,
channel by channel, a small matrix over pixels, the pointwise one a matrix over channels, and several operations of one
MixedOp go through both together. Layout: planes [C, N, P], with P pixels.
"""

import math
from collections.abc import Mapping
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = 4  # side of the largest map that is faster so (docs/performance.md)


def to_planes(x: Tensor) -> Tensor:
    """Return ``x`` [N, C, H, W] as planes [C, N, H * W]."""
    n, c, h, w = x.shape
    return x.permute(1, 0, 2, 3).reshape(c, n, h * w)


def from_planes(x: Tensor, size: int) -> Tensor:
    """Return planes [C, N, size * size] as a map [N, C, size, size], channels last in memory."""
    c, n, _ = x.shape
    return x.permute(1, 2, 0).reshape(n, size, size, c).permute(0, 3, 1, 2)


def separable(ops: Mapping[str, nn.Module], weights: Mapping[str, Tensor], x: Tensor, dilation: int = 2) -> Tensor:
    """Return the weighted sum of separable and dilated operations.

    Args:
        ops: ``sep_conv_*`` first, then ``dil_conv_*``.
        x: relu of the map, as planes [C, N, P] of a square.
        dilation: Of the ``dil_conv_*``; 1 where ``x`` holds the phases of a larger map.
    """
    channels, n, pixels = x.shape
    layers = [[module for module in op.children() if isinstance(module, nn.Conv2d)] for op in ops.values()]
    twice = sum(len(convs) == 4 for convs in layers)  # a sep_conv is depthwise and pointwise, two times
    steps = [1 if len(convs) == 4 else dilation for convs in layers]
    y = _depthwise_pointwise(x, [convs[:2] for convs in layers], steps)
    if twice:
        again = F.relu(_norm(y[:twice], None)).view(twice, channels, n, pixels)
        again = _depthwise_pointwise(again, [convs[2:] for convs in layers[:twice]], [1] * twice)
        y = torch.cat([again, y[twice:]])
    scale = torch.stack([weights[name] for name in ops]).repeat_interleave(channels)
    return _norm(y, scale).view(len(ops), channels, n, pixels).sum(0)


def _depthwise_pointwise(x: Tensor, layers: list[list[nn.Conv2d]], dilations: list[int]) -> Tensor:
    """Run K pairs of convolutions on planes [C, N, P] or [K, C, N, P]; return [K, C, N * P]."""
    channels, n, pixels = x.shape[-3:]
    depthwise = torch.stack([_matrix(pair[0].weight, d, pixels) for pair, d in zip(layers, dilations, strict=True)])
    pointwise = torch.stack([pair[1].weight.view(channels, channels) for pair in layers])
    return pointwise @ torch.matmul(x, depthwise).view(len(layers), channels, n * pixels)


def _matrix(weight: Tensor, dilation: int, pixels: int) -> Tensor:
    """Return a depthwise kernel [C, 1, k, k] as matrices [C, P, P] from input to output pixels."""
    kernel = weight.shape[-1]
    taps = _taps(kernel, dilation, math.isqrt(pixels), weight.dtype, weight.device)
    return (weight.view(-1, kernel * kernel) @ taps).view(-1, pixels, pixels)


@cache
def _taps(kernel: int, dilation: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return which tap leads from each input pixel to each output pixel, [k * k, P * P] of zeros and ones."""
    taps = torch.zeros(kernel, kernel, size, size, size, size)
    for row in range(kernel):
        for column in range(kernel):
            down, right = (row - kernel // 2) * dilation, (column - kernel // 2) * dilation
            for i in range(max(0, -down), min(size, size - down)):
                for j in range(max(0, -right), min(size, size - right)):
                    taps[row, column, i + down, j + right, i, j] = 1
    return taps.view(kernel * kernel, -1).to(device, dtype)


def _norm(x: Tensor, scale: Tensor | None) -> Tensor:
    """Normalise every channel of [K, C, N * P] by batch statistics."""
    flat = x.reshape(1, -1, x.shape[-1])
    return F.batch_norm(flat, None, None, scale, None, training=True).view_as(x)
