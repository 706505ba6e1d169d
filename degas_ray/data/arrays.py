"""Data sets that come as arrays in files: Fashion-MNIST, CIFAR-10, STL-10. Read as they are or in their archive."""

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from degas_ray.data.images import resize
from degas_ray.data.intake import Intake
from degas_ray.data.originals import READ_ROWS, Originals, Positions, draw
from degas_ray.data.packs import Chunk, Images, Labels
from degas_ray.data.pickled import PickleFormatError, read_pickle
from degas_ray.errors import DataError

FASHION_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_ParseBatch = Callable[[Path, str], tuple[Images, Labels, str]]
# What was published, so that another data set under the same names or a part of one is noticed. The MD5 sums are those
# of the unpacked files: CIFAR-10's and STL-10's as torchvision has them, Fashion-MNIST's of Debian's package.
_FASHION_IMAGES, _CIFAR_IMAGES, _STL_IMAGES = 60_000, 50_000, {"train_X.bin": 5_000, "unlabeled_X.bin": 100_000}
_MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "unlabeled_X.bin": "5242ba1fed5e4be9e1e742405eb56ca4",
}
_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_MAX_BATCH_BYTES = 1 << 28  # a CIFAR-10 batch has 31 MB
_STL_BYTES = 3 * 96 * 96
_BROKEN = (OSError, EOFError, zlib.error, tarfile.TarError)  # what a damaged file or archive raises


