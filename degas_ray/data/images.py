"""One way from a file to pixels: upright, sRGB, largest centred square, resized with antialiasing."""

import functools
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, TypeVar

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from degas_ray.cores import usable_cores
from degas_ray.data.intake import UNREADABLE, Intake
from degas_ray.data.kinds import HEAD, kind_of, why_unread
from degas_ray.data.packs import Chunk, Images, Labels

MAX_PIXELS = 89_478_485  # Pillow's own limit against decompression bombs
_CHUNK = 256  # decoded images held at a time
_TASK = 16  # of them at most that a thread takes at once: handing over a small image costs as much as decoding it

# Everything that Pillow's decoders raise for bytes that are not the image they claim to be.
DECODER_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, AttributeError, OverflowError,
    ZeroDivisionError, MemoryError, NotImplementedError, RuntimeError, struct.error, zlib.error,
    Image.DecompressionBombError, ImageCms.PyCMSError,
)  # fmt: skip
_USUAL = ("PNG", "JPEG")
# Formats that are no pixels, or that Pillow hands to another program.
_NOT_OPENED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"})
# TIFF's tags, and values of theirs.
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class _Decoded:
    pixels: Images
    size: tuple[int, int]
    odd_profile: bool


class UnreadableError(Exception):
    """One image that cannot be decoded; its text is the reason."""


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


def decode(file: bytes | IO[bytes], resolution: int | None) -> Images:
    """Decode one image file of any mode and size.

    Grey, palette, 16-bit, float, CMYK, Lab and others become 8-bit RGB; an embedded colour profile is
    converted to sRGB; transparency is laid on white; EXIF orientation is applied. Of animations and of files with
    pages, the first image is taken.

    Args:
        file: The encoded bytes, or an open file.
        resolution: R; None for the image's own size, uncropped.

    Returns:
        uint8 ``[R, R, 3]``, or ``[H, W, 3]``.

    Raises:
        UnreadableError: With the reason.
    """
    return _decoded(file, resolution).pixels


def _decoded(file: bytes | IO[bytes], resolution: int | None) -> _Decoded:
    """Return the image as :func:`decode` does, with its own size and whether its colour profile had to be ignored."""
    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        with Image.open(stream, formats=_formats()) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise UnreadableError(f"{width} x {height} pixels are more than the {MAX_PIXELS:,} allowed")
            image, odd = _rgb(ImageOps.exif_transpose(opened), _grey_range(opened))
    except DECODER_ERRORS as error:
        reason = _not_read_here(stream) if isinstance(error, UnidentifiedImageError) else None
        raise UnreadableError(reason or str(error).partition("\n")[0] or type(error).__name__) from None
    if resolution is None:
        return _Decoded(np.asarray(image), image.size, odd)
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    square = image.crop((left, top, left + side, top + side))  # resize(box=...) would look beyond the box
    pixels = np.asarray(square.resize((resolution, resolution), Image.Resampling.BICUBIC))
    return _Decoded(pixels, image.size, odd)


def _not_read_here(stream: IO[bytes]) -> str | None:
    """Return why bytes that are known to be an image are not read on this machine."""
    stream.seek(0)
    return why_unread(kind_of(stream.read(HEAD)))


