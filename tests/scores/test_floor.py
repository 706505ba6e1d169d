"""The floor: real images against others, with the sizes that the scores use."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from standin_networks import tiny_extractor

from degas_ray.config import ScoresConfig
from degas_ray.data import Pack, prepare, split
from degas_ray.scores import floor, frechet_distance, moments, reference_statistics
from degas_ray.scores.floor import halves


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def training(home: Path) -> Pack:
    return split(prepare("digits", home))[0]


@pytest.mark.parametrize(
    ("images", "samples", "real", "expected"),
    [(5000, 1000, 2000, (1000, 2000)), (3000, 1000, 2000, (1000, 2000)), (1439, 1000, 1000, (719, 719))],
)
def test_halves_are_disjoint_and_as_large_as_can_be(
    images: int, samples: int, real: int, expected: tuple[int, int]
) -> None:
    made, others = halves(images, samples, real)
    assert (len(made), len(others)) == expected
    assert not set(made) & set(others)


def test_with_enough_images_the_reference_is_that_of_a_generator_s_scores(home: Path, training: Pack) -> None:
    extractor, config = tiny_extractor(), ScoresConfig(samples=300, real=400)
    found = floor(training, extractor, config, home)
    reference = reference_statistics(training, extractor, count=400, cache=home / "cache")
    assert found.protocol.reference == reference.fingerprint
    assert (found.protocol.n_fake, found.protocol.n_real) == (300, 400)
    made = extractor(training.images[halves(1438, 300, 400)[0]]).features
    assert found.fid == pytest.approx(frechet_distance(*moments(made), reference.mean, reference.cov), rel=1e-6)


def test_with_few_images_it_says_how_many_were_compared(home: Path, training: Pack) -> None:
    found = floor(training, tiny_extractor(), ScoresConfig(samples=1000, real=1000), home)
    assert (found.protocol.n_fake, found.protocol.n_real) == (719, 719)
    assert found.second is not None
    assert (found.second.protocol.n_fake, found.second.protocol.n_real) == (1000, 359)
    assert found.second.numbers["recognised"] == 10
    assert found.coverage > 0.9


def test_it_is_measured_once(home: Path, training: Pack) -> None:
    extractor, config = tiny_extractor(), ScoresConfig(samples=100, real=100)
    first = floor(training, extractor, config, home)
    files = set((home / "cache" / "floors").glob("*.json"))
    assert floor(training, extractor, config, home) == first
    assert set((home / "cache" / "floors").glob("*.json")) == files
    assert floor(training, extractor, ScoresConfig(samples=100, real=101), home) != first


def test_a_pack_without_held_out_images_has_a_floor_of_the_first_judge_alone(tmp_path: Path) -> None:
    training, _ = split(prepare("digits", tmp_path, limit=40))
    found = floor(training, tiny_extractor(), ScoresConfig(), tmp_path)
    assert found.second is None
    assert (found.protocol.n_fake, found.protocol.n_real) == (20, 20)
    assert np.isfinite(found.fid)


def test_another_precision_has_a_floor_of_its_own(home: Path, training: Pack) -> None:
    config = ScoresConfig(samples=100, real=100)
    extractors = [replace(tiny_extractor(), precision=precision) for precision in ("float32", "bf16")]
    assert [floor(training, each, config, home).protocol.precision for each in extractors] == ["float32", "bf16"]
