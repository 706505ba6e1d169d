"""Images put together into one image."""

import numpy as np
from numpy.typing import NDArray

from degas_ray.errors import InputError

Images = NDArray[np.uint8]

PIXELS = 64  # images smaller than this are enlarged by whole factors, so that a digit of 16x16 can be seen
GAP = 2
WHITE = 255


def image_grid(images: Images, columns: int) -> Images:
    """Put images side by side, row by row.

    Args:
        images: [N, H, W, 3] uint8, N at least 1.
        columns: Images a row, at least 1.

    Returns:
        [H', W', 3] uint8; small images are enlarged without smoothing.

    Raises:
        InputError: For another shape or type, or no columns.
    """
    _check(images, "images")
    if columns < 1:
        raise InputError(f"columns: got {columns}, expected at least 1")
    count, height, width, _ = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    factor = max(1, PIXELS // max(height, width))
    images = images.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = height * factor + GAP, width * factor + GAP
    grid = np.full((rows * height + GAP, columns * width + GAP, 3), WHITE, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * height + GAP, (index % columns) * width + GAP
        grid[top : top + height - GAP, left : left + width - GAP] = image
    return grid


def real_beside_generated(real: Images, generated: Images, columns: int = 8) -> Images:
    """Put real images on the left and generated ones on the right, under their names.

    Args:
        real: [N, H, W, 3] uint8.
        generated: [M, H, W, 3] uint8 of the same size; the longer of the two is cut.
        columns: Images a row on each side.

    Returns:
        [H', W', 3] uint8.

    Raises:
        InputError: For other shapes or types, or images of two sizes.
    """
    _check(real, "real images")
    _check(generated, "generated images")
    if real.shape[1:] != generated.shape[1:]:
        raise InputError(
            f"real and generated images: got {real.shape[1:]} and {generated.shape[1:]}, expected one size"
        )
    count = min(len(real), len(generated))
    sides = [
        _titled(image_grid(side[:count], columns), title) for side, title in ((real, "real"), (generated, "generated"))
    ]
    between = np.full((sides[0].shape[0], 8 * GAP, 3), WHITE, dtype=np.uint8)
    return np.concatenate([sides[0], between, sides[1]], axis=1)


def _titled(grid: Images, title: str) -> Images:
    from PIL import Image, ImageDraw, ImageFont

    band = Image.new("RGB", (grid.shape[1], 26), "white")
    ImageDraw.Draw(band).text((GAP, 3), title, fill="black", font=ImageFont.load_default(size=16))
    return np.concatenate([np.asarray(band, dtype=np.uint8), grid])


def _check(images: Images, what: str) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not images.size:
        raise InputError(
            f"{what}: got {images.dtype} {list(images.shape)}, expected uint8 [N, H, W, 3] with N at least 1"
        )
