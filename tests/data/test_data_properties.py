"""Generated folders and Parquet sets: entries in = packed + named as left out; labels in = labels packed; a folder is
at distance 0 from itself. A few dozen here, 2,000 of each with make test-fuzz.

A folder with too many unreadable images must be refused, and is mended and tried again: each ends in a pack.
"""

import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_sets import NAMES, Made, class_of, make_folder, make_parquet
from tally import GIVEN, REFUSED

from degas_ray.data import Pack, check, prepare
from degas_ray.errors import DataError, DegasWarning
from degas_ray.scores import frechet_distance, moments, open_samples

# Counted besides the files in it, and besides the rows that name it.
NO_ENTRY = frozenset({"class folders without an image", "files that are no Parquet"})


def packed(source: str, made: Made, home: Path, way: str) -> Pack:
    """Return the pack of a set; one that is refused, as it must be exactly where too much is unreadable, is mended."""
    GIVEN[way] += 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegasWarning)
        try:
            return prepare(source, home, resolution=8, split=made.split)
        except DataError as error:
            if not made.unreadable or "cannot be read, and at most 5 % may be" not in str(error):
                raise
    REFUSED[way] += 1
    for file in made.unreadable:
        file.unlink()
    made.entries -= len(made.unreadable)
    made.unreadable.clear()
    return packed(source, made, home, way)


def accounted(pack: Pack, made: Made) -> None:
    """Compare a pack with what was written."""
    left = {reason: entry["count"] for reason, entry in pack.meta["left_out"].items() if reason not in NO_ENTRY}
    assert len(pack) + sum(left.values()) == made.entries, left
    names = [
        "" if pack.labels is None else pack.classes[label]
        for label in (pack.labels if pack.labels is not None else [-1] * len(pack))
    ]
    assert Counter(names) == Counter(made.taken)
    for image, name in zip(pack.images, names, strict=True):
        seen = class_of(image)
        assert seen >= 0
        assert name in ("", NAMES[seen], str(seen)), (name, seen)
    assert check(pack) == () or len(np.unique(pack.images)) == 1


def at_no_distance(samples: np.ndarray, pack: Pack) -> None:
    """Compare what evaluate reads of a folder with its pack: the same pixels, so every network sees the same."""
    np.testing.assert_array_equal(samples, pack.images)
    ours, theirs = (moments(images[:, ::2, ::2].reshape(len(images), -1) / 255) for images in (samples, pack.images))
    assert frechet_distance(*ours, *theirs) < 1e-6


def try_folder(root: Path, home: Path, seed: int) -> None:
    made = make_folder(root, np.random.default_rng(seed))
    pack = packed(f"folder:{root}", made, home, "generated folders")
    accounted(pack, made)
    if made.split is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegasWarning)
            samples = np.concatenate(list(open_samples(root, 8).batches))
        at_no_distance(samples, pack)


def try_parquet(root: Path, home: Path, seed: int) -> None:
    made = make_parquet(root, np.random.default_rng(seed))
    pack = packed(f"parquet:{root}", made, home, "generated Parquet sets")
    accounted(pack, made)


def try_all(attempt: Callable[[Path, Path, int], None], place: Path, seeds: range) -> None:
    for seed in seeds:
        folder = place / f"{seed}"
        root = folder / "set"
        root.mkdir(parents=True)
        attempt(root, folder / "home", seed)
        shutil.rmtree(folder)


@pytest.mark.parametrize("attempt", [try_folder, try_parquet])
def test_a_few_sets(tmp_path: Path, attempt: Callable[[Path, Path, int], None]) -> None:
    try_all(attempt, tmp_path, range(25))


@pytest.mark.fuzz
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("part", range(8))
@pytest.mark.parametrize("attempt", [try_folder, try_parquet])
def test_thousands_of_sets(tmp_path: Path, attempt: Callable[[Path, Path, int], None], part: int) -> None:
    """2,000 of each, in parts that processes may share."""
    try_all(attempt, tmp_path, range(1000 + 250 * part, 1250 + 250 * part))
