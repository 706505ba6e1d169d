"""Generated folders and Parquet sets: entries in = packed + named as left out; labels in = labels packed; evaluate
sees the pack's own pixels. A few dozen here, 2,000 of each with make test-fuzz.
"""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from made_sets import NAMES, Made, class_of, make_folder, make_parquet

from degas_ray.data import Pack, check, prepare
from degas_ray.errors import DataError, DegasWarning
from degas_ray.scores import open_samples

# Counted besides the files in it, and besides the rows that name it.
NO_ENTRY = frozenset({"class folders without an image", "files that are no Parquet"})


def packed(source: str, made: Made, home: Path) -> Pack | None:
    """Return the pack, or None where it is refused, as it must be exactly where too much is unreadable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegasWarning)
        try:
            return prepare(source, home, resolution=8, split=made.split)
        except DataError as error:
            refused = error
    assert made.unreadable, refused
    assert "cannot be read, and at most 5 % may be" in str(refused)
    return None


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


def try_folder(tmp_path: Path, seed: int) -> bool:
    place = tmp_path / f"{seed}"
    root = place / "set"
    root.mkdir(parents=True)
    made = make_folder(root, np.random.default_rng(seed))
    pack = packed(f"folder:{root}", made, place / "home")
    if pack is None:
        return False
    accounted(pack, made)
    if made.split is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegasWarning)
            samples = np.concatenate(list(open_samples(root, 8).batches))
        np.testing.assert_array_equal(samples, pack.images)
    return True


def try_parquet(tmp_path: Path, seed: int) -> bool:
    place = tmp_path / f"{seed}"
    root = place / "set"
    root.mkdir(parents=True)
    made = make_parquet(root, np.random.default_rng(seed))
    pack = packed(f"parquet:{root}", made, place / "home")
    assert pack is not None
    accounted(pack, made)
    return True


@pytest.mark.parametrize("attempt", [try_folder, try_parquet])
def test_a_few_sets(tmp_path: Path, attempt: object) -> None:
    assert sum(attempt(tmp_path, seed) for seed in range(25)) >= 12  # type: ignore[operator]


@pytest.mark.fuzz
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("attempt", [try_folder, try_parquet])
def test_thousands_of_sets(tmp_path: Path, attempt: object) -> None:
    assert sum(attempt(tmp_path, seed) for seed in range(1000, 3000)) >= 1000  # type: ignore[operator]