def open_fashion_mnist(folder: Path, limit: int | None = None) -> Originals:
    """Read the training images of Fashion-MNIST from IDX files, packed with gzip or not.

    Args:
        folder: Holds the files, or torchvision's ``FashionMNIST/raw``.
        limit: At most so many images, drawn so that each class keeps its share.

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
        data = _exactly(labels, file, labelled) if labelled == count else b""
        if data:
            _ends(labels, file)
    if (height, width) != (28, 28) or labelled != count or not count:
        raise DataError(
            f"{images} announces {count} images of {width}x{height}, {labels.name} {labelled} labels; "
            "expected images of 28x28 and as many labels"
        )
    intake = Intake("fashion-mnist")
    marks = np.frombuffer(data, np.uint8).astype(np.int64)
    _expect_count(intake, "training images", count, _FASHION_IMAGES)
    if count == _FASHION_IMAGES:
        header = bytes([0, 0, 8, 1]) + count.to_bytes(4, "big")
        _expect_md5(intake, labels, "train-labels-idx1-ubyte", header + data)
    chosen = draw(count, limit, marks)
    return Originals(
        name="fashion-mnist",
        classes=FASHION_CLASSES,
        count=len(chosen),
        files=(images, labels),
        read=partial(_read_fashion, images, marks, chosen, intake),
        conversion="28x28 on a black border to 32x32 (no pixel changed), resized from there, grey repeated to RGB",
        intake=intake,
    )


def open_cifar10(folder: Path, limit: int | None = None) -> Originals:
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
            intake = Intake("cifar10")
            labels = _check_cifar(batches, parse, intake)
            chosen = draw(len(labels), limit, labels)
            return Originals(
                name="cifar10",
                classes=CIFAR_CLASSES,
                count=len(chosen),
                files=tuple(dict.fromkeys(file for file, _ in batches)),
                read=partial(_read_cifar, batches, parse, chosen),
                conversion="32x32 as they are, other sizes resized (bicubic, antialiased)",
                intake=intake,
            )
    raise _missing("cifar10", folder, ["cifar-10-batches-py/data_batch_1 to data_batch_5", "cifar-10-python.tar.gz"])


def open_stl10(folder: Path, limit: int | None = None) -> Originals:
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
    intake = Intake("stl")
    for (_, name), count in zip(found, counts, strict=True):
        _expect_count(intake, f"images in {name}", count, _STL_IMAGES[name])
    chosen = draw(sum(counts), limit)
    return Originals(
        name="stl",
        classes=(),
        count=len(chosen),
        files=tuple(dict.fromkeys(file for file, _ in found)),
        read=partial(_read_stl, found, counts, chosen, intake),
        conversion="96x96 resized (bicubic, antialiased)",
        intake=intake,
    )


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


def _read_fashion(images: Path, marks: Labels, chosen: Positions, intake: Intake, resolution: int) -> Iterator[Chunk]:
    count = len(marks)
    with _unpacked(images) as pixels:
        shape = _idx_shape(images, pixels, 3)
        digest = _md5(bytes([0, 0, 8, 3]) + np.array(shape, ">u4").tobytes())
        for start in range(0, count, READ_ROWS):
            rows = min(READ_ROWS, count - start)
            data = _exactly(images, pixels, rows * 784)
            digest.update(data)
            mine = _within(chosen, start, rows)
            if len(mine):
                grey = np.frombuffer(data, np.uint8).reshape(rows, 28, 28, 1)[mine]
                framed = np.pad(grey, ((0, 0), (2, 2), (2, 2), (0, 0)))
                yield resize(framed, resolution), marks[start + mine]
        _ends(images, pixels)
    if count == _FASHION_IMAGES:
        _expect_digest(intake, images, "train-images-idx3-ubyte", digest.hexdigest())


def _within(chosen: Positions, start: int, rows: int) -> Positions:
    """Return which of the rows from ``start`` are chosen, counted from there."""
    return chosen[np.searchsorted(chosen, start) : np.searchsorted(chosen, start + rows)] - start


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def _expect_count(intake: Intake, what: str, count: int, published: int) -> None:
    if count != published:
        intake.incomplete.append(f"{intake.source} has {published:,} {what}, and {count:,} are there")


def _expect_md5(intake: Intake, path: Path, name: str, content: bytes) -> None:
    _expect_digest(intake, path, name, _md5(content).hexdigest())


def _expect_digest(intake: Intake, path: Path, name: str, digest: str) -> None:
    if digest != _MD5[name]:
        intake.incomplete.append(
            f"{path}: the content of {name} is not what {intake.source} was published with (MD5 {digest}, expected "
            f"{_MD5[name]}): another data set, or a damaged or repeated file"
        )


def _planes_to_pixels(planes: np.ndarray) -> Images:
    """[N, 3, H, W] to [N, H, W, 3]."""
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _check_cifar(batches: list[tuple[Path, str]], parse: _ParseBatch, intake: Intake) -> Labels:
    """Return all labels; compare the batches with what was published."""
    parts: list[Labels] = []
    digests: dict[str, str] = {}
    places = {name: path for path, name in batches}
    for path, name in batches:
        _, labels, digest = parse(path, name)
        parts.append(labels)
        if digest in digests:
            intake.incomplete.append(f"{path}: {name} repeats {digests[digest]}")
        digests[digest] = name
    labels = np.concatenate(parts)
    _expect_count(intake, "training images", len(labels), _CIFAR_IMAGES)
    if len(labels) == _CIFAR_IMAGES:
        for digest, name in digests.items():
            if name in _MD5:  # the binary version's batches have no published sums
                _expect_digest(intake, places[name], name, digest)
        counts = np.bincount(labels, minlength=len(CIFAR_CLASSES))
        if (counts != _CIFAR_IMAGES // len(CIFAR_CLASSES)).any():
            intake.incomplete.append(f"cifar10 has 5,000 images of each class, and {counts.tolist()} are there")
    return labels


def _read_cifar(
    batches: list[tuple[Path, str]], parse: _ParseBatch, chosen: Positions, resolution: int
) -> Iterator[Chunk]:
    start = 0
    for path, name in batches:
        images, labels, _ = parse(path, name)
        mine = _within(chosen, start, len(labels))
        start += len(labels)
        if len(mine):
            yield resize(images[mine], resolution), labels[mine]


def _cifar_pickled(path: Path, name: str) -> tuple[Images, Labels, str]:
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
        pixels = _planes_to_pixels(data.reshape(-1, 3, 32, 32))
        return pixels, np.array(labels, dtype=np.int64), _md5(content).hexdigest()
    raise DataError(f"{path}: {name} is not a CIFAR-10 batch; expected 'data' (uint8, N x 3072) and N 'labels' in 0..9")


def _cifar_binary(path: Path, name: str) -> tuple[Images, Labels, str]:
    with _opened(path, name) as (file, size):
        if size % 3073 or not 0 < size <= _MAX_BATCH_BYTES:
            raise DataError(f"{path}: {name} has {size:,} bytes; expected a multiple of 3,073; download it again")
        content = _exactly(path, file, size)
    records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    pixels = _planes_to_pixels(records[:, 1:].reshape(-1, 3, 32, 32))
    return pixels, records[:, 0].astype(np.int64), _md5(content).hexdigest()


def _stl_count(path: Path, name: str) -> int:
    with _opened(path, name) as (_, size):
        if size % _STL_BYTES or not size:
            raise DataError(
                f"{path}: {name} has {size:,} bytes; expected a multiple of {_STL_BYTES:,}; download it again"
            )
        return size // _STL_BYTES


def _read_stl(
    files: list[tuple[Path, str]], counts: list[int], chosen: Positions, intake: Intake, resolution: int
) -> Iterator[Chunk]:
    before = 0
    for (path, name), count in zip(files, counts, strict=True):
        digest = _md5()
        with _opened(path, name) as (file, _):
            for start in range(0, count, READ_ROWS):
                rows = min(READ_ROWS, count - start)
                data = _exactly(path, file, rows * _STL_BYTES)
                digest.update(data)
                mine = _within(chosen, before + start, rows)
                if len(mine):
                    columns = np.frombuffer(data, np.uint8).reshape(rows, 3, 96, 96)[mine]
                    yield resize(columns.transpose(0, 3, 2, 1), resolution), None  # stored column by column
        if count == _STL_IMAGES[name]:
            _expect_digest(intake, path, name, digest.hexdigest())
        before += count


_CIFAR_VERSIONS = (
    (_BATCHES, "cifar-10-batches-py", "cifar-10-python.tar.gz", _cifar_pickled),
    (tuple(f"{name}.bin" for name in _BATCHES), "cifar-10-batches-bin", "cifar-10-binary.tar.gz", _cifar_binary),
)
