"""Whether a pack is worth training on: copies, near copies, blank images, one class, too few."""

import hashlib
from collections.abc import Mapping

import numpy as np

from degas_ray.data.packs import Images, Pack

FEW = 1000  # images that a score compares with by default
LOOKED_AT = 5_000  # images that near copies are looked for among; of more, a draw
NEAR = 3.0  # root mean square difference, in levels of 255, below which images are nearly the same
_CONTRAST = 0.1  # and as a share of the image's own standard deviation: two patches of sky are not the same image
_SHARE = 0.01  # of the images that may be copies, near copies or blank without a word
_CELLS = 4  # thumbnails of 4x4 find the candidates
_ROWS = 1024
_SEED = 0


def quality(pack: Pack) -> dict[str, int]:
    """Count what makes a pack a poor training set.

    Returns:
        ``images``; ``identical``: those that repeat an earlier one; ``blank``: those of one colour; ``looked_at``: how
        many of the others were compared in pairs; ``near``: those among them that are nearly the same as another one;
        ``classes`` with at least one image, 0 where there are no labels.
    """
    first: dict[bytes, int] = {}
    blank: list[int] = []
    for start in range(0, len(pack), _ROWS):
        rows = pack.images[start : start + _ROWS]
        for number, image in enumerate(rows, start):
            first.setdefault(hashlib.blake2b(image.data, digest_size=16).digest(), number)
        blank += (start + np.flatnonzero((rows == rows[:, :1, :1]).all(axis=(1, 2, 3)))).tolist()
    rest = np.setdiff1d(np.fromiter(first.values(), np.int64), blank)
    if len(rest) > LOOKED_AT:
        rest = np.sort(np.random.default_rng(_SEED).permutation(rest)[:LOOKED_AT])
    return {
        "images": len(pack),
        "identical": len(pack) - len(first),
        "blank": len(blank),
        "looked_at": len(rest),
        "near": _near(pack.images[rest]),
        "classes": 0 if pack.labels is None else len(np.unique(pack.labels)),
    }


def doubts(pack: Pack, counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return why a pack may not be worth training on, one sentence each; empty where nothing speaks against it.

    Args:
        pack: The images.
        counts: What :func:`quality` returned for them.
    """
    of = dict.fromkeys(("identical", "blank"), counts["images"]) | {"near": counts["looked_at"]}
    said = {
        "identical": "images repeat another one exactly",
        "near": "images that were compared in pairs are nearly the same as another one",
        "blank": "images are of one colour",
    }
    found = [f"{counts[key]:,} of {of[key]:,} {words}" for key, words in said.items() if counts[key] > _SHARE * of[key]]
    if counts["classes"] == 1:
        found.append("all images have the same label, so labels say nothing")
    if len(pack) < FEW and pack.meta.get("limit") is None:
        found.append(f"there are {len(pack):,} images, and scores compare with {FEW:,} unless told otherwise")
    return tuple(found)


def _near(images: Images) -> int:
    """Count images whose nearest one by thumbnail is nearly the same image."""
    from scipy.spatial import cKDTree

    if len(images) < 2:
        return 0
    side = images.shape[1]
    step = side // _CELLS  # a resolution is a multiple of 8
    cells = images.reshape(len(images), _CELLS, step, _CELLS, step, 3).mean(axis=(2, 4), dtype=np.float32)
    thumbnails = cells.reshape(len(images), -1)
    _, nearest = cKDTree(thumbnails).query(thumbnails, k=[2])
    count = 0
    for start in range(0, len(images), _ROWS):
        ours = images[start : start + _ROWS].astype(np.float32)
        theirs = images[nearest[start : start + _ROWS, 0]].astype(np.float32)
        contrast = ours.std(axis=(1, 2)).mean(axis=1)  # within the channels: an even blue has none
        apart = np.sqrt(np.square(ours - theirs).mean(axis=(1, 2, 3)))
        count += int((apart < np.minimum(NEAR, _CONTRAST * contrast)).sum())
    return count
