"""Thousands of damaged data files: each is read, skipped or refused with a sentence, and no part of a pack is left."""

import gzip
import io
import os
import tarfile
import warnings
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from damage import damaged
from PIL import Image
from source_formats import celeba, cifar10, encode, fashion_mnist, hub_parquet, idx, noise, python2_batch, smooth, stl10
from tally import refused

from degas_ray.data import check, open_pack, prepare, summary, write_pack
from degas_ray.data.images import UnreadableError, decode
from degas_ray.errors import DegasError, DegasWarning

pytestmark = pytest.mark.fuzz
small = partial(prepare, allow_incomplete=True)  # the samples are less than what was published


def survives(call: Callable[[], object], home: Path) -> None:
    """Run a call that may refuse, then look for leftovers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegasWarning)
        with refused("packs, Parquet, data sets", DegasError):
            call()
    packs = home / "packs"
    left = [path.name for path in packs.iterdir()] if packs.exists() else []
    assert all(name.endswith(".arrow") and not name.startswith(".") for name in left)
    for name in left:
        os.unlink(packs / name)


PALETTE = Image.fromarray(smooth(1, 24, 24)[0]).quantize(16)


def picture(kind: str) -> bytes:
    base = Image.fromarray(smooth(1, 24, 24)[0])
    if kind == "GIF":
        base = PALETTE
    elif kind == "PNG16":
        base, kind = Image.fromarray((smooth(1, 24, 24)[0, ..., 0].astype(np.uint16)) * 200), "PNG"
    elif kind == "CMYK":
        base, kind = base.convert("CMYK"), "JPEG"
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    base.save(buffer, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "PNG16", "JPEG", "CMYK", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "AVIF"])
def test_images(kind: str) -> None:
    """A damaged image is decoded to the right form or called unreadable, whatever Pillow raises inside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data in damaged(picture(kind), 1500, seed=1, head=200):
            with refused("images", UnreadableError):
                assert decode(data, 16).shape == (16, 16, 3)


