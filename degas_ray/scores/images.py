"""Images to score, in batches of one size: from a pack, a folder of files or an array."""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from degas_ray.data import Pack, open_pack
from degas_ray.errors import DataError, InputError

Images = npt.NDArray[np.uint8]
ImageSource = Pack | Path | Images
# What Pillow's decoders raise for bytes that are not the image they claim to be.
_DECODER_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
SUFFIXES = frozenset({".bmp", ".jpg", ".jpeg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


class ImageSet(Protocol):
    """Images in an order, read a batch at a time."""

    def __len__(self) -> int: ...

    def fingerprint(self) -> str:
        """Return hex digits that stand for the content."""

    def read(self, chosen: npt.NDArray[np.int64]) -> Iterator[Images]:
        """Yield the chosen images as one array for each size among them: uint8 ``[B, H, W, 3]``."""


def image_set(source: ImageSource) -> ImageSet:
    """Open a pack (or the path of one), a folder of image files, or an array of images.

    A folder is read as clean-fid reads it: all image files below it, in the order of their paths, converted to RGB at
    their own size.

    Raises:
        DataError: A path that is neither, or a folder without images.
        InputError: An array of another type or shape.
    """
    if isinstance(source, Path):
        if not source.is_dir():
            return _Pack(open_pack(source))
        return _Folder(source, tuple(image_files(source)))
    if isinstance(source, Pack):
        return _Pack(source)
    if source.dtype != np.uint8 or source.ndim != 4 or source.shape[3] != 3:
        raise InputError(f"got images {source.dtype} {list(source.shape)}, expected uint8 [N, height, width, 3]")
    return _Array(source)


def image_batches(source: ImageSource, batch: int = 100) -> Iterator[Images]:
    """Yield every image of ``source`` as uint8 ``[B, H, W, 3]``, ``B <= batch``; memory does not grow with the source.

    Where the files of a folder differ in size, a batch holds images of one size.

    Raises:
        DataError: As for :func:`image_set`, or a file that is not an image.
    """
    images = image_set(source)
    return read_batches(images, np.arange(len(images)), batch)


def read_batches(images: ImageSet, chosen: npt.NDArray[np.int64], batch: int) -> Iterator[Images]:
    """Yield the chosen images in their order, at most ``batch`` at a time."""
    for start in range(0, len(chosen), batch):
        yield from images.read(chosen[start : start + batch])


def image_files(folder: Path) -> list[Path]:
    """Return the image files in and below a folder, in the order of their paths.

    Raises:
        DataError: There are none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise DataError(f"{folder} has no image in it; expected files such as 0001.png ({', '.join(sorted(SUFFIXES))})")
    return files


@dataclass(frozen=True, eq=False)
class _Array:
    images: Images

    def __len__(self) -> int:
        return len(self.images)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(str(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()

    def read(self, chosen: npt.NDArray[np.int64]) -> Iterator[Images]:
        yield self.images[chosen]


@dataclass(frozen=True, eq=False)
class _Pack:
    pack: Pack

    def __len__(self) -> int:
        return len(self.pack.images)

    def fingerprint(self) -> str:
        return self.pack.fingerprint

    def read(self, chosen: npt.NDArray[np.int64]) -> Iterator[Images]:
        yield self.pack.images[chosen]


@dataclass(frozen=True, eq=False)
class _Folder:
    folder: Path
    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.files)

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for path in self.files:
            name = path.relative_to(self.folder).as_posix()
            digest.update(f"{name}\0{hashlib.sha256(_bytes(path)).hexdigest()}\n".encode())
        return digest.hexdigest()

    def read(self, chosen: npt.NDArray[np.int64]) -> Iterator[Images]:
        by_size: dict[tuple[int, ...], list[Images]] = {}
        for index in chosen:
            image = _decoded(self.files[index])
            by_size.setdefault(image.shape, []).append(image)
        yield from map(np.stack, by_size.values())


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _decoded(path: Path) -> Images:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except _DECODER_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} cannot be read as an image: {reason}; repair it or remove it") from None
