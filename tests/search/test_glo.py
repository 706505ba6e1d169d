"""Reconstruction loss and latents against numbers worked out by hand and by other libraries."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve

from degas_ray.search.glo import project, pyramid, reconstruction_loss, start_latents


def reference_pyramid(x):
    """Laplacian pyramid of one channel with scipy: 5x5 Gaussian by its formula, edge replication, 2x2 means."""
    grid = np.arange(-2, 3)
    kernel = np.exp(-(grid[:, None] ** 2 + grid[None, :] ** 2) / 2)
    kernel /= kernel.sum()
    bands = []
    while x.shape[0] % 2 == 0 and x.shape[0] >= 4:
        blurred = convolve(x, kernel, mode="nearest")
        bands.append(x - blurred)
        x = blurred.reshape(x.shape[0] // 2, 2, -1, 2).mean((1, 3))
    return [*bands, x]


@pytest.mark.parametrize("size", [8, 16, 24])
def test_the_pyramid_is_scipys(size):
    x = np.random.default_rng(0).standard_normal((size, size))
    ours = pyramid(torch.from_numpy(x)[None, None].expand(1, 3, -1, -1))
    theirs = reference_pyramid(x)
    assert len(ours) == len(theirs)
    for band, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(band[0, 1].numpy(), expected, atol=1e-12)


def test_equation_2_with_its_own_weights():
    draw = np.random.default_rng(1)
    x, y = draw.standard_normal((2, 3, 3, 16, 16))
    lap1 = np.zeros(3)
    for i in range(3):
        for c in range(3):
            for j, (one, other) in enumerate(zip(reference_pyramid(x[i, c]), reference_pyramid(y[i, c]), strict=True)):
                lap1[i] += 2 ** (2 * j) * np.abs(one - other).sum()
    squared = ((x - y) ** 2).sum((1, 2, 3))
    for share in (0.0, 0.3, 1.0):
        ours = reconstruction_loss(torch.from_numpy(x), torch.from_numpy(y), share)
        np.testing.assert_allclose(ours.numpy(), ((1 - share) * squared + share * lap1) / (3 * 16 * 16), rtol=1e-10)


def test_the_papers_weights_are_the_plain_mean_of_each_band():
    difference = torch.randn(2, 3, 16, 16, dtype=torch.double)
    means = sum(band.abs().mean((1, 2, 3)) for band in pyramid(difference))
    torch.testing.assert_close(reconstruction_loss(difference, torch.zeros_like(difference), 1.0), means)


def test_the_inverse_weights_fall_with_the_level():
    difference = torch.randn(1, 3, 16, 16, dtype=torch.double)
    expected = sum(4.0 ** (-j) * band.abs().sum() for j, band in enumerate(pyramid(difference))) / (3 * 256)
    torch.testing.assert_close(
        reconstruction_loss(difference, torch.zeros_like(difference), 1.0, "inverse")[0], expected
    )


def test_a_perfect_image_costs_nothing_and_a_constant_offset_costs_its_square():
    x = torch.rand(2, 3, 8, 8)
    assert reconstruction_loss(x, x, 0.5).abs().max() == 0
    torch.testing.assert_close(reconstruction_loss(x + 0.5, x, 0.0), torch.full((2,), 0.25))


def test_latents_stay_in_the_ball():
    z = project(torch.randn(50, 7) * torch.linspace(0.01, 5, 50)[:, None])
    assert z.norm(dim=1).max() <= 1 + 1e-6
    inside = torch.full((1, 4), 0.1)
    assert torch.equal(project(inside), inside)


def test_pca_latents_are_scikit_learns():
    from sklearn.decomposition import PCA

    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    ours = start_latents(images, 4, "pca", seed=0)
    flat = (images.transpose(0, 3, 1, 2).reshape(60, -1) / 127.5 - 1).astype(np.float64)
    theirs = PCA(4, svd_solver="full").fit_transform(flat)
    theirs /= np.sqrt((theirs**2).sum(1).mean())
    theirs /= np.maximum(np.linalg.norm(theirs, axis=1, keepdims=True), 1)
    for axis in range(4):
        correlation = np.corrcoef(ours[:, axis], theirs[:, axis])[0, 1]
        assert abs(correlation) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(ours.norm(dim=1), np.linalg.norm(theirs, axis=1), atol=1e-4)


@pytest.mark.parametrize("start", ["pca", "gaussian"])
def test_starts_repeat_and_fill_every_axis(start):
    images = np.zeros((5, 8, 8, 3), np.uint8)
    images[1:, :4] = 200  # one axis of variation, six asked for
    first, again = (start_latents(images, 6, start, seed=3) for _ in range(2))
    assert torch.equal(first, again)
    assert (first.std(0) > 0).all()
    assert first.norm(dim=1).max() <= 1 + 1e-6
