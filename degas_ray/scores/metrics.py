"""Scores of two sets of images, from their features; patches are compared without a network."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from degas_ray.errors import InputError

Array = npt.NDArray[np.float64]


def moments(features: Tensor | npt.NDArray[np.floating]) -> tuple[Array, Array]:
    """Return the mean ``[D]`` and the unbiased covariance ``[D, D]`` of features ``[N, D]`` in float64, N > 1."""
    values: Array = torch.as_tensor(features).to("cpu", torch.float64, copy=True).numpy()  # centred in place
    mean = values.mean(axis=0)
    values -= mean
    return mean, values.T @ values / (len(values) - 1)


def square_root(covariance: Array) -> Array:
    """Return the symmetric square root of a covariance matrix ``[D, D]``."""
    values, vectors = np.linalg.eigh(covariance)
    root: Array = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root


def frechet_distance(mean1: Array, cov1: Array, mean2: Array, cov2: Array, *, root2: Array | None = None) -> float:
    """Return ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``.

    ``C1 C2`` has the eigenvalues of the symmetric ``C2^(1/2) C1 C2^(1/2)``, so their roots add up to the trace: exact
    as a general matrix root is, several times faster, and never complex.

    Args:
        root2: :func:`square_root` of ``cov2`` where it is known already.
    """
    root = square_root(cov2) if root2 is None else root2
    values = np.linalg.eigvalsh(root @ cov1 @ root)
    gap = mean1 - mean2
    distance = gap @ gap + np.trace(cov1) + np.trace(cov2) - 2 * np.sqrt(values.clip(min=0)).sum()
    return max(0.0, float(distance))  # rounding can leave a tiny negative number where both are the same


def inception_score(probabilities: Tensor, splits: int = 10) -> tuple[float, float]:
    """Return mean and standard deviation over splits of ``exp(mean KL(p(y|x) || p(y)))``.

    Between 1 and the number of classes. Splits are consecutive, so images in an order (by class, say) must be shuffled.

    Args:
        probabilities: ``[N, K]``, rows adding up to 1.
        splits: Parts, each with its own ``p(y)``.

    Raises:
        InputError: Fewer images than splits.
    """
    count = len(probabilities)
    if count < splits:
        raise InputError(
            f"{splits} splits need at least as many images, got {count}; raise scores.samples or lower scores.splits"
        )
    scores = []
    for split in range(splits):
        part = probabilities[split * count // splits : (split + 1) * count // splits].double()
        marginal = part.mean(0, keepdim=True)
        divergence = (torch.xlogy(part, part) - torch.xlogy(part, marginal)).sum(1)
        scores.append(divergence.mean().exp().item())
    return float(np.mean(scores)), float(np.std(scores))


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


SIDE, PATCHES, PROJECTIONS, SMALLEST = 7, 16, 512, 16
LEAST_SPREAD = 1e-8  # of a channel: patches of one colour stay finite
TOGETHER = 128  # directions at a time: all of them would take gigabytes


def sliced_distance(made: npt.NDArray[np.uint8], real: npt.NDArray[np.uint8]) -> float:
    """Return the distance of two sets of as many images, 0 or more."""
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
