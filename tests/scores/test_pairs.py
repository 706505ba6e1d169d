"""KID, precision, recall, density and coverage: brute force, other tools, extremes, and KID's missing bias."""

import itertools

import numpy as np
import pytest
import torch
from cleanfid import fid as cleanfid_fid
from torch import Tensor
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from degas_ray.errors import InputError
from degas_ray.scores import kernel_distance, metrics
from degas_ray.scores.metrics import Between, between, within


def normal(count: int, dim: int = 4, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, 1, (count, dim)))


def compare(fake: Tensor, real: Tensor) -> Between:
    return between(fake, real, within(fake), within(real))


def brute_kernel_distance(fake: np.ndarray, real: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (sum(x * y for x, y in zip(a, b, strict=True)) / len(a) + 1) ** 3

    def inside(points: np.ndarray) -> float:
        return float(np.mean([kernel(a, b) for a, b in itertools.permutations(points, 2)]))

    return inside(fake) + inside(real) - 2 * float(np.mean([kernel(a, b) for a in fake for b in real]))


def brute_prdc(fake: np.ndarray, real: np.ndarray) -> tuple[float, float, float, float]:
    """Kynkäänniemi et al. with k = 3 and Naeem et al. with k = 5, point by point."""

    def radius(points: np.ndarray, index: int, k: int) -> float:
        return sorted(np.linalg.norm(points[index] - points[j]) for j in range(len(points)) if j != index)[k - 1]

    def distance(i: int, j: int) -> float:
        return float(np.linalg.norm(fake[i] - real[j]))

    fakes, reals = range(len(fake)), range(len(real))
    precision = np.mean([any(distance(i, j) <= radius(real, j, 3) for j in reals) for i in fakes])
    recall = np.mean([any(distance(i, j) <= radius(fake, i, 3) for i in fakes) for j in reals])
    density = sum(distance(i, j) < radius(real, j, 5) for i in fakes for j in reals) / (5 * len(fake))
    coverage = np.mean([any(distance(i, j) < radius(real, j, 5) for i in fakes) for j in reals])
    return float(precision), float(recall), density, float(coverage)


@pytest.mark.parametrize("block", [1, 40, 1 << 23])
def test_brute_force(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_BLOCK", block)
    fake, real = normal(13, seed=1, shift=0.5), normal(17, seed=2)
    got = compare(fake, real)
    expected = brute_prdc(fake.numpy(), real.numpy())
    assert (got.precision, got.recall, got.density, got.coverage) == pytest.approx(expected)
    assert kernel_distance(fake, real) == pytest.approx(brute_kernel_distance(fake.numpy(), real.numpy()))


def test_kernel_distance_is_clean_fid_s_where_a_subset_is_everything() -> None:
    fake, real = normal(60, 8, 3, 0.2), normal(60, 8, 4)
    theirs = cleanfid_fid.kernel_distance(real.numpy(), fake.numpy(), num_subsets=1, max_subset_size=60)
    assert kernel_distance(fake, real) == pytest.approx(theirs, rel=1e-9)


def test_kernel_distance_is_what_random_subsets_average_to() -> None:
    fake, real = normal(300, 8, 5, 0.3), normal(300, 8, 6)
    theirs = kid_features_to_metric(
        fake, real, kid_subsets=200, kid_subset_size=100, rng_seed=0, verbose=False, kid_kernel="poly"
    )
    error = theirs["kernel_inception_distance_std"] / np.sqrt(200)
    assert kernel_distance(fake, real) == pytest.approx(theirs["kernel_inception_distance_mean"], abs=4 * error)


def test_kernel_distance_has_no_bias() -> None:
    draws = [kernel_distance(normal(12, 6, 2 * i), normal(20, 6, 2 * i + 1)) for i in range(400)]
    error = np.std(draws) / np.sqrt(len(draws))
    assert abs(np.mean(draws)) < 3 * error
    assert min(draws) < -error  # an unbiased estimate of zero must sometimes be negative


def test_single_precision_keeps_kernel_distance_far_from_the_origin() -> None:
    fake, real = normal(200, 64, 7) + 3, normal(200, 64, 8) + 3
    exact = kernel_distance(fake, real)
    assert kernel_distance(fake.float(), real.float()) == pytest.approx(
        exact, abs=3e-4
    )  # kernel values are near 1,000 here
    assert within(fake.float()).kernel == pytest.approx(within(fake).kernel, rel=1e-6)


def test_parity_with_torch_fidelity_s_precision_and_recall() -> None:
    fake, real = normal(150, 6, 9, 0.6).float(), normal(200, 6, 10).float()
    theirs = prc_features_to_metric(fake, real, prc_neighborhood=3, prc_batch_size=64, save_cpu_ram=True, verbose=False)
    got = compare(fake, real)
    assert got.precision == pytest.approx(theirs["precision"])
    assert got.recall == pytest.approx(theirs["recall"])
    assert 0 < got.precision < 1
    assert 0 < got.recall < 1


def test_the_same_images_are_perfect() -> None:
    real = normal(80)
    got = compare(real.clone(), real)
    assert (got.precision, got.recall, got.coverage) == (1, 1, 1)
    assert got.density >= 1


def test_two_samples_of_one_distribution_have_density_near_one() -> None:
    got = compare(normal(1500, 3, 11), normal(1500, 3, 12))
    assert got.density == pytest.approx(1, abs=0.05)
    # Naeem et al. give its expectation: 1 - the chance that none of N fakes falls into the 5-ball, here near 1 - 2^-5
    assert got.coverage == pytest.approx(1 - 1 / 32, abs=0.02)


def test_far_apart_is_nothing() -> None:
    got = compare(normal(30, shift=100), normal(30, seed=1))
    assert (got.precision, got.recall, got.density, got.coverage) == (0, 0, 0, 0)


def test_a_collapsed_generator_is_precise_and_recalls_nothing() -> None:
    real = normal(200, seed=13)
    got = compare(real[:1].repeat(50, 1), real)
    assert got.precision == 1
    assert got.recall == pytest.approx(1 / 200)  # the one image itself, at distance zero
    assert got.coverage < 0.1


def test_five_images_are_too_few() -> None:
    with pytest.raises(InputError, match=r"got 5 images, but a score needs 6; raise scores\.samples or scores\.real"):
        within(normal(5))
    assert within(normal(6)).radii.shape == (6, 5)
