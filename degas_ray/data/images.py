"""One way to bring any image to the pack's form: upright, RGB, largest centred square, resized with antialiasing."""

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps

from degas_ray.data.packs import Chunk, Images, Labels
from degas_ray.errors import DataError, DegasWarning

MAX_PIXELS = 89_478_485  # Pillow's own limit against decompression bombs
MAX_UNREADABLE = 0.05  # share of files that may be unreadable before the source counts as broken
_CHUNK = 256  # decoded images held at a time
_NAMED = 20  # unreadable files that are named

# Everything that Pillow's decoders raise for bytes that are not the image they claim to be.
_DECODER_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, AttributeError, OverflowError,
    ZeroDivisionError, MemoryError, NotImplementedError, RuntimeError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip

_Item = TypeVar("_Item")


class UnreadableError(Exception):
    """One image that cannot be decoded; its text is the reason."""


@dataclass
class Skips:
    """Unreadable images of one source: how many, and the first of them by name.

    Args:
        source: Named in the error.
    """

    source: str
    seen: int = 0
    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, name: str, reason: str) -> None:
        """Note one unreadable image."""
        self.count += 1
        if len(self.named) < _NAMED:
            self.named.append(f"{name}: {reason}")

    def finish(self) -> None:
        """Warn of skipped images, once all have been seen.

        Raises:
            DataError: More than 5 % were unreadable.
        """
        if not self.count:
            return
        head = f"{self.count} of {self.seen} images of {self.source} cannot be read"
        names = "\n".join(f"  {name}" for name in self.named)
        more = f"\n  and {self.count - len(self.named)} more" if self.count > len(self.named) else ""
        if self.count > MAX_UNREADABLE * self.seen:
            raise DataError(f"{head}, and at most 5 % may be; remove or repair them:\n{names}{more}")
        warnings.warn(f"{head} and were skipped:\n{names}{more}", DegasWarning, stacklevel=2)


def resize(images: Images, resolution: int) -> Images:
    """Bring a whole array of images to the pack's form, with Pillow's antialiased bicubic filter.

    Args:
        images: uint8 ``[B, h, w, C]``, C = 1 (grey, repeated to RGB) or 3.
        resolution: R.

    Returns:
        uint8 ``[B, R, R, 3]``; Pillow's own resize within two levels of 255.
    """
    side = min(images.shape[1:3])
    top, left = ((length - side) // 2 for length in images.shape[1:3])
    images = images[:, top : top + side, left : left + side]
    if side != resolution:
        planes = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        scaled = torch.nn.functional.interpolate(planes, size=(resolution, resolution), mode="bicubic", antialias=True)
        images = scaled.permute(0, 2, 3, 1).numpy()
    return np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images


def decode(file: bytes | IO[bytes], resolution: int) -> Images:
    """Decode one image file of any mode and size.

    Grey, palette, 16-bit, CMYK and others become RGB; transparency is laid on white; EXIF orientation is applied.

    Args:
        file: The encoded bytes, or an open file.
        resolution: R.

    Returns:
        uint8 ``[R, R, 3]``.

    Raises:
        UnreadableError: With the reason.
    """
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise UnreadableError(f"{width} x {height} pixels are more than the {MAX_PIXELS:,} allowed")
            image = _rgb(ImageOps.exif_transpose(opened))
    except _DECODER_ERRORS as error:
        raise UnreadableError(str(error).partition("\n")[0] or type(error).__name__) from None
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    square = image.crop((left, top, left + side, top + side))  # resize(box=...) would look beyond the box
    return np.asarray(square.resize((resolution, resolution), Image.Resampling.BICUBIC))


def decode_all(
    items: Iterable[_Item],
    load: Callable[[_Item], bytes | IO[bytes]],
    resolution: int,
    skips: Skips,
    name: Callable[[_Item], str],
    label: Callable[[_Item], int] | None = None,
) -> Iterator[Chunk]:
    """Decode items on all cores, in order, a chunk at a time; unreadable ones are noted and left out.

    Args:
        items: Whatever names an image.
        load: Item to its encoded bytes or open file; raises UnreadableError or OSError.
        resolution: R.
        skips: Takes the unreadable ones.
        name: Item to the name that a person knows it by.
        label: Item to its label.
    """

    def work(item: _Item) -> Images | UnreadableError:
        try:
            file = load(item)
            if isinstance(file, bytes):
                return decode(file, resolution)
            with file:
                return decode(file, resolution)
        except OSError as error:
            return UnreadableError(error.strerror or str(error))
        except UnreadableError as error:
            return error

    remaining = iter(items)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        while chunk := list(islice(remaining, _CHUNK)):
            with warnings.catch_warnings():  # not held over the yield, where the caller's own filters count
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # decode refuses such files itself
                warnings.filterwarnings("ignore", module="PIL")  # odd metadata say nothing about the pixels
                results = list(pool.map(work, chunk))
            images, labels = [], []
            for item, result in zip(chunk, results, strict=True):
                skips.seen += 1
                if isinstance(result, UnreadableError):
                    skips.add(name(item), str(result))
                    continue
                images.append(result)
                labels.append(-1 if label is None else label(item))
            if images:
                yield np.stack(images), None if label is None else _int64(labels)


def _int64(labels: list[int]) -> Labels:
    return np.array(labels, dtype=np.int64)


def _rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB with its full range."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode == "F":
        raise UnreadableError("floating-point pixels have no known range; save the image with 8 or 16 bits")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> Images:
    """Scale 16-bit grey to 8 bits: 65,535 becomes 255."""
    if values.min() < 0 or values.max() > 65_535:
        raise UnreadableError("32-bit pixels outside 0..65535 have no known range; save the image with 8 or 16 bits")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
