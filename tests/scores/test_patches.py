"""The sliced distance of patches, against scipy and against what a Laplacian pyramid is."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import wasserstein_distance

from degas_ray.data import prepare
from degas_ray.scores.metrics import SIDE, patches, pyramid, sliced, sliced_distance


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return np.array(prepare("photos", tmp_path_factory.mktemp("home"), limit=240).images)


def test_bands_give_the_images_back(photos: np.ndarray) -> None:
    detail, rest = pyramid(photos[:4])
    assert (detail.shape, rest.shape) == ((4, 3, 32, 32), (4, 3, 16, 16))
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 8
    wide = F.conv_transpose2d(rest, torch.outer(line, line).expand(3, 1, 5, 5), stride=2, padding=2, groups=3)
    wide = F.pad(wide, (0, 1, 0, 1), "replicate") + detail
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # at the border the two ways to pad differ
    original = torch.from_numpy(photos[:4]).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(wide[inside], original[inside])


def test_patches_are_normalised_by_channel(photos: np.ndarray) -> None:
    found = patches(pyramid(photos)[1]).unflatten(1, (3, SIDE**2))
    torch.testing.assert_close(found.mean((0, 2)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std((0, 2)), torch.ones(3), atol=1e-4, rtol=0)


def test_along_one_direction_it_is_the_wasserstein_distance() -> None:
    draw = torch.Generator().manual_seed(1)
    a, b = torch.randn(500, 1, generator=draw), torch.rand(500, 1, generator=draw)
    assert sliced(a, b, draw) == pytest.approx(wasserstein_distance(a[:, 0].numpy(), b[:, 0].numpy()), rel=1e-5)


def test_it_grows_with_what_is_done_to_the_images(photos: np.ndarray) -> None:
    real, other = photos[::2], photos[1::2]
    blurred = F.avg_pool2d(torch.from_numpy(other).permute(0, 3, 1, 2).float(), 3, 1, 1).permute(0, 2, 3, 1)
    noise = np.random.default_rng(0).integers(0, 256, other.shape, np.uint8)
    worse = [real, other, blurred.numpy().astype(np.uint8), noise]
    distances = [sliced_distance(made, real) for made in worse]
    assert distances[0] == 0.0
    assert distances == sorted(distances)


def test_images_of_one_colour_have_a_finite_distance(photos: np.ndarray) -> None:
    assert np.isfinite(sliced_distance(np.full_like(photos[:8], 200), photos[:8]))
