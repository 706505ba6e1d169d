"""Sources made of image files: a folder of the user's, CelebA's folder or archive."""

import lzma
import os
import struct
import threading
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from degas_ray.data.images import UnreadableError, decode_all
from degas_ray.data.intake import EMPTY, OTHER, SIDE, SPLIT, STRAY, UNREADABLE, Intake
from degas_ray.data.kinds import HEAD, has_image_suffix, is_raw, is_text, kind_of, why_unread
from degas_ray.data.originals import Originals, draw
from degas_ray.data.packs import Chunk
from degas_ray.data.splits import Splits, find_splits, no_splits
from degas_ray.data.walk import is_side, printable, walk
from degas_ray.errors import DataError

CONVERSION = "upright, sRGB, transparency on white, largest centred square, resized (bicubic, antialiased)"
CELEBA_IMAGES = 202_599
_CELEBA_PLACES = ("img_align_celeba", "celeba/img_align_celeba", "Img/img_align_celeba")
_CELEBA_ZIPS = tuple(f"{place}.zip" for place in _CELEBA_PLACES)
# What zipfile raises for a damaged or foreign archive.
_ZIP_ERRORS = (
    zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error, zlib.error,
    lzma.LZMAError,
)  # fmt: skip


@dataclass(frozen=True)
class _Item:
    """One image file: its path below the root, and the parts of it that say split and class."""

    path: str
    parts: tuple[str, ...]


def open_folder(root: Path, limit: int | None, split: str | None = None) -> Originals:
    """Read every image below a folder, in the order of their paths; sub-folders are the classes.

    A file is an image by its suffix or, where that says nothing, by its first bytes. Folders named after splits are no
    classes: the training split is taken unless ``split`` names another, or ``all``. A folder around everything is no
    class either. A few images beside the class folders are left out; where they are as many as the smallest class has,
    all are taken and there are no labels.

    Raises:
        DataError: The folder is missing, cannot be read or holds no image; there is no such split; more than 5 % of the
            images are of a kind that is not read.
    """
    items, intake = _listed(root, split)
    names = [unicodedata.normalize("NFC", printable(item.parts[0])) for item in items if len(item.parts) > 1]
    return _tree(root, items, names if len(names) == len(items) else None, limit, intake)


def image_files(root: Path) -> tuple[list[Path], Intake]:
    """Return the files that :func:`open_folder` reads, in its order, and what it leaves out.

    Raises:
        DataError: As there.
    """
    items, intake = _listed(root, None)
    return [root / item.path for item in items], intake


def _listed(root: Path, split: str | None) -> tuple[list[_Item], Intake]:
    intake = Intake(f"folder:{printable(root.resolve().name)}")
    return _arranged(_pictures(root, intake), split, intake), intake


def open_celeba(folder: Path, limit: int | None) -> Originals:
    """Read CelebA's aligned faces from ``img_align_celeba`` or ``img_align_celeba.zip``; there are 202,599 of them.

    Raises:
        DataError: Neither is there.
    """
    for place in ("", *_CELEBA_PLACES):
        if (folder / place).is_dir() and (place or folder.name == "img_align_celeba" or any(folder.glob("*.jpg"))):
            intake = Intake("celeba")
            items = _pictures(folder / place, intake)
            _count_faces(len(items), intake)
            return _tree(folder / place, items, None, limit, intake)
    for archive in (folder, *(folder / place for place in _CELEBA_ZIPS)):
        if archive.is_file():
            return _zip(archive, limit)
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


def _pictures(root: Path, intake: Intake) -> list[_Item]:
    """List the images below a folder; what is none, or of a kind that is not read, is noted.

    Raises:
        DataError: There is no such folder, or no image in it, or most are of a kind that is not read.
    """
    if not root.is_dir():
        state = "is a file" if root.exists() else "does not exist"
        raise DataError(f"{intake.source}: {root} {state}; expected a folder of images")
    items, lost = [], []
    for path in walk(root, intake):
        item = _Item(path, tuple(path.split(os.sep)))
        reason = _why_not(root, path)
        if reason is None:
            items.append(item)
        elif reason == OTHER:
            intake.leave(OTHER, printable(path))
        else:
            intake.leave(UNREADABLE, f"{printable(path)}: {reason}")
            intake.refused += 1
            lost.append(item)
    intake.require_readable(len(lost), len(items) + len(lost))
    if not items:
        raise DataError(f"{intake.source}: no image below {root}; expected files such as a.png or cats/b.jpg")
    for name in sorted({item.parts[0] for item in lost} - {item.parts[0] for item in items}):
        intake.leave(EMPTY, printable(name))
    return items


def _why_not(root: Path, path: str) -> str | None:
    """Return None for an image, :data:`OTHER` for what is none, and the reason for an image that is not read."""
    if has_image_suffix(path):
        return None
    if is_raw(path):
        return "camera raw files are not read; save it as TIFF, PNG or JPEG"
    if is_text(path):
        return OTHER
    try:
        with open(root / path, "rb") as opened:
            kind = kind_of(opened.read(HEAD))
    except OSError as error:
        return error.strerror or str(error)
    return OTHER if kind is None else why_unread(kind)


