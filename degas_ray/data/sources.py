"""Where images come from, by name, and the one way from a name to a pack."""

import difflib
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degas_ray.data import arrays, embedded, folders, parquet
from degas_ray.data.download import fetch
from degas_ray.data.originals import Originals
from degas_ray.data.packs import Chunk, Pack, open_pack, write_pack
from degas_ray.errors import DataError, DegasWarning

OnImages = Callable[[int, int | None], None]

MAX_RESOLUTION = 512
_RECIPE = 2  # raised whenever the same originals would give other pixels


@dataclass(frozen=True)
class Source:
    """One kind of data set.

    Args:
        name: As it is typed; ``folder`` and ``parquet`` are followed by ``:PATH``.
        description: In a line.
        classes: Number of classes, or None where the data decide.
        native: Size of the originals, in words.
        resolution: Default of the pack.
        size: Number of images, or None where the data decide.
        where: How to get the originals, in words.
        open: (directory, limit, resolution, split) to originals; only the user's own images have splits.
        system: A directory in which an operating system's package puts them.
        downloads: The originals are looked for below home, and fetched where they are not there.
        local: The name is followed by the user's own path.
    """

    name: str
    description: str
    classes: int | None
    native: str
    resolution: int
    size: int | None
    where: str
    open: Callable[[Path, int | None, int, str | None], Originals]
    system: Path | None = None
    downloads: bool = False
    local: bool = False


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source("digits", "scanned handwritten digits (embedded)", 10, "8x8 grey", 16, 1797,
               "comes with scikit-learn", lambda _, limit, *__: embedded.open_digits(limit)),
        Source("photos", "crops of two photographs (embedded)", 2, "640x427", 32, 3366,
               "comes with scikit-learn", lambda _, limit, resolution, __: embedded.open_photos(limit, resolution)),
        Source("fashion-mnist", "clothes, grey", 10, "28x28 grey", 32, 60_000,
               "downloaded, or Debian's package dataset-fashion-mnist, or --data-dir",
               lambda folder, limit, *_: arrays.open_fashion_mnist(folder, limit),
               system=Path("/usr/share/datasets/fashion-mnist"), downloads=True),
        Source("cifar10", "CIFAR-10's training images", 10, "32x32", 32, 50_000,
               "downloaded, or --data-dir",
               lambda folder, limit, *_: arrays.open_cifar10(folder, limit), downloads=True),
        Source("stl", "STL-10's training and unlabelled images", 0, "96x96", 48, 105_000,
               "downloaded, or --data-dir", lambda folder, limit, *_: arrays.open_stl10(folder, limit), downloads=True),
        Source("celeba", "CelebA's aligned faces", 0, "178x218", 32, 202_599,
               "downloaded (needs gdown), or --data-dir",
               lambda folder, limit, *_: folders.open_celeba(folder, limit), downloads=True),
        Source("folder", "folder:DIR, your own images; sub-directories are classes", None, "any", 32, None,
               "folder:DIR", lambda folder, limit, _, split: folders.open_folder(folder, limit, split), local=True),
        Source("parquet", "parquet:FILE-OR-DIR, columns image {bytes, path} and label", None, "any", 32, None,
               "parquet:FILE-OR-DIR",
               lambda path, limit, _, split: parquet.open_parquet(path, limit, split), local=True),
    )
}  # fmt: skip
_ALIASES = {"stl10": "stl"}


def prepare(
    source: str,
    home: Path,
    *,
    resolution: int | None = None,
    data_dir: Path | None = None,
    limit: int | None = None,
    split: str | None = None,
    allow_incomplete: bool = False,
    on_progress: OnImages | None = None,
) -> Pack:
    """Return the source's pack, made on the first call and reused until resolution, limit or original files change.

    Args:
        source: A name of :data:`SOURCES`, ``folder:DIR`` or ``parquet:FILE-OR-DIR``.
        home: Everything that is written goes below it.
        resolution: A multiple of 8; None for the source's own.
        data_dir: Where a named source's original files are; None to look below home, then to download.
        limit: At most this many images, drawn with a fixed seed so that each class keeps its share.
        split: Of the user's own images: ``train``, ``validation``, ``test`` or what else they are called, or ``all``;
            None for the training split where there are splits.
        allow_incomplete: Go on with a named source that is not what was published.
        on_progress: Called with (images packed, images to come).

    Raises:
        DataError: The source is unknown, or its files are missing, damaged, mostly unreadable, or a named source's are
            not what was published.
        DegasError: The pack cannot be written.
    """
    kind, place = _parse(source)
    resolution = kind.resolution if resolution is None else resolution
    if resolution % 8 or not 8 <= resolution <= MAX_RESOLUTION:
        raise DataError(f"resolution: got {resolution}, expected a multiple of 8 from 8 to {MAX_RESOLUTION}")
    if limit is not None and limit < 1:
        raise DataError(f"limit: got {limit}, expected 1 or more images")
    if kind.local and data_dir is not None:
        raise DataError(f"{source} already names where the images are; leave out --data-dir")
    if split is not None and not kind.local:
        raise DataError(f"{source} has no splits; its training images are taken: leave out --split")
    place = _path(str(data_dir)) if data_dir is not None else place
    originals = _open(kind, place, limit, resolution, split) if place is not None else None
    if originals is not None:
        _require_whole(originals.intake.incomplete, allow_incomplete)
    path = home / "packs" / _file_name(source, kind, place, resolution, limit, split, originals)
    if (ready := _reuse(path)) is not None:
        _require_whole(ready.meta.get("incomplete", ()), allow_incomplete)
        return ready
    if originals is None:
        originals = _locate(kind, home, limit, resolution)
        _require_whole(originals.intake.incomplete, allow_incomplete)
    meta: dict[str, Any] = {"source": source, "conversion": originals.conversion, "limit": limit, "split": split}
    return write_pack(
        path,
        _tracked(originals, resolution, allow_incomplete, meta, on_progress),
        name=originals.name,
        resolution=resolution,
        classes=originals.classes,
        meta=meta,
    )


