"""Scores that compare every pair of images by their features: KID, precision and recall, density and coverage.

All come from the same inner products, so one sweep over blocks of them serves all; only features are held.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from degas_ray.errors import InputError

PRECISION_NEIGHBOUR = 3  # Kynkäänniemi et al. 2019
DENSITY_NEIGHBOUR = 5  # Naeem et al. 2020
_BLOCK = 1 << 23  # pairs at a time: 32 MB each


@dataclass(frozen=True, eq=False)
class Within:
    """A set of features compared with itself.

    Args:
        kernel: Mean of the kernel over all ordered pairs of two different images.
        radii: ``[N, 5]``: squared distances to the nearest neighbours 1 to 5.
    """

    kernel: float
    radii: Tensor


@dataclass(frozen=True)
class Between:
    """A generated set compared with a real one."""

    kernel: float
    precision: float
    recall: float
    density: float
    coverage: float


def within(features: Tensor) -> Within:
    """Compare a set with itself.

    Args:
        features: ``[N, D]``, N > 5.

    Raises:
        InputError: Too few images.
    """
    count = len(features)
    if count <= DENSITY_NEIGHBOUR:
        least = DENSITY_NEIGHBOUR + 1
        raise InputError(f"got {count} images, but a score needs {least}; raise scores.samples or scores.real")
    kernel, radii = 0.0, []
    for rows, values, squared in _blocks(features, features):
        diagonal = torch.arange(len(values), device=values.device)
        kernel += _sum(values) - _sum(values[diagonal, rows + diagonal])
        squared[diagonal, rows + diagonal] = torch.inf
        radii.append(squared.topk(DENSITY_NEIGHBOUR, largest=False).values)
    return Within(kernel / (count * (count - 1)), torch.cat(radii))


def between(fake: Tensor, real: Tensor, fake_within: Within, real_within: Within) -> Between:
    """Compare generated features ``[N, D]`` with real ones ``[M, D]``.

    Precision is the share of generated images inside the ball of some real one (reaching to its third neighbour),
    recall the share of real images inside the ball of some generated one; density counts the real balls around a
    generated image, over 5, and coverage the real balls (fifth neighbour) that hold some generated image.
    """
    fake_three = fake_within.radii[:, PRECISION_NEIGHBOUR - 1]
    real_radii = real_within.radii.to(real.device)
    real_three, real_five = real_radii[:, PRECISION_NEIGHBOUR - 1], real_radii[:, DENSITY_NEIGHBOUR - 1]
    kernel, inside, balls = 0.0, 0, 0
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    covered = torch.zeros_like(recalled)
    for start, values, squared in _blocks(fake, real):
        kernel += _sum(values)
        inside += int((squared <= real_three).any(1).sum())
        recalled |= (squared <= fake_three[start : start + len(squared), None]).any(0)
        held = squared < real_five  # strict, as its authors have it; with <= above, as theirs have it
        balls += int(held.sum())
        covered |= held.any(0)
    pairs = len(fake) * len(real)
    return Between(
        kernel=kernel / pairs,
        precision=inside / len(fake),
        recall=float(recalled.double().mean()),
        density=balls / (DENSITY_NEIGHBOUR * len(fake)),
        coverage=float(covered.double().mean()),
    )


def kernel_distance(fake: Tensor, real: Tensor) -> float:
    """Return the KID (Binkowski et al. 2018): the unbiased squared MMD of two sets under ``(x.y / D + 1)^3``.

    Over all pairs, where other tools average random subsets: the same expectation, no chance, the least variance. Can
    be slightly negative.

    Args:
        fake: ``[N, D]``.
        real: ``[M, D]``.
    """
    crossed = sum(_sum(values) for _, values, _ in _blocks(fake, real)) / (len(fake) * len(real))
    return within(fake).kernel + within(real).kernel - 2 * crossed


def _blocks(left: Tensor, right: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield for blocks of rows of ``left``: the first row, kernel values and squared distances ``[rows, M]``.

    Everything is centred by the mean of ``right`` before it is multiplied: distances then keep their digits in float32,
    and adding the parts of the mean gives back the plain inner product for the kernel.
    """
    centre = right.mean(0)
    left, right = left - centre, right - centre
    left_mean, right_mean = left @ centre, right @ centre
    left_square, right_square = left.square().sum(1), right.square().sum(1)
    offset = centre.square().sum()
    rows = max(1, _BLOCK // len(right))
    for start in range(0, len(left), rows):
        some = slice(start, start + rows)
        products = left[some] @ right.T
        squared = (left_square[some, None] + right_square - 2 * products).clamp_(min=0)
        plain = products.add_(left_mean[some, None]).add_(right_mean + offset)
        yield start, plain.div_(left.shape[1]).add_(1).pow_(3), squared


def _sum(values: Tensor) -> float:
    return float(values.sum(dtype=torch.float64))