def test_image_signatures_before_noise() -> None:
    rng = np.random.default_rng(2)
    heads = [picture(kind)[:16] for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF")]
    heads += [
        b"",
        b"8BPS\0\1",
        b"\0\0\1\0\1\0",
        b"qoif",
        b"DDS ",
        b"icns",
        b"\x59\xa6\x6a\x95",
        b"SIMPLE  =",
        b"%!PS-Adobe",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(3000):
            with refused("images", UnreadableError):
                decode(heads[number % len(heads)] + rng.bytes(int(rng.integers(300))), 16)


@pytest.mark.parametrize("labelled", [True, False])
def test_packs(tmp_path: Path, labelled: bool) -> None:
    images, labels = noise(3, 8, 8), np.arange(3)
    chunks = [(images, labels if labelled else None)]
    classes = ("a", "b", "c") if labelled else ()
    good = write_pack(tmp_path / "good.arrow", chunks, name="x", resolution=8, classes=classes).path.read_bytes()
    bad = tmp_path / "bad.arrow"

    def use() -> None:
        pack = open_pack(bad)
        check(pack)
        summary(pack)

    for data in damaged(good, 3000, seed=3, head=1200):
        bad.write_bytes(data)
        survives(use, tmp_path / "home")


def test_parquet(tmp_path: Path) -> None:
    file = tmp_path / "d.parquet"
    hub_parquet(file, noise(6, 8, 8), [0, 1, 2] * 2, ["a", "b", "c"], rows=3)
    for data in damaged(file.read_bytes(), 3000, seed=4, head=1200):
        file.write_bytes(data)
        survives(lambda: prepare(f"parquet:{file}", tmp_path / "home", resolution=8), tmp_path / "home")


def spoil(tmp_path: Path, source: str, file: Path, count: int, head: int) -> None:
    for data in damaged(file.read_bytes(), count, seed=5, head=head):
        file.write_bytes(data)
        survives(
            lambda: small(source, tmp_path / "home", data_dir=tmp_path / "d"),
            tmp_path / "home",
        )


@pytest.mark.parametrize("form", ["python", "binary", "python-tar"])
def test_cifar10(tmp_path: Path, form: str) -> None:
    cifar10(tmp_path / "d", noise(5, 32, 32), np.arange(5), form=form)
    name = {"python": "cifar-10-batches-py/data_batch_2", "binary": "cifar-10-batches-bin/data_batch_2.bin"}
    spoil(tmp_path, "cifar10", tmp_path / "d" / name.get(form, "cifar-10-python.tar.gz"), 600, 250)


def test_cifar10_pickles(tmp_path: Path) -> None:
    """Small batches, so that most of the damage hits instructions."""
    cifar10(tmp_path / "d", noise(5, 32, 32), np.arange(5))
    batch = tmp_path / "d/cifar-10-batches-py/data_batch_2"
    empty = python2_batch(np.zeros((0, 3072), np.uint8), [])
    for data in damaged(empty, 2000, seed=6):
        batch.write_bytes(data)
        survives(
            lambda: small("cifar10", tmp_path / "home", data_dir=tmp_path / "d"),
            tmp_path / "home",
        )


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist(tmp_path: Path, packed: bool) -> None:
    fashion_mnist(tmp_path / "d", noise(3, 28, 28)[..., 0], np.arange(3), packed=packed)
    for stem in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        spoil(tmp_path, "fashion-mnist", tmp_path / "d" / (stem + (".gz" if packed else "")), 400, 30)


def test_idx_headers(tmp_path: Path) -> None:
    """Sizes that promise more than any file holds take no memory."""
    fashion_mnist(tmp_path / "d", noise(3, 28, 28)[..., 0], np.arange(3), packed=False)
    file = tmp_path / "d/train-images-idx3-ubyte"
    body = file.read_bytes()[16:]
    rng = np.random.default_rng(7)
    for _ in range(300):
        sizes = rng.choice([0, 1, 3, 28, 2**16, 2**31, 2**32 - 1], 3).astype(">u4").tobytes()
        file.write_bytes(idx(np.zeros((0, 0, 0), np.uint8))[:4] + sizes + body)
        survives(
            lambda: small("fashion-mnist", tmp_path / "home", data_dir=tmp_path / "d"),
            tmp_path / "home",
        )


@pytest.mark.parametrize("tar", [True, False])
def test_stl10(tmp_path: Path, tar: bool) -> None:
    stl10(tmp_path / "d", noise(1, 96, 96), noise(2, 96, 96), tar=tar)
    name = "stl10_binary.tar.gz" if tar else "stl10_binary/train_X.bin"
    spoil(tmp_path, "stl", tmp_path / "d" / name, 200, 600)


def test_celeba_zips(tmp_path: Path) -> None:
    celeba(tmp_path / "d", smooth(3, 40, 40), zipped=True)
    spoil(tmp_path, "celeba", tmp_path / "d/img_align_celeba.zip", 2000, 400)


def test_archives_inside_archives(tmp_path: Path) -> None:
    """Damage below an intact gzip layer."""
    (tmp_path / "d").mkdir()
    file = tmp_path / "d/cifar-10-python.tar.gz"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number in range(1, 6):
            content = python2_batch(np.zeros((1, 3072), np.uint8), [number])
            member = tarfile.TarInfo(f"cifar-10-batches-py/data_batch_{number}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    for data in damaged(buffer.getvalue(), 500, seed=8, head=600):
        file.write_bytes(gzip.compress(data, 1))
        survives(
            lambda: small("cifar10", tmp_path / "home", data_dir=tmp_path / "d"),
            tmp_path / "home",
        )


def test_source_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "outer/inner"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    rng = np.random.default_rng(9)
    pieces = ["digit", "folder:", "parquet:", ":", "\0", "..", "~", "~x", "é", "\ud800", " ", "-", "stl1", "a" * 5000]
    for _ in range(2000):
        name = "".join(rng.choice(pieces, int(rng.integers(1, 4))))
        survives(lambda name=name: prepare(name, tmp_path / "home"), tmp_path / "home")


def test_png_chunks(tmp_path: Path) -> None:
    """Checksums that fit, so that damage reaches the decoder."""
    good = encode(smooth(1, 16, 16)[0])
    rng = np.random.default_rng(10)
    for _ in range(2000):
        data = bytearray(good)
        place = int(rng.integers(8, len(data) - 12))
        data[place] = int(rng.integers(256))
        start = 8
        while start + 12 <= len(data):
            length = int.from_bytes(data[start : start + 4], "big")
            end = start + 8 + length
            if end + 4 > len(data):
                break
            data[end : end + 4] = zlib.crc32(data[start + 4 : end]).to_bytes(4, "big")
            start = end + 4
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with refused("images", UnreadableError):
                decode(bytes(data), 16)
