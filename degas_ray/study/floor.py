"""The floor of a judge: what real images get against other real images. No generator can be expected to beat it."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from degas_ray.config import ScoresConfig
from degas_ray.data import Pack
from degas_ray.errors import InputError
from degas_ray.files import read_json, write_json
from degas_ray.scores import Scores, reference_statistics, score
from degas_ray.scores.weights import locked
from degas_ray.study.work import find_extractor

FEWEST = 12  # half of them against the other half
_SEED = 1  # of the split: the same for everyone
_LAYOUT = 1  # of the file; another one is another key


def real_floor(config: ScoresConfig, pack: Pack, home: Path) -> Scores:
    """Score real images against other real images of the same pack, once; the result is kept in the home's cache.

    Args:
        config: How many images of each kind; where the pack has fewer, each kind gets a half of it.
        pack: The real images.
        home: ``cache/floors`` in it is used.

    Raises:
        InputError: Fewer than :data:`FEWEST` images.
    """
    if len(pack) < FEWEST:
        raise InputError(f"{pack.name} has {len(pack)} images, but a score needs {FEWEST}; add some, or raise --limit")
    extractor = find_extractor(config, home)
    first, second = _split(len(pack), config)
    facts = [_LAYOUT, pack.fingerprint, extractor.name, extractor.weights_hash, extractor.resizer, config.splits]
    key = hashlib.sha256(json.dumps([*facts, len(first), len(second), _SEED]).encode()).hexdigest()[:16]
    file = home / "cache" / "floors" / f"{key}.json"
    with locked(file):
        if (done := read_json(file)) is not None:
            return Scores.from_json(done)
        reference = reference_statistics(pack.images[second], extractor, cache=home / "cache", batch=config.batch)
        batches = _batches(pack.images[first], config.batch)
        result = score(batches, extractor, reference, splits=min(config.splits, len(first)), seed=_SEED)
        write_json(file, result.to_json())
    return result


def _split(size: int, config: ScoresConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of two sets of images that share none."""
    order = np.random.default_rng(_SEED).permutation(size)
    real = config.real if config.real is not None else config.samples
    first = min(config.samples, max(size - real, size // 2))
    return np.sort(order[:first]), np.sort(order[first : first + real])


def _batches(images: NDArray[np.uint8], count: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(images), count):
        yield images[start : start + count]
