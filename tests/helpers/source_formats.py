"""Small data sets in the true formats of the real ones, written byte by byte rather than by the code under test."""

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def noise(count: int, height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Return random uint8 images [N, H, W, C]."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def smooth(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return gradients, which lossy formats and resizing keep: uint8 [N, H, W, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    slopes = rng.uniform(20, 120, (count, 3, 2))
    planes = slopes[..., 0, None, None] * y + slopes[..., 1, None, None] * x
    return planes.transpose(0, 2, 3, 1).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    """Encode uint8 data as the MNIST family does: magic 0x08 and the rank, big-endian sizes, bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def fashion_mnist(folder: Path, images: np.ndarray, labels: np.ndarray, *, packed: bool = True) -> None:
    """Write [N, 28, 28] images and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        data = idx(array.astype(np.uint8))
        (folder / (stem + (".gz" if packed else ""))).write_bytes(gzip.compress(data, mtime=0) if packed else data)


def python2_batch(data: np.ndarray, labels: list[int]) -> bytes:
    """Encode a CIFAR-10 batch with the opcodes that Python 2's cPickle wrote into the published files."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    def number(value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    rows, columns = data.shape
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85q\tU\x01b\x87Rq\n("
        + b"K\x01" + number(rows) + number(columns) + b"\x86cnumpy\ndtype\nq\x0bU\x02u1K\x00K\x01\x87Rq\x0c("
        + b"K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text(data.tobytes()) + b"tb"
    )  # fmt: skip
    names = b"".join(text(b"image_%06d.png" % row) for row in range(rows))
    return (
        b"\x80\x02}q\x01(" + text(b"batch_label") + b"q\x02" + text(b"training batch 1 of 5") + b"q\x03"
        + text(b"labels") + b"q\x04]q\x05(" + b"".join(map(number, labels)) + b"e"
        + text(b"data") + b"q\x06" + array + text(b"filenames") + b"q\x0d]q\x0e(" + names + b"eu."
    )  # fmt: skip


def cifar10(folder: Path, images: np.ndarray, labels: np.ndarray, *, form: str = "python") -> None:
    """Write [5 n, 32, 32, 3] images as five batches; form: python, binary, python-tar."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), 3072)
    files = {}
    for number, (data, marks) in enumerate(zip(np.split(planes, 5), np.split(labels, 5), strict=True), start=1):
        if form == "binary":
            records = np.concatenate([marks[:, None].astype(np.uint8), data], axis=1)
            files[f"cifar-10-batches-bin/data_batch_{number}.bin"] = records.tobytes()
        else:
            files[f"cifar-10-batches-py/data_batch_{number}"] = python2_batch(data, marks.tolist())
    if form == "python-tar":
        _tar(folder / "cifar-10-python.tar.gz", files)
    else:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def stl10(folder: Path, train: np.ndarray, unlabelled: np.ndarray, *, tar: bool = False) -> None:
    """Write [N, 96, 96, 3] images in STL-10's order: channel, column, row."""
    files = {
        f"stl10_binary/{name}": images.transpose(0, 3, 2, 1).tobytes()
        for name, images in (("train_X.bin", train), ("unlabeled_X.bin", unlabelled))
    }
    if tar:
        _tar(folder / "stl10_binary.tar.gz", files)
    else:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def encode(image: np.ndarray, kind: str = "PNG") -> bytes:
    """Encode one image."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return buffer.getvalue()


def celeba(folder: Path, images: np.ndarray, *, zipped: bool = False) -> None:
    """Write [N, 218, 178, 3] images as img_align_celeba/000001.jpg and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"img_align_celeba/{index:06d}.jpg": encode(image, "JPEG") for index, image in enumerate(images, start=1)}
    if zipped:
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        (folder / "img_align_celeba").mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)


def image_folder(folder: Path, images: np.ndarray, classes: list[str]) -> None:
    """Write PNGs, one sub-directory a class, images dealt round."""
    for index, image in enumerate(images):
        place = folder / classes[index % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index:04d}.png").write_bytes(encode(image))


def hub_parquet(file: Path, images: np.ndarray, labels: list[int], names: list[str], rows: int = 4) -> None:
    """Write the layout of dataset hubs, with the class names in the schema's metadata."""
    cells = [{"bytes": encode(image), "path": f"{index}.png"} for index, image in enumerate(images)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    schema = pa.schema(
        [("image", kind), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": cells, "label": labels}, schema=schema), file, row_group_size=rows)


def _tar(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@dataclass(frozen=True)
class Case:
    """One source with small files: what prepare is called with and what must come of it."""

    source: str
    data_dir: Path | None
    count: int
    classes: int
    resolution: int  # the default one


def _fashion(folder: Path) -> Case:
    fashion_mnist(folder, noise(20, 28, 28)[..., 0], np.arange(20) % 10)
    return Case("fashion-mnist", folder, 20, 10, 32)


def _cifar(folder: Path) -> Case:
    cifar10(folder, noise(20, 32, 32), np.arange(20) % 10)
    return Case("cifar10", folder, 20, 10, 32)


def _stl(folder: Path) -> Case:
    stl10(folder, noise(5, 96, 96), noise(9, 96, 96, seed=1))
    return Case("stl", folder, 14, 0, 48)


def _celeba(folder: Path) -> Case:
    celeba(folder, smooth(12, 218, 178))
    return Case("celeba", folder, 12, 0, 32)


def _folder(folder: Path) -> Case:
    image_folder(folder, noise(15, 37, 50), ["cats", "dogs", "eels"])
    return Case(f"folder:{folder}", None, 15, 3, 32)


def _parquet(folder: Path) -> Case:
    hub_parquet(folder / "train.parquet", noise(14, 40, 33), [index % 2 for index in range(14)], ["no", "yes"])
    return Case(f"parquet:{folder}", None, 14, 2, 32)


SMALL_SOURCES: dict[str, Callable[[Path], Case]] = {
    "digits": lambda _: Case("digits", None, 1797, 10, 16),
    "photos": lambda _: Case("photos", None, 3366, 2, 32),
    "fashion-mnist": _fashion,
    "cifar10": _cifar,
    "stl": _stl,
    "celeba": _celeba,
    "folder": _folder,
    "parquet": _parquet,
}
