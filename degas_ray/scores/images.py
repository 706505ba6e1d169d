"""Images to score, in batches of one size: from a pack, a folder of files or an array."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from degas_ray.data import Pack
from degas_ray.errors import DataError, InputError

Images = npt.NDArray[np.uint8]
ImageSource = Pack | Path | Images
SUFFIXES = frozenset({".bmp", ".jpg", ".jpeg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def image_batches(source: ImageSource, batch: int = 100) -> Iterator[Images]:
    """Yield every image of ``source`` as uint8 ``[B, H, W, 3]``, ``B <= batch``; memory does not grow with the source.

    A folder is read as clean-fid reads it: all image files below it, in the order of their names, converted to RGB at
    their own size. Where sizes differ, a batch holds images of one size.

    Raises:
        DataError: A folder that is missing or without images, or a file in it that is not an image.
    """
    if isinstance(source, Path):
        yield from _folder_batches(source, batch)
        return
    images = source.images if isinstance(source, Pack) else source
    for start in range(0, len(images), batch):
        yield images[start : start + batch]


def image_files(folder: Path) -> list[Path]:
    """Return the image files in and below a folder, in the order of their names.

    Raises:
        DataError: There are none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give a folder of PNG or JPEG files, or a pack (FILE.arrow)")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise DataError(f"{folder} has no image in it; expected files such as 0001.png ({', '.join(sorted(SUFFIXES))})")
    return files


def _folder_batches(folder: Path, batch: int) -> Iterator[Images]:
    files = image_files(folder)
    for start in range(0, len(files), batch):
        by_size: dict[tuple[int, ...], list[Images]] = {}
        for image in map(_read, files[start : start + batch]):
            by_size.setdefault(image.shape, []).append(image)
        yield from map(np.stack, by_size.values())


def _read(path: Path) -> Images:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}; repair it or take it out of the folder") from None


def checked(batches: Iterable[Images]) -> Iterator[Images]:
    """Pass batches on, with at least one image in all.

    Raises:
        InputError: There was none.
    """
    count = 0
    for images in batches:
        count += len(images)
        yield images
    if not count:
        raise InputError("there is no image to score")
