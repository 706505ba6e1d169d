"""Data sets that come as arrays in files: Fashion-MNIST, CIFAR-10, STL-10. Read as they are or in their archive."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from degas_ray.data.images import Skips, resize
from degas_ray.data.originals import READ_ROWS, Originals
from degas_ray.data.packs import Chunk, Images, Labels
from degas_ray.data.pickled import PickleFormatError, read_pickle
from degas_ray.errors import DataError

FASHION_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_ParseBatch = Callable[[Path, str], tuple[Images, Labels]]
_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_MAX_BATCH_BYTES = 1 << 28  # a CIFAR-10 batch has 31 MB
_STL_BYTES = 3 * 96 * 96
_BROKEN = (OSError, EOFError, zlib.error, tarfile.TarError)  # what a damaged file or archive raises


def open_fashion_mnist(folder: Path) -> Originals:
    """Read the training images of Fashion-MNIST from IDX files, packed with gzip or not.

    Args:
        folder: Holds the files, or torchvision's ``FashionMNIST/raw``.

    Raises:
        DataError: A file is missing, or is not what its name says.
    """
    images, labels = (
        _existing("fashion-mnist", folder, [f"{stem}.gz", stem], ("", "FashionMNIST/raw", "raw"))
        for stem in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    )
    with _unpacked(images) as file:
        count, height, width = _idx_shape(images, file, 3)
    with _unpacked(labels) as file:
        (labelled,) = _idx_shape(labels, file, 1)
    if (height, width) != (28, 28) or labelled != count or not count:
        raise DataError(
            f"{images} announces {count} images of {width}x{height}, {labels.name} {labelled} labels; "
            "expected images of 28x28 and as many labels"
        )
    return Originals(
        name="fashion-mnist",
        classes=FASHION_CLASSES,
        count=count,
        files=(images, labels),
        read=partial(_read_fashion, images, labels, count),
        conversion="28x28 on a black border to 32x32 (no pixel changed), resized from there, grey repeated to RGB",
        skips=Skips("fashion-mnist"),
    )


def open_cifar10(folder: Path) -> Originals:
    """Read CIFAR-10's five training batches, python or binary version, unpacked or as the downloaded archive.

    Raises:
        DataError: A file is missing or damaged, or its pickle holds anything but plain data.
    """
    for names, sub, archive, parse in _CIFAR_VERSIONS:
        files = [_find(folder, name, ("", sub), archive) for name in names]
        missing = [f"{sub}/{name}" for name, file in zip(names, files, strict=True) if file is None]
        batches = [(file, name) for name, file in zip(names, files, strict=True) if file is not None]
        if batches and missing:
            raise _missing("cifar10", folder, missing)
        if batches:
            return Originals(
                name="cifar10",
                classes=CIFAR_CLASSES,
                count=sum(len(parse(file, name)[1]) for file, name in batches),
                files=tuple(dict.fromkeys(file for file, _ in batches)),
                read=partial(_read_cifar, batches, parse),
                conversion="32x32 as they are, other sizes resized (bicubic, antialiased)",
                skips=Skips("cifar10"),
            )
    raise _missing("cifar10", folder, ["cifar-10-batches-py/data_batch_1 to data_batch_5", "cifar-10-python.tar.gz"])


def open_stl10(folder: Path) -> Originals:
    """Read STL-10's training and unlabelled images (105,000), unpacked or as the downloaded archive.

    Only 5,000 of them have labels, so the pack has none.

    Raises:
        DataError: A file is missing or damaged.
    """
    names = ("train_X.bin", "unlabeled_X.bin")
    files = [_find(folder, name, ("", "stl10_binary"), "stl10_binary.tar.gz") for name in names]
    missing = [f"stl10_binary/{name}" for name, file in zip(names, files, strict=True) if file is None]
    if missing:
        raise _missing("stl", folder, [*missing, "stl10_binary.tar.gz"] if len(missing) == 2 else missing)
    found = [(file, name) for file, name in zip(files, names, strict=True) if file is not None]
    counts = [_stl_count(file, name) for file, name in found]
    return Originals(
        name="stl",
        classes=(),
        count=sum(counts),
        files=tuple(dict.fromkeys(file for file, _ in found)),
        read=partial(_read_stl, found, counts),
        conversion="96x96 resized (bicubic, antialiased)",
        skips=Skips("stl"),
    )  # fmt: skip


def _missing(source: str, folder: Path, wanted: list[str]) -> DataError:
    state = "has not" if folder.is_dir() else "is no folder and has not"
    return DataError(
        f"{source}: {folder} {state} {' or '.join(wanted)}; put it there, or name the folder with --data-dir"
    )


def _existing(source: str, folder: Path, names: list[str], subs: tuple[str, ...]) -> Path:
    for sub in subs:
        for name in names:
            if (folder / sub / name).is_file():
                return folder / sub / name
    raise _missing(source, folder, names)


def _find(folder: Path, name: str, subs: tuple[str, ...], archive: str) -> Path | None:
    """Return the file, or the archive that should hold it."""
    for candidate in (*(folder / sub / name for sub in subs), folder / archive):
        if candidate.is_file():
            return candidate
    return folder if folder.is_file() and folder.name == archive else None


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, through gzip where it is packed."""
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.open(raw) if packed else raw as file:
            yield file  # type: ignore[misc]