def decode_all(
    items: Iterable[_Item],
    load: Callable[[_Item], bytes | IO[bytes]],
    resolution: int,
    intake: Intake,
    name: Callable[[_Item], str],
    label: Callable[[_Item], int] | None = None,
) -> Iterator[Chunk]:
    """Decode items on all cores, in order, a chunk at a time; unreadable ones are noted and left out.

    Args:
        items: Whatever names an image.
        load: Item to its encoded bytes or open file; raises UnreadableError or OSError.
        resolution: R.
        intake: Takes the unreadable ones.
        name: Item to the name that a person knows it by.
        label: Item to its label.
    """

    def work(item: _Item) -> _Decoded | UnreadableError:
        try:
            file = load(item)
            if isinstance(file, bytes):
                return _decoded(file, resolution)
            with file:
                return _decoded(file, resolution)
        except OSError as error:
            return UnreadableError(error.strerror or str(error))
        except UnreadableError as error:
            return error

    def several(part: list[_Item]) -> list[_Decoded | UnreadableError]:
        return [work(item) for item in part]

    remaining, cores = iter(items), usable_cores()
    size = max(1, min(_TASK, _CHUNK // (4 * cores)))
    with ThreadPoolExecutor(cores) as pool:
        while chunk := list(islice(remaining, _CHUNK)):
            with warnings.catch_warnings():  # not held over the yield, where the caller's own filters count
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # decode refuses such files itself
                warnings.filterwarnings("ignore", module="PIL")  # odd metadata say nothing about the pixels
                parts = (chunk[start : start + size] for start in range(0, len(chunk), size))
                results = list(chain.from_iterable(pool.map(several, parts)))
            images, labels = [], []
            for item, result in zip(chunk, results, strict=True):
                intake.seen += 1
                if isinstance(result, UnreadableError):
                    intake.leave(UNREADABLE, f"{name(item)}: {result}")
                    continue
                images.append(result.pixels)
                intake.sizes[result.size] += 1
                intake.odd_profiles += result.odd_profile
                labels.append(-1 if label is None else label(item))
            if images:
                yield np.stack(images), None if label is None else _int64(labels)


def _int64(labels: list[int]) -> Labels:
    return np.array(labels, dtype=np.int64)


@functools.cache
def _formats() -> list[str]:
    """Return Pillow's names of the formats that are opened; HEIC is one of them where pillow-heif is installed."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    Image.init()
    # They are tried in this order.
    return [*_USUAL, *(name for name in Image.ID if name not in _NOT_OPENED and name not in _USUAL)]


def _rgb(image: Image.Image, scale: tuple[int, bool]) -> tuple[Image.Image, bool]:
    """Convert any mode to sRGB with its full range; also return whether an embedded profile could not be used."""
    profile = image.info.get("icc_profile")
    alpha = None
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = Image.fromarray(_eight_bits(np.asarray(image), *scale))
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        alpha = layer.getchannel("A")
        if image.mode != "L":
            image = image.convert("LA").convert("L") if image.mode in ("LA", "La") else layer
    mode = _COLOURS.get(image.mode, "RGB")
    image = image.convert(mode)
    to_srgb, usable = _to_srgb(profile, mode)
    coloured = image.convert("RGB") if to_srgb is None else ImageCms.applyTransform(image, to_srgb)
    assert coloured is not None
    if alpha is not None:
        coloured.putalpha(alpha)
        coloured = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB")
    return coloured, not usable


_COLOURS = {"1": "L", "L": "L", "CMYK": "CMYK", "LAB": "LAB"}  # modes that a profile may describe besides RGB


@functools.lru_cache(maxsize=64)
def _to_srgb(profile: bytes | None, mode: str) -> tuple[ImageCms.ImageCmsTransform | None, bool]:
    """Return the way from an embedded profile to sRGB, None for none, and whether the profile is usable."""
    if not profile and mode != "LAB":
        return None, True
    srgb = ImageCms.createProfile("sRGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
        transform = ImageCms.buildTransform(source, srgb, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):  # damaged, or of another kind of colours than the pixels
        return None, False
    if mode == "RGB":  # most profiles are sRGB's own, and change nothing
        cube = np.stack(np.meshgrid(*[np.arange(0, 256, 15, dtype=np.uint8)] * 3), axis=-1).reshape(1, -1, 3)
        changed = np.asarray(ImageCms.applyTransform(Image.fromarray(cube), transform)).astype(int)
        if np.abs(changed - cube).max() <= 1:
            return None, True
    return transform, True


def _grey_range(image: Image.Image) -> tuple[int, bool]:
    """Return which value is the brightest of a grey image of more than 8 bits, and whether 0 is white."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (16,))  # bits of a sample
    signed = tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED
    top = 4095 if bits[0] == 12 else 32_767 if signed and bits[0] == 16 else 65_535
    return top, tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _eight_bits(values: np.ndarray, top: int, inverted: bool) -> Images:
    """Scale grey of more than 8 bits to 8: integers from 0..top, floating point from 0..1."""
    if values.dtype.kind == "f":
        if not (values.min() >= 0 and values.max() <= 1):  # also where there is a NaN
            raise UnreadableError("floating-point pixels outside 0..1 have no known range; save it with 8 or 16 bits")
        grey: Images = np.rint(values * 255).astype(np.uint8)
    elif values.min() < 0 or values.max() > 65_535:
        raise UnreadableError("32-bit pixels outside 0..65535 have no known range; save the image with 8 or 16 bits")
    else:
        grey = ((values.astype(np.uint32) * 255 + top // 2) // top).clip(0, 255).astype(np.uint8)
    return np.subtract(255, grey, dtype=np.uint8) if inverted else grey
