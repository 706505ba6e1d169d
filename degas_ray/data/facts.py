"""What a pack holds: its faults and its facts."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from degas_ray.data.packs import Images, Pack, identity

_ROWS = 4096  # images looked at together: a few MB, whatever the size of the pack


def check(pack: Pack) -> tuple[str, ...]:
    """Read the whole pack and return its faults, one sentence each; empty where it is sound."""
    faults = []
    if fingerprint_of(pack) != pack.fingerprint:
        faults.append("the content does not match the fingerprint: the file was damaged or edited")
    low, high = _range(pack.images)
    if low == high:
        faults.append(f"every pixel of every image is {low}")
    if pack.labels is not None:
        if len(pack.labels) != len(pack):
            faults.append(f"{len(pack.labels)} labels for {len(pack)} images")
        outside = int(((pack.labels < 0) | (pack.labels >= len(pack.classes))).sum())
        if outside:
            faults.append(f"{outside} labels lie outside 0..{len(pack.classes) - 1}")
    return tuple(faults)


def summary(pack: Pack) -> dict[str, Any]:
    """Return JSON-able facts for people: sizes, classes with their counts, the range, mean and spread of pixels."""
    low, high = _range(pack.images)
    sums = np.zeros((2, 3))
    for rows in _rows(pack.images):
        values = rows.reshape(-1, 3).astype(np.float64)
        sums += np.stack([values.sum(0), np.square(values).sum(0)])
    mean, square = sums / (len(pack) * pack.resolution**2)
    counts = None
    if pack.labels is not None:
        tally = np.bincount(np.clip(pack.labels, 0, len(pack.classes) - 1), minlength=len(pack.classes))
        counts = dict(zip(pack.classes, tally.tolist(), strict=True))
    return {
        "name": pack.name,
        "path": str(pack.path),
        "images": len(pack),
        "resolution": pack.resolution,
        "classes": counts,
        "bytes": pack.images.nbytes,
        "range": [low, high],
        "mean": [round(value, 3) for value in mean.tolist()],
        "std": [round(value, 3) for value in np.sqrt(np.maximum(square - mean**2, 0)).tolist()],
        "fingerprint": pack.fingerprint,
        "meta": pack.meta,
    }


def fingerprint_of(pack: Pack) -> str:
    """Hash the pack's content anew, a few megabytes at a time."""
    digest = hashlib.sha256(identity(pack.name, pack.classes))
    for rows in _rows(pack.images):
        digest.update(np.ascontiguousarray(rows).data)
    if pack.labels is not None:
        digest.update(np.ascontiguousarray(pack.labels).data)
    return digest.hexdigest()


def _rows(images: Images) -> Iterator[Images]:
    for start in range(0, len(images), _ROWS):
        yield images[start : start + _ROWS]


def _range(images: Images) -> tuple[int, int]:
    limits = [(int(rows.min()), int(rows.max())) for rows in _rows(images)]
    return min(low for low, _ in limits), max(high for _, high in limits)