def list_sources(home: Path) -> list[dict[str, Any]]:
    """Return one JSON-able row a source: what it is, where it comes from, and its packs below home."""
    packs: dict[str, list[str]] = {}
    for path in sorted((home / "packs").glob("*.arrow")):
        packs.setdefault(_kind_of(path), []).append(str(path))
    return [
        {
            "source": source.name,
            "description": source.description,
            "images": source.size,
            "classes": source.classes,
            "native": source.native,
            "resolution": source.resolution,
            "where": source.where,
            "packs": packs.get(source.name, []),
        }
        for source in SOURCES.values()
    ]


def _parse(source: str) -> tuple[Source, Path | None]:
    name, colon, argument = source.partition(":")
    kind = SOURCES.get(_ALIASES.get(name, name))
    if kind is None:
        near = difflib.get_close_matches(name, [*SOURCES, *_ALIASES], n=1)
        hint = f"did you mean {near[0]}?" if near else "see 'degas-ray data list'"
        raise DataError(f"there is no data source {source!r}; {hint}")
    if kind.local and not argument:
        raise DataError(f"{source!r} names no place; expected {kind.where}")
    if colon and not kind.local:
        raise DataError(f"{source!r}: {name} takes nothing after a colon; name its files' folder with --data-dir")
    return kind, _path(argument) if kind.local else None


def _path(text: str) -> Path:
    """Return the place that a person typed."""
    try:
        os.fsencode(text)
        path = Path(text).expanduser()
    except (UnicodeEncodeError, RuntimeError) as error:  # the latter for the home of a user who does not exist
        raise DataError(f"{text!r} is no path on this machine ({error}); expected a file or folder") from None
    if "\0" in text:
        raise DataError(f"{text!r} holds a zero byte; expected a file or folder")
    return path


def _open(kind: Source, place: Path, limit: int | None, resolution: int, split: str | None = None) -> Originals:
    try:
        return kind.open(place, limit, resolution, split)
    except OSError as error:
        raise DataError(f"{kind.name}: cannot read {error.filename or place}: {error.strerror or error}") from None


def _require_whole(faults: Sequence[str], allowed: bool) -> None:
    """Refuse a published data set that is not what was published."""
    if faults and not allowed:
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise DataError(f"the data set is not whole:\n{listed}\nGet it again, or go on with --allow-incomplete")


def _file_name(
    source: str,
    kind: Source,
    place: Path | None,
    resolution: int,
    limit: int | None,
    split: str | None,
    originals: Originals | None,
) -> str:
    """Name the pack after everything that decides its content and its facts."""
    stats: list[tuple[str, int, int, int]] = []
    for file in originals.files if originals else ():
        try:
            status = file.stat()
            # The time of the last change of the entry tells a file that was replaced by one of equal size and date.
            stats.append((str(file.absolute()), status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        except OSError:  # unreadable, so it is not in the pack either
            stats.append((str(file.absolute()), -1, 0, 0))
    facts = [originals.classes, originals.intake.facts()] if originals else []
    key = json.dumps([_RECIPE, kind.name, str(place and place.absolute()), resolution, limit, split, stats, facts])
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    first = f"-{limit}" if limit is not None else ""
    return f"{kind.name}-{resolution}{first}-{digest[:12]}.arrow"


def _kind_of(path: Path) -> str:
    return next((name for name in SOURCES if path.name.startswith(f"{name}-")), "")


def _reuse(path: Path) -> Pack | None:
    if not path.exists():
        return None
    try:
        return open_pack(path)
    except DataError as error:
        warnings.warn(f"the pack is made again: {error}", DegasWarning, stacklevel=3)
        return None


def _locate(kind: Source, home: Path, limit: int | None, resolution: int) -> Originals:
    """Open a named source from home, from the system's package, or from the network, in that order."""
    downloads = home / "cache" / "downloads" / kind.name
    if not kind.downloads:
        return _open(kind, downloads, limit, resolution)
    for folder in (downloads, kind.system):
        if folder is not None and folder.is_dir() and any(folder.iterdir()):
            return _open(kind, folder, limit, resolution)
    try:
        fetch(kind.name, downloads)
    except DataError as error:
        try:
            return _open(kind, downloads, limit, resolution)  # says which files are wanted
        except DataError as wanted:
            hint = " (or: apt install dataset-fashion-mnist)" if kind.system else ""
            raise DataError(f"{error}\n{wanted}{hint}") from None
    return _open(kind, downloads, limit, resolution)


def _tracked(
    originals: Originals, resolution: int, allow_incomplete: bool, meta: dict[str, Any], on_progress: OnImages | None
) -> Iterator[Chunk]:
    """Yield the images, report them, and judge at the end what was left out."""
    done, intake = 0, originals.intake
    for images, labels in originals.read(resolution):
        done += len(images)
        yield images, labels
        if on_progress is not None:
            on_progress(done, originals.count)
    intake.finish()
    _require_whole(intake.incomplete, allow_incomplete)
    meta |= intake.facts()
