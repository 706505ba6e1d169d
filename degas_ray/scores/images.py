"""Images to score, in batches of one size: from a pack, a folder of files or an array."""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from degas_ray.data import Pack, open_pack
from degas_ray.data.folders import image_files, open_folder
from degas_ray.data.images import UnreadableError, decode, resize
from degas_ray.data.intake import Intake
from degas_ray.errors import DataError, DegasWarning, InputError

Images = npt.NDArray[np.uint8]
ImageSource = Pack | Path | Images


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in an order, read a batch at a time.

    Args:
        count: How many there are.
        fingerprint: Returns hex digits that stand for the content.
        read: Yields the images at some positions as one array for each size among them: uint8 ``[B, H, W, 3]``.
    """

    count: int
    fingerprint: Callable[[], str]
    read: Callable[[npt.NDArray[np.int64]], Iterable[Images]]


def image_set(source: ImageSource) -> ImageSet:
    """Open a pack (or the path of one), a folder of image files, or an array of images.

    The files of a folder are those that packing takes, read as packing reads them, but at their own size and uncropped.

    Raises:
        DataError: A path that is neither, or a folder without images.
        InputError: An array of another type or shape.
    """
    if isinstance(source, Path) and source.is_dir():
        folder = source
        files, intake = image_files(folder)
        intake.finish()
        return ImageSet(
            len(files), lambda: _hash_of_files(folder, files), lambda chosen: _by_size(files[index] for index in chosen)
        )
    if isinstance(source, Path):
        source = open_pack(source)
    if isinstance(source, Pack):
        pack = source
        return ImageSet(len(pack.images), lambda: pack.fingerprint, lambda chosen: [pack.images[chosen]])
    images = source
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise InputError(f"got images {images.dtype} {list(images.shape)}, expected uint8 [N, height, width, 3]")
    return ImageSet(len(images), lambda: _hash_of_array(images), lambda chosen: [images[chosen]])


def image_batches(source: ImageSource, batch: int = 100) -> Iterator[Images]:
    """Yield every image of ``source`` as uint8 ``[B, H, W, 3]``, ``B <= batch``; memory does not grow with the source.

    Where the files of a folder differ in size, a batch holds images of one size.

    Raises:
        DataError: As for :func:`image_set`, or a file that is not an image.
    """
    images = image_set(source)
    return read_batches(images, np.arange(images.count), batch)


@dataclass(frozen=True, eq=False)
class Samples:
    """Images to score, all brought to the resolution of the real ones in the way that packs are made.

    Args:
        batches: uint8 ``[B, R, R, 3]``; may be used once.
        intake: What was left out, and the sizes that there were; complete once all batches are read.
    """

    batches: Iterator[Images]
    intake: Intake
    resolution: int

    def resized(self) -> str:
        """Return which sizes were changed, such as ``64x64 to 32x32``; empty where none was."""
        square = (self.resolution, self.resolution)
        sizes = [f"{width}x{height}" for width, height in sorted(self.intake.sizes) if (width, height) != square]
        if not sizes:
            return ""
        shown = ", ".join(sizes[:3]) + (f" and {len(sizes) - 3} other sizes" if len(sizes) > 3 else "")
        return f"{shown} to {self.resolution}x{self.resolution}"


def open_samples(source: Pack | Path, resolution: int, batch: int = 100) -> Samples:
    """Open a pack or a folder of image files for scoring against real images of a resolution.

    Images of another size are cropped and resized as packing does it, and a warning says so.

    Raises:
        DataError: A folder without images, or of which more than 5 % cannot be read.
    """
    if isinstance(source, Path):
        originals = open_folder(source, None)
        chunks = (images for images, _ in originals.read(resolution))
        samples = Samples(_rebatched(chunks, batch), originals.intake, resolution)
    else:
        intake = Intake(source.name)
        intake.sizes[source.resolution, source.resolution] = len(source)
        samples = Samples((resize(images, resolution) for images in image_batches(source, batch)), intake, resolution)
    return Samples(_said(samples), samples.intake, resolution)


def _said(samples: Samples) -> Iterator[Images]:
    """Yield the images, then warn of what was left out or resized."""
    yield from samples.batches
    samples.intake.finish()
    if resized := samples.resized():
        warnings.warn(
            f"the images of {samples.intake.source} were resized from {resized}, as packs are made, so "
            "the score's protocol is another one; --resolution sets the size of the real images",
            DegasWarning,
            stacklevel=2,
        )


def _rebatched(chunks: Iterable[Images], batch: int) -> Iterator[Images]:
    """Yield the same images in the same order, ``batch`` at a time."""
    kept: list[Images] = []
    for images in chunks:
        kept.append(images)
        if sum(map(len, kept)) >= batch:
            whole = np.concatenate(kept)
            last = len(whole) // batch * batch
            yield from (whole[start : start + batch] for start in range(0, last, batch))
            kept = [whole[last:]] if last < len(whole) else []
    if kept:
        yield np.concatenate(kept)


def read_batches(images: ImageSet, chosen: npt.NDArray[np.int64], batch: int) -> Iterator[Images]:
    """Yield the chosen images in their order, at most ``batch`` at a time."""
    for start in range(0, len(chosen), batch):
        yield from images.read(chosen[start : start + batch])


def _hash_of_array(images: Images) -> str:
    digest = hashlib.sha256(str(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def _hash_of_files(folder: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{hashlib.sha256(_bytes(path)).hexdigest()}\n".encode())
    return digest.hexdigest()


def _by_size(files: Iterable[Path]) -> Iterator[Images]:
    by_size: dict[tuple[int, ...], list[Images]] = {}
    for path in files:
        image = _decoded(path)
        by_size.setdefault(image.shape, []).append(image)
    yield from map(np.stack, by_size.values())


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _decoded(path: Path) -> Images:
    try:
        with open(path, "rb") as file:
            return decode(file, None)
    except (OSError, UnreadableError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path} cannot be read as an image: {reason}; repair it or remove it") from None
