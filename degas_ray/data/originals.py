"""What every source hands over: its original images, found and understood but not yet read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from degas_ray.data.intake import Intake
from degas_ray.data.packs import Chunk

READ_ROWS = 1024  # images of an array file read at a time
_SEED = 0  # of the draw that a limit makes: the same images for everyone
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Originals:
    """One source's images before they are packed.

    Args:
        name: What the pack is called.
        classes: Names of the labels; empty where there are none.
        count: Images to come, unreadable ones included.
        files: Files whose size and times tell whether a pack made from them is still good.
        read: Resolution to chunks of images ``[B, R, R, 3]`` with labels, in a fixed order.
        conversion: How an original becomes R x R, in words.
        intake: What is left out, and why; filled further while reading.
    """

    name: str
    classes: tuple[str, ...]
    count: int
    files: tuple[Path, ...]
    read: Callable[[int], Iterator[Chunk]]
    conversion: str
    intake: Intake


def draw(count: int, limit: int | None, labels: npt.ArrayLike | None = None) -> Positions:
    """Choose at most ``limit`` of ``count`` positions at random but always the same ones, in order.

    Args:
        count: How many there are.
        limit: How many to take; None for all.
        labels: ``[count]``, any values: each class keeps its share, rounded to whole images, and where the limit is no
            smaller than the number of classes, at least one image of each is taken.
    """
    if limit is None or limit >= count:
        return np.arange(count)
    rng = np.random.default_rng(_SEED)
    if labels is None:
        return np.sort(rng.permutation(count)[:limit])
    _, inverse, sizes = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    order = rng.permutation(count)
    by_class = order[np.argsort(inverse[order], kind="stable")]
    rank = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within the class
    return np.sort(by_class[rank < np.repeat(_quotas(sizes, limit), sizes)])


def _quotas(sizes: Positions, limit: int) -> Positions:
    """Divide a limit among classes by their sizes: largest remainders, one at least where there is enough."""
    least = 1 if limit >= len(sizes) else 0
    shares = np.maximum(sizes * (limit / sizes.sum()) - least, 0)
    shares *= (limit - least * len(sizes)) / max(shares.sum(), 1e-9)
    quotas: Positions = np.floor(shares + 1e-9).astype(np.int64)
    rest = limit - least * len(sizes) - int(quotas.sum())
    quotas[np.argsort(quotas - shares, kind="stable")[:rest]] += 1
    quotas += least
    return quotas
