"""Distances without a network: sliced Wasserstein distances of patches of a Laplacian pyramid (Karras et al. 2018, 5).

As there: 7x7 patches, each channel normalised to mean 0 and deviation 1 over all patches, 512 random directions, mean
over levels, times 1e3. Otherwise: 16 patches an image instead of 128.
"""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

SIDE, PATCHES, PROJECTIONS, SMALLEST = 7, 16, 512, 16
LEAST_SPREAD = 1e-8  # of a channel: patches of one colour stay finite
TOGETHER = 128  # directions at a time: all of them would take gigabytes


def sliced_distance(made: npt.NDArray[np.uint8], real: npt.NDArray[np.uint8]) -> float:
    """Return the distance of two sets of as many images, 0 or more.

    Args:
        made: uint8 ``[N, R, R, 3]``.
        real: uint8 ``[N, R, R, 3]``.
    """
    draw = torch.Generator().manual_seed(0)
    levels = zip(pyramid(made), pyramid(real), strict=True)
    return 1e3 * float(np.mean([sliced(patches(a), patches(b), draw) for a, b in levels]))


def pyramid(images: npt.NDArray[np.uint8]) -> list[Tensor]:
    """Return the bands of a Laplacian pyramid; the last one is what remains at a side of 16 or less."""
    rest = torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = torch.outer(line, line).expand(3, 1, 5, 5)
    bands = []
    while rest.shape[-1] > SMALLEST:
        small = F.conv2d(F.pad(rest, (2, 2, 2, 2), "reflect"), kernel, groups=3)[..., ::2, ::2]
        wide = torch.zeros_like(rest)
        wide[..., ::2, ::2] = 4 * small
        bands.append(rest - F.conv2d(F.pad(wide, (2, 2, 2, 2), "reflect"), kernel, groups=3))
        rest = small
    return [*bands, rest]


def patches(images: Tensor) -> Tensor:
    """Return patches at random places ``[N * 16, 147]``, each channel of mean 0 and deviation 1 over all of them.

    Args:
        images: ``[N, 3, S, S]``.
    """
    draw = torch.Generator().manual_seed(0)
    windows = images.unfold(2, SIDE, 1).unfold(3, SIDE, 1)  # [N, 3, rows, columns, SIDE, SIDE]
    count, _, rows, columns = windows.shape[:4]
    image = torch.arange(count).repeat_interleave(PATCHES)
    row, column = (torch.randint(most, (len(image),), generator=draw) for most in (rows, columns))
    found = windows[image, :, row, column]
    spread, mean = torch.std_mean(found, dim=(0, 2, 3), keepdim=True)
    return ((found - mean) / spread.clamp(min=LEAST_SPREAD)).flatten(1)


def sliced(a: Tensor, b: Tensor, draw: torch.Generator) -> float:
    """Return the mean Wasserstein distance of rows ``[N, D]`` along random directions."""
    total = 0.0
    for _ in range(PROJECTIONS // TOGETHER):
        direction = F.normalize(torch.randn(a.shape[1], TOGETHER, generator=draw), dim=0)
        # Along contiguous rows sorting is several times faster than down the columns.
        ours, theirs = ((direction.T @ side.T).sort(1).values for side in (a, b))
        total += float((ours - theirs).abs().mean())
    return total / (PROJECTIONS // TOGETHER)
