"""Sources made of image files: a folder of the user's, CelebA's folder or archive."""

import lzma
import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from degas_ray.data.images import Skips, UnreadableError, decode_all
from degas_ray.data.originals import Originals, spread
from degas_ray.data.packs import Chunk
from degas_ray.errors import DataError

SUFFIXES = frozenset({
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm", ".pnm", ".tga", ".jp2", ".avif",
})  # fmt: skip
_CONVERSION = "upright, RGB, largest centred square, resized (bicubic, antialiased)"
_CELEBA_PLACES = ("img_align_celeba", "celeba/img_align_celeba", "Img/img_align_celeba")
_CELEBA_ZIPS = tuple(f"{place}.zip" for place in _CELEBA_PLACES)
# What zipfile raises for a damaged or foreign archive.
_ZIP_ERRORS = (
    zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error, zlib.error,
    lzma.LZMAError,
)  # fmt: skip


@dataclass(frozen=True)
class _Item:
    """One image file: its path below the root, and why it may not be read."""

    path: str
    refused: str | None = None


def open_folder(root: Path, limit: int | None) -> Originals:
    """Read every image below a folder, in the order of their paths; sub-directories of the folder are the classes.

    There are labels only if every image lies in a sub-directory. Hidden files and files without an image's suffix are
    passed over. With a limit, images are taken evenly from the whole list, so that each class keeps its share.

    Raises:
        DataError: The folder is missing or holds no image.
    """
    return _tree(f"folder:{_printable(root.resolve().name)}", root, limit, labelled=True)


def open_celeba(folder: Path, limit: int | None) -> Originals:
    """Read CelebA's aligned faces from ``img_align_celeba`` or ``img_align_celeba.zip``.

    Raises:
        DataError: Neither is there.
    """
    for place in ("", *_CELEBA_PLACES):
        if (folder / place).is_dir() and (place or folder.name == "img_align_celeba" or any(folder.glob("*.jpg"))):
            return _tree("celeba", folder / place, limit, labelled=False)
    for archive in (folder, *(folder / place for place in _CELEBA_ZIPS)):
        if archive.is_file():
            return _zip("celeba", archive, limit)
    state = "has not" if folder.is_dir() else "is no folder and has not"
    raise DataError(
        f"celeba: {folder} {state} img_align_celeba/ (202,599 jpg files) or img_align_celeba.zip; "
        "put one of them there, or name the folder with --data-dir"
    )


def inside(root: Path, name: str) -> Path:
    """Return the file that a name inside a data set means.

    Raises:
        UnreadableError: It would leave the data set's directory.
    """
    if "\0" in name:
        raise UnreadableError("its name holds a zero byte")
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise UnreadableError("its name or link leads out of the data set's directory, which is refused")
    return path


def _tree(name: str, root: Path, limit: int | None, *, labelled: bool) -> Originals:
    if not root.is_dir():
        state = "is a file" if root.exists() else "does not exist"
        raise DataError(f"{name}: {root} {state}; expected a folder of images")
    found = _scan(root)
    if not found:
        raise DataError(f"{name}: no image below {root}; expected files such as a.png or cats/b.jpg")
    items = [found[position] for position in spread(len(found), limit)]
    tops = [PurePosixPath(item.path).parts for item in found]
    labelled = labelled and all(len(parts) > 1 for parts in tops)
    classes = sorted({parts[0] for parts in tops}) if labelled else []
    index = {top: label for label, top in enumerate(classes)}
    skips = Skips(name)

    def load(item: _Item) -> IO[bytes]:
        if item.refused:
            raise UnreadableError(item.refused)
        return open(inside(root, item.path), "rb")

    def read(resolution: int) -> Iterator[Chunk]:
        label = (lambda item: index[PurePosixPath(item.path).parts[0]]) if labelled else None
        return decode_all(items, load, resolution, skips, lambda item: _printable(item.path), label)

    return Originals(
        name=name,
        classes=tuple(map(_printable, classes)),
        count=len(items),
        files=tuple(root / item.path for item in items),
        read=read,
        conversion=_CONVERSION,
        skips=skips,
    )


def _scan(root: Path) -> list[_Item]:
    """List image files in a fixed order; links that lead outside are listed as refused."""
    items = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(folder).relative_to(root)
        items += [
            _Item(str(below / name), "it is a link to a directory, which is not followed")
            for name in folders
            if os.path.islink(os.path.join(folder, name))
        ]
        items += [
            _Item(str(below / name))
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES
        ]
    return sorted(items, key=lambda item: PurePosixPath(item.path).parts)


def _zip(name: str, path: Path, limit: int | None) -> Originals:
    skips = Skips(name)
    try:
        with zipfile.ZipFile(path) as archive:
            found = sorted(
                member
                for member in archive.namelist()
                if PurePosixPath(member).suffix.lower() in SUFFIXES and not PurePosixPath(member).name.startswith(".")
            )
    except _ZIP_ERRORS as error:
        raise DataError(f"{path} is not a whole zip archive ({error}); download it again") from None
    if not found:
        raise DataError(f"{path} holds no image; expected img_align_celeba/000001.jpg and so on")
    members = [found[position] for position in spread(len(found), limit)]
    return Originals(
        name=name,
        classes=(),
        count=len(members),
        files=(path,),
        read=partial(_read_zip, path, members, skips),
        conversion=_CONVERSION,
        skips=skips,
    )


def _read_zip(path: Path, members: list[str], skips: Skips, resolution: int) -> Iterator[Chunk]:
    with zipfile.ZipFile(path) as archive:
        yield from decode_all(members, _member_loader(archive), resolution, skips, _printable)


def _member_loader(archive: zipfile.ZipFile) -> Callable[[str], bytes]:
    lock = threading.Lock()  # members share one file position

    def load(member: str) -> bytes:
        try:
            with lock:
                return archive.read(member)
        except (KeyError, *_ZIP_ERRORS) as error:
            raise UnreadableError(str(error)) from None

    return load


def _printable(name: str) -> str:
    """Return a file's name with undecodable bytes replaced."""
    return os.fsencode(name).decode("utf-8", "replace")
