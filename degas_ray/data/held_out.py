"""Held-out images: a fixed part of each pack that no search, training or first-judge reference sees.

Both parts are packs of their own in ``parts/`` beside the whole pack, mapped into memory like it, with fingerprints of
their own content: whatever is cached or recorded by fingerprint keeps the training part apart from the whole pack.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from degas_ray.data.packs import Chunk, Labels, Pack, open_pack, write_pack
from degas_ray.errors import DataError

MOST = 2000  # held-out images
SHARE = 5  # at most one image in so many is held out
FEWEST = 50  # images, below which none is held out
_SEED = 0  # of the permutation: the same for everyone
_ROWS = 4096  # images copied together

Positions = npt.NDArray[np.int64]


def held_out_count(images: int) -> int:
    """Return how many images of a pack of ``images`` are held out: a fifth, at most 2,000; none below 50 images."""
    return min(MOST, images // SHARE) if images >= FEWEST else 0


def held_out_positions(images: int, labels: Labels | None) -> Positions:
    """Return the sorted positions of the held-out images.

    The positions are permuted with a fixed seed, sorted by class, and taken at equal distances, so that each class has
    its share among them (to within one image).

    Args:
        images: Number of images in the pack.
        labels: int64 ``[images]``, or None.
    """
    count = held_out_count(images)
    order = np.random.default_rng(_SEED).permutation(images)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    chosen: Positions = order[(np.arange(count) * images + images // 2) // max(count, 1)]
    return np.sort(chosen)


def split(pack: Pack) -> tuple[Pack, Pack | None]:
    """Divide a pack into its training part and its held-out part, written on the first call and reused afterwards.

    Args:
        pack: A whole pack.

    Returns:
        The training part and the held-out part. A pack of fewer than 50 images is its own training part, and nothing
        is held out.

    Raises:
        DegasError: The parts cannot be written.
    """
    held_out = held_out_positions(len(pack), pack.labels)
    if not len(held_out):
        return pack, None
    training = np.setdiff1d(np.arange(len(pack)), held_out)
    second = _part(pack, "held-out", held_out)
    return _part(pack, "training", training, held_out=second.path.name), second


def held_out(training: Pack) -> Pack | None:
    """Return the held-out part that belongs to a training part; None where nothing was held out.

    Args:
        training: A training part, from :func:`split` or opened from its file.

    Raises:
        DataError: The held-out part's file is missing or damaged.
    """
    name = training.meta.get("held_out")
    return open_pack(training.path.with_name(name)) if name is not None else None


def _part(pack: Pack, kind: str, positions: Positions, **facts: str) -> Pack:
    path = pack.path.parent / "parts" / f"{pack.path.stem}-{kind}.arrow"
    if (ready := _reuse(path, pack)) is not None:
        return ready
    return write_pack(
        path,
        _chunks(pack, positions),
        name=pack.name,
        resolution=pack.resolution,
        classes=pack.classes,
        meta={**pack.meta, "part": kind, "part_of": pack.fingerprint, **facts},
    )


def _reuse(path: Path, whole: Pack) -> Pack | None:
    try:
        part = open_pack(path)
    except DataError:  # missing or damaged: it is written again from the whole pack
        return None
    return part if part.meta.get("part_of") == whole.fingerprint else None


def _chunks(pack: Pack, positions: Positions) -> Iterator[Chunk]:
    for start in range(0, len(positions), _ROWS):
        rows = positions[start : start + _ROWS]
        yield pack.images[rows], pack.labels[rows] if pack.labels is not None else None
