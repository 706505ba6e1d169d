"""Grids of images, pixel for pixel."""

import numpy as np
import pytest

from degas_ray.errors import InputError
from degas_ray.figures import image_grid, real_beside_generated


def test_images_stand_row_by_row_with_white_between() -> None:
    images = np.stack([np.full((64, 64, 3), value, np.uint8) for value in (10, 20, 30, 40, 50)])
    grid = image_grid(images, 3)
    assert grid.shape == (2 + 2 * 66, 2 + 3 * 66, 3)
    for i, value in enumerate((10, 20, 30, 40, 50)):
        top, left = 2 + i // 3 * 66, 2 + i % 3 * 66
        assert (grid[top : top + 64, left : left + 64] == value).all()
    assert (grid[:2] == 255).all()
    assert (grid[:, 66:68] == 255).all()
    assert (grid[68:, 134:] == 255).all()  # the missing sixth


def test_small_images_are_enlarged_without_smoothing() -> None:
    images = np.zeros((1, 16, 16, 3), np.uint8)
    images[0, 3, 5] = (1, 2, 3)
    grid = image_grid(images, 8)
    assert grid.shape == (68, 68, 3)
    assert (grid[2 + 12 : 2 + 16, 2 + 20 : 2 + 24] == (1, 2, 3)).all()
    assert (grid == 1).sum() == 16


def test_real_and_generated_stand_beside_each_other() -> None:
    real = np.full((4, 64, 64, 3), 100, np.uint8)
    generated = np.full((6, 64, 64, 3), 200, np.uint8)
    picture = real_beside_generated(real, generated, columns=2)
    half = picture.shape[1] // 2
    assert (picture[:, :half] == 100).all(axis=2).sum() == 4 * 64 * 64
    assert (picture[:, half:] == 200).all(axis=2).sum() == 4 * 64 * 64  # cut to as many
    assert not (picture[:, :half] == 200).all(axis=2).any()


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((2, 8, 8), np.uint8),
        np.zeros((2, 3, 8, 8), np.uint8),
        np.zeros((2, 8, 8, 3), np.float32),
    ],
)
def test_other_arrays_are_refused(images: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"uint8 \[N, H, W, 3\]"):
        image_grid(images, 2)


def test_sizes_must_agree_and_columns_be_positive() -> None:
    with pytest.raises(InputError, match="one size"):
        real_beside_generated(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 16, 16, 3), np.uint8))
    with pytest.raises(InputError, match="columns"):
        image_grid(np.zeros((1, 8, 8, 3), np.uint8), 0)
