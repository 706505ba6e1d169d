"""Real images that scikit-learn carries: they need no download."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from degas_ray.data.images import resize
from degas_ray.data.intake import Intake
from degas_ray.data.originals import READ_ROWS, Originals, Positions, draw
from degas_ray.data.packs import Chunk
from degas_ray.errors import DataError

DIGITS = tuple("0123456789")
_DIGITS = 1797  # images
PHOTOS = ("china", "flower")
_PHOTO_SIZE = (427, 640)  # rows and columns of both photographs
_STRIDE = 12  # pixels between neighbouring crops: 3,366 of them at 32x32


def open_digits(limit: int | None = None) -> Originals:
    """Return 1,797 scanned digits, grey, natively 8x8 with 17 levels."""
    return Originals(
        name="digits",
        classes=DIGITS,
        count=_DIGITS if limit is None else min(limit, _DIGITS),
        files=(),
        read=partial(_read_digits, limit),
        conversion="17 grey levels spread over 0..255, resized from 8x8 (bicubic), grey repeated to RGB",
        intake=Intake("digits"),
    )


def open_photos(limit: int | None, resolution: int) -> Originals:
    """Return square crops of two photographs, cut on a grid whose cells overlap, unscaled.

    Raises:
        DataError: The resolution is larger than the photographs.
    """
    if resolution > min(_PHOTO_SIZE):
        raise DataError(
            f"photos: crops of {resolution}x{resolution} do not fit into {_PHOTO_SIZE[1]}x{_PHOTO_SIZE[0]} "
            f"photographs; set a resolution up to {min(_PHOTO_SIZE) // 8 * 8}"
        )
    rows, columns = (1 + (length - resolution) // _STRIDE for length in _PHOTO_SIZE)
    cells = rows * columns
    chosen = draw(len(PHOTOS) * cells, limit, np.repeat(np.arange(len(PHOTOS)), cells))
    return Originals(
        name="photos",
        classes=PHOTOS,
        count=len(chosen),
        files=(),
        read=partial(_read_photos, chosen, rows, columns),
        conversion=f"crops every {_STRIDE} pixels, unscaled",
        intake=Intake("photos"),
    )


def _read_digits(limit: int | None, resolution: int) -> Iterator[Chunk]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]  # [1797, 8, 8, 1]
    chosen = draw(_DIGITS, limit, digits.target)
    yield resize(grey[chosen], resolution), digits.target[chosen].astype(np.int64)


def _read_photos(chosen: Positions, rows: int, columns: int, resolution: int) -> Iterator[Chunk]:
    from sklearn.datasets import load_sample_image

    windows = [
        np.lib.stride_tricks.sliding_window_view(load_sample_image(f"{name}.jpg"), (resolution, resolution), (0, 1))
        for name in PHOTOS
    ]  # [427 - R + 1, 640 - R + 1, 3, R, R] each, without a copy
    for start in range(0, len(chosen), READ_ROWS):
        photo, cell = np.divmod(chosen[start : start + READ_ROWS], rows * columns)
        row, column = np.divmod(cell, columns)
        crops = np.empty((len(photo), 3, resolution, resolution), np.uint8)
        for index, window in enumerate(windows):
            mine = photo == index
            crops[mine] = window[row[mine] * _STRIDE, column[mine] * _STRIDE]
        yield crops.transpose(0, 2, 3, 1), photo.astype(np.int64)
