"""GLO: every image owns a latent vector, and the loss is how badly it is rebuilt (paper 3.2, eq. 2)."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from degas_ray.data.packs import Images

_SAMPLE = 10_000  # images from which the principal axes are found
_PIXELS = 16  # their side, at most: leading axes are smooth
_CHUNK = 4096


def pyramid(x: Tensor) -> list[Tensor]:
    """Return the Laplacian pyramid of ``x`` [N, C, R, R]: band j at 1 / 2^j of the size, the low-pass rest last.

    Band j is the level minus its Gaussian blur; the next level is the blur averaged 2x2. It ends where the size is
    odd or would fall below two pixels. The pyramid is linear in ``x``.
    """
    x = x.contiguous()  # matrices act on planes
    levels = []
    while x.shape[-1] % 2 == 0 and x.shape[-1] >= 4:
        blur, reduce = _gaussian(x.shape[-1], x.dtype, x.device)
        levels.append(x - blur @ (x @ blur.T))
        x = reduce @ (x @ reduce.T)
    return [*levels, x]


def reconstruction_loss(images: Tensor, target: Tensor, share: float, levels: str = "paper") -> Tensor:
    """Return the loss of each image: ``(1 - share) * squared error + share * Lap1``.

    Both terms are sums divided by the number of values of an image, so that they do not grow with the resolution.

    Args:
        images: Generated, [N, 3, R, R].
        target: Real, [N, 3, R, R].
        share: Of Lap1, in [0, 1].
        levels: ``paper`` weighs band j by 2^(2j) (with sums of absolute values that is the plain mean of each band,
            j = 0 the finest), ``inverse`` by 2^(-2j), as other ports do.

    Returns:
        Loss [N].
    """
    difference = images - target
    values = difference[0].numel()
    squared = difference.square().sum((1, 2, 3)) / values
    if share == 0:
        return squared
    lap1 = torch.zeros_like(squared)
    for j, band in enumerate(pyramid(difference)):
        lap1 = lap1 + 4.0 ** (j if levels == "paper" else -j) * band.abs().sum((1, 2, 3)) / values
    return (1 - share) * squared + share * lap1


def project(latents: Tensor) -> Tensor:
    """Return the nearest point of the unit ball for every row of ``latents`` [N, D]."""
    inside: Tensor = latents / latents.norm(dim=1, keepdim=True).clamp_min(1.0)
    return inside


def start_latents(images: Images, dim: int, start: str, seed: int) -> Tensor:
    """Return a latent for every image, inside the unit ball.

    Args:
        images: uint8 [N, R, R, 3].
        start: ``pca``: coordinates along the images' principal axes, scaled to a root-mean-square length of one;
            axes that the images do not have are drawn. ``gaussian``: drawn.

    Returns:
        Latents [N, dim], float32.
    """
    draw = torch.Generator().manual_seed(seed)
    latents = torch.randn(len(images), dim, generator=draw) / dim**0.5
    if start == "pca":
        mean, axes = _principal_axes(images, dim)
        if axes.shape[1]:
            found = torch.cat([(small - mean) @ axes for small in _small(images)])
            latents[:, : found.shape[1]] = found / found.square().sum(1).mean().sqrt().clamp_min(1e-12)
            latents[:, found.shape[1] :] *= 0.1  # there to be used, without hiding what is known
    return project(latents)


def _principal_axes(images: Images, dim: int) -> tuple[Tensor, Tensor]:
    """Return the mean [P] and the leading axes [P, <= dim], signs fixed so that they do not depend on the library."""
    step = max(1, len(images) // _SAMPLE)
    sample = torch.cat(list(_small(images[::step]))).double()
    mean = sample.mean(0)
    centred = sample - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(sample))
    order = values.argsort(descending=True)[:dim]
    kept = order[values[order] > 1e-9 * values.max().clamp_min(1e-12)]
    axes = vectors[:, kept]
    largest = axes.abs().argmax(0)
    axes = axes * axes[largest, torch.arange(axes.shape[1])].sign()
    return mean.float(), axes.float()


def _small(images: Images) -> Iterator[Tensor]:
    """Yield flattened, reduced images [n, P] in [-1, 1], chunk by chunk."""
    factor = 1
    while images.shape[1] // factor > _PIXELS and images.shape[1] % (2 * factor) == 0:
        factor *= 2
    for start in range(0, len(images), _CHUNK):
        chunk = torch.from_numpy(np.array(images[start : start + _CHUNK])).permute(0, 3, 1, 2).float()
        yield F.avg_pool2d(chunk, factor).flatten(1) / 127.5 - 1


@cache
def _gaussian(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return two matrices that act along a side of ``size`` pixels.

    Blurring and averaging are linear and separable, and on a CPU small matrix products take half the time of padding,
    depthwise convolution and pooling (docs/performance.md).

    Returns:
        The blur [S, S]: five taps of a Gaussian of standard deviation 1, edge pixels repeated. And the blur followed
        by the mean of two neighbours [S / 2, S].
    """
    taps = torch.exp(-torch.linspace(-2, 2, 5).double().square() / 2)
    blur = torch.zeros(size, size, dtype=torch.double)
    for offset, tap in zip(range(-2, 3), taps / taps.sum(), strict=True):
        rows = torch.arange(size)
        blur.index_put_((rows, (rows + offset).clamp(0, size - 1)), tap, accumulate=True)
    return blur.to(device, dtype), ((blur[0::2] + blur[1::2]) / 2).to(device, dtype)