def _arranged(items: list[_Item], asked: str | None, intake: Intake) -> list[_Item]:
    """Take wrapping folders and splits off the paths, until the first part is the class or the file itself."""
    splits: Splits | None = None
    wrappers: list[str] = []
    while tops := {item.parts[0] for item in items if len(item.parts) > 1}:
        found = find_splits(intake.source, tops, asked) if splits is None else None
        if found is not None:
            splits = found
            items = _of_split(items, 0, found, intake)
            continue
        if len(tops) > 1 or not all(len(item.parts) > 1 for item in items):
            break
        wrappers += tops
        items = [_Item(item.path, item.parts[1:]) for item in items]
    if splits is None and all(len(item.parts) > 2 for item in items):
        splits = find_splits(intake.source, (item.parts[1] for item in items), asked)
        items = _of_split(items, 1, splits, intake) if splits is not None else items
    if splits is not None:
        (intake.notes if asked else intake.doubts).append(splits.note(intake.source, asked is not None))
    elif asked is not None:
        raise no_splits(intake.source, asked)
    if wrappers:
        intake.notes.append(f"{printable('/'.join(wrappers))} is a folder around all images, and no class")
    return _without_strays(items, intake)


def _of_split(items: list[_Item], level: int, splits: Splits, intake: Intake) -> list[_Item]:
    """Return the images of the split that is taken, without that level of their paths."""
    taken = []
    for item in items:
        if len(item.parts) < level + 2:
            intake.leave(STRAY, printable(item.path))
        elif splits.takes(item.parts[level]):
            taken.append(_Item(item.path, item.parts[:level] + item.parts[level + 1 :]))
        else:
            intake.leave(SPLIT, printable(item.path))
    return taken


def _without_strays(items: list[_Item], intake: Intake) -> list[_Item]:
    """Leave out images beside class folders, if they are fewer than any class has."""
    classes = Counter(item.parts[0] for item in items if len(item.parts) > 1)
    strays = [item for item in items if len(item.parts) == 1]
    if not strays or len(classes) < 2:
        return items
    if len(strays) >= min(classes.values()):
        intake.doubts.append(
            f"{intake.source}: {len(strays)} images lie beside the {len(classes)} sub-folders, so the images have no "
            "labels; move them into a sub-folder of their class, or out"
        )
        return items
    for item in strays:
        intake.leave(STRAY, printable(item.path))
    return [item for item in items if len(item.parts) > 1]


def _tree(root: Path, items: list[_Item], names: list[str] | None, limit: int | None, intake: Intake) -> Originals:
    """Return the images, or a draw of them.

    Args:
        root: The folder.
        items: Its images.
        names: The class of each; None for none.
        limit: How many to take.
        intake: The source's books.
    """
    classes = sorted(set(names or ()))
    index = {name: label for label, name in enumerate(classes)}
    labels = [index[name] for name in names] if names else [-1] * len(items)
    chosen = [(items[position], labels[position]) for position in draw(len(items), limit, labels)]

    def read(resolution: int) -> Iterator[Chunk]:
        return decode_all(
            chosen,
            lambda pair: open(root / pair[0].path, "rb"),
            resolution,
            intake,
            lambda pair: printable(pair[0].path),
            (lambda pair: pair[1]) if names else None,
        )

    return Originals(
        name=intake.source,
        classes=tuple(classes),
        count=len(chosen),
        files=tuple(root / item.path for item, _ in chosen),
        read=read,
        conversion=CONVERSION,
        intake=intake,
    )


def _count_faces(count: int, intake: Intake) -> None:
    if count != CELEBA_IMAGES:
        intake.incomplete.append(f"celeba has {CELEBA_IMAGES:,} images, and {count:,} are there")


def _zip(path: Path, limit: int | None) -> Originals:
    intake = Intake("celeba")
    try:
        with zipfile.ZipFile(path) as archive:
            found = []
            for member in sorted(name for name in archive.namelist() if not name.endswith("/")):
                if any(is_side(part) for part in PurePosixPath(member).parts if part != ".."):
                    intake.leave(SIDE, printable(member))
                elif has_image_suffix(member):
                    found.append(member)
                else:
                    intake.leave(OTHER, printable(member))
    except _ZIP_ERRORS as error:
        raise DataError(f"{path} is not a whole zip archive ({error}); download it again") from None
    if not found:
        raise DataError(f"{path} holds no image; expected img_align_celeba/000001.jpg and so on")
    _count_faces(len(found), intake)
    members = [found[position] for position in draw(len(found), limit)]
    return Originals(
        name="celeba",
        classes=(),
        count=len(members),
        files=(path,),
        read=partial(_read_zip, path, members, intake),
        conversion=CONVERSION,
        intake=intake,
    )


def _read_zip(path: Path, members: list[str], intake: Intake, resolution: int) -> Iterator[Chunk]:
    with zipfile.ZipFile(path) as archive:
        yield from decode_all(members, _member_loader(archive), resolution, intake, printable)


def _member_loader(archive: zipfile.ZipFile) -> Callable[[str], bytes]:
    lock = threading.Lock()  # members share one file position

    def load(member: str) -> bytes:
        try:
            with lock:
                return archive.read(member)
        except (KeyError, *_ZIP_ERRORS) as error:
            raise UnreadableError(str(error)) from None

    return load