@contextmanager
def _opened(path: Path, name: str) -> Iterator[tuple[IO[bytes], int]]:
    """Open a file, or the member of that name in an archive, with its size; nothing is unpacked to the disk."""
    try:
        if path.name == name:
            with open(path, "rb") as file:
                yield file, path.stat().st_size
            return
        with tarfile.open(path) as archive:
            for member in archive:
                stream = archive.extractfile(member) if PurePosixPath(member.name).name == name else None
                if stream is not None:
                    yield stream, member.size
                    return
        raise DataError(f"{path} has no {name} in it; download it again")
    except _BROKEN as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read: {error}; copy or download it again")


def _exactly(path: Path, file: IO[bytes], size: int) -> bytes:
    try:
        data = file.read(size)
    except _BROKEN as error:
        raise _unusable(path, error) from None
    if len(data) != size:
        raise DataError(f"{path} ends too early ({size - len(data)} bytes are missing); copy or download it again")
    return data


def _ends(path: Path, file: IO[bytes]) -> None:
    """Make sure that nothing follows; gzip checks its own sum here."""
    try:
        more = file.read(1)
    except _BROKEN as error:
        raise _unusable(path, error) from None
    if more:
        raise DataError(f"{path} is longer than its header says; copy or download it again")


def _idx_shape(path: Path, file: IO[bytes], dimensions: int) -> tuple[int, ...]:
    """Read an IDX header of unsigned bytes."""
    if _exactly(path, file, 4) != bytes([0, 0, 8, dimensions]):
        raise DataError(f"{path} is not an IDX file of unsigned bytes with {dimensions} dimensions")
    return tuple(np.frombuffer(_exactly(path, file, 4 * dimensions), ">u4").tolist())


def _read_fashion(images: Path, labels: Path, count: int, resolution: int) -> Iterator[Chunk]:
    with _unpacked(images) as pixels, _unpacked(labels) as marks:
        _idx_shape(images, pixels, 3)
        _idx_shape(labels, marks, 1)
        for start in range(0, count, READ_ROWS):
            rows = min(READ_ROWS, count - start)
            grey = np.frombuffer(_exactly(images, pixels, rows * 784), np.uint8).reshape(rows, 28, 28, 1)
            framed = np.pad(grey, ((0, 0), (2, 2), (2, 2), (0, 0)))
            label = np.frombuffer(_exactly(labels, marks, rows), np.uint8)
            yield resize(framed, resolution), label.astype(np.int64)
        _ends(images, pixels)
        _ends(labels, marks)


def _planes_to_pixels(planes: np.ndarray) -> Images:
    """[N, 3, H, W] to [N, H, W, 3]."""
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _read_cifar(batches: list[tuple[Path, str]], parse: _ParseBatch, resolution: int) -> Iterator[Chunk]:
    for path, name in batches:
        images, labels = parse(path, name)
        yield resize(images, resolution), labels


def _cifar_pickled(path: Path, name: str) -> tuple[Images, Labels]:
    with _opened(path, name) as (file, size):
        if size > _MAX_BATCH_BYTES:
            raise DataError(f"{path}: {name} has {size:,} bytes; a CIFAR-10 batch has 31 million")
        content = file.read()
    try:
        batch = read_pickle(io.BytesIO(content))
    except PickleFormatError as error:
        raise DataError(f"{path}: {name} is not a CIFAR-10 batch: {error}; download it again") from None
    fields = {}
    if isinstance(batch, dict):
        fields = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    data: Any = fields.get("data")
    labels: Any = fields.get("labels")
    whole = isinstance(data, np.ndarray) and isinstance(labels, list) and data.shape == (len(labels), 3072)
    if whole and all(type(label) is int and 0 <= label < len(CIFAR_CLASSES) for label in labels):
        return _planes_to_pixels(data.reshape(-1, 3, 32, 32)), np.array(labels, dtype=np.int64)
    raise DataError(f"{path}: {name} is not a CIFAR-10 batch; expected 'data' (uint8, N x 3072) and N 'labels' in 0..9")


def _cifar_binary(path: Path, name: str) -> tuple[Images, Labels]:
    with _opened(path, name) as (file, size):
        if size % 3073 or not 0 < size <= _MAX_BATCH_BYTES:
            raise DataError(f"{path}: {name} has {size:,} bytes; expected a multiple of 3,073; download it again")
        records = np.frombuffer(_exactly(path, file, size), np.uint8).reshape(-1, 3073)
    return _planes_to_pixels(records[:, 1:].reshape(-1, 3, 32, 32)), records[:, 0].astype(np.int64)


def _stl_count(path: Path, name: str) -> int:
    with _opened(path, name) as (_, size):
        if size % _STL_BYTES or not size:
            raise DataError(
                f"{path}: {name} has {size:,} bytes; expected a multiple of {_STL_BYTES:,}; download it again"
            )
        return size // _STL_BYTES


def _read_stl(files: list[tuple[Path, str]], counts: list[int], resolution: int) -> Iterator[Chunk]:
    for (path, name), count in zip(files, counts, strict=True):
        with _opened(path, name) as (file, _):
            for start in range(0, count, READ_ROWS):
                rows = min(READ_ROWS, count - start)
                data = np.frombuffer(_exactly(path, file, rows * _STL_BYTES), np.uint8)
                pixels = data.reshape(rows, 3, 96, 96).transpose(0, 3, 2, 1)  # stored column by column
                yield resize(pixels, resolution), None


_CIFAR_VERSIONS = (
    (_BATCHES, "cifar-10-batches-py", "cifar-10-python.tar.gz", _cifar_pickled),
    (tuple(f"{name}.bin" for name in _BATCHES), "cifar-10-batches-bin", "cifar-10-binary.tar.gz", _cifar_binary),
)
