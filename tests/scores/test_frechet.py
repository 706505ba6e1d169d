"""The Fréchet distance against closed forms, scipy's matrix root, clean-fid and torch-fidelity."""

import numpy as np
import pytest
import torch
from cleanfid import fid as cleanfid_fid
from scipy.linalg import sqrtm
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from degas_ray.scores import frechet_distance, moments
from degas_ray.scores.metrics import square_root


def gaussian(count: int, dim: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dim)) @ rng.normal(size=(dim, dim)) + rng.normal(size=dim)


def test_one_dimension_by_hand() -> None:
    # N(1, 4) against N(3, 9): (1 - 3)^2 + (2 - 3)^2
    one = [np.array([1.0]), np.array([[4.0]]), np.array([3.0]), np.array([[9.0]])]
    assert frechet_distance(*one) == pytest.approx(5)


def test_diagonal_gaussians_by_hand() -> None:
    rng = np.random.default_rng(0)
    m1, m2, s1, s2 = rng.normal(size=(2, 6)).tolist() + rng.uniform(0.1, 3, (2, 6)).tolist()
    expected = sum((a - b) ** 2 + (c - d) ** 2 for a, b, c, d in zip(m1, m2, s1, s2, strict=True))
    got = frechet_distance(np.array(m1), np.diag(np.square(s1)), np.array(m2), np.diag(np.square(s2)))
    assert got == pytest.approx(expected)


def test_general_gaussians_against_scipy_s_matrix_root() -> None:
    (m1, c1), (m2, c2) = moments(gaussian(200, 12, 1)), moments(gaussian(300, 12, 2))
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    assert frechet_distance(m1, c1, m2, c2) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(m2, c2, m1, c1) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(m1, c1, m2, c2, root2=square_root(c2)) == pytest.approx(expected, rel=1e-10)


def test_a_shift_is_its_square_and_a_scaling_its_share() -> None:
    mean, cov = moments(gaussian(500, 8, 3))
    assert frechet_distance(mean, cov, mean, cov) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(mean + 2, cov, mean, cov) == pytest.approx(8 * 4)
    # features times 3: tr(9 C + C - 2 * 3 C) = 4 tr C
    assert frechet_distance(mean, 9 * cov, mean, cov) == pytest.approx(4 * np.trace(cov))


def test_fewer_samples_than_features_stay_real_and_small_against_themselves() -> None:
    mean, cov = moments(gaussian(20, 100, 4))
    distance = frechet_distance(mean, cov, mean, cov)
    assert 0 <= distance < 1e-4 * np.trace(cov)
    other = moments(gaussian(30, 100, 5))
    # tr (C1 C2)^(1/2) is the sum of singular values of the two sets of centred samples' inner products
    a, b = gaussian(20, 100, 4), gaussian(30, 100, 5)
    a, b = (a - a.mean(0)) / np.sqrt(19), (b - b.mean(0)) / np.sqrt(29)
    trace = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    expected = ((mean - other[0]) ** 2).sum() + np.trace(cov) + np.trace(other[1]) - 2 * trace
    assert frechet_distance(mean, cov, *other) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_moments_are_numpy_s(dtype: torch.dtype) -> None:
    features = torch.from_numpy(gaussian(50, 7, 6) + 1000).to(dtype)
    mean, cov = moments(features)
    np.testing.assert_allclose(mean, features.double().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(cov, np.cov(features.double().numpy(), rowvar=False), rtol=1e-9, atol=1e-9)
    assert mean.dtype == cov.dtype == np.float64


def test_parity_with_clean_fid_and_torch_fidelity_on_features() -> None:
    fake, real = gaussian(400, 32, 7), gaussian(500, 32, 8)
    ours = frechet_distance(*moments(fake), *moments(real))
    assert ours == pytest.approx(cleanfid_fid.fid_from_feats(fake, real), rel=1e-9)
    statistics = [fid_features_to_statistics(torch.from_numpy(features)) for features in (fake, real)]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert ours == pytest.approx(theirs, rel=1e-9)
