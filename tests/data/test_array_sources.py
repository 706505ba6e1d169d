"""Fashion-MNIST, CIFAR-10 and STL-10: their true formats, pixel by pixel, and what damaged files are told."""

import io
import os
import pickle
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from source_formats import cifar10, fashion_mnist, idx, noise, python2_batch, stl10

from degas_ray import data
from degas_ray.data.arrays import CIFAR_CLASSES, FASHION_CLASSES
from degas_ray.data.pickled import PickleFormatError, read_pickle
from degas_ray.errors import DataError

prepare = partial(data.prepare, allow_incomplete=True)  # the samples are small
MARKS = np.arange(20) % 10
GREY = noise(20, 28, 28)[..., 0]
SMALL = noise(20, 32, 32)


def pillow(images: np.ndarray, resolution: int) -> np.ndarray:
    size = (resolution, resolution)
    return np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in images])


def close(ours: np.ndarray, theirs: np.ndarray, levels: int = 1) -> None:
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= levels


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["", "FashionMNIST/raw"])
def test_fashion_mnist_keeps_every_pixel_inside_a_black_border(tmp_path: Path, packed: bool, place: str) -> None:
    fashion_mnist(tmp_path / "f" / place, GREY, MARKS, packed=packed)
    pack = prepare("fashion-mnist", tmp_path / "home", data_dir=tmp_path / "f")
    np.testing.assert_array_equal(pack.images[:, 2:30, 2:30], np.repeat(GREY[..., None], 3, axis=3))
    assert pack.images.sum() == 3 * GREY.sum(dtype=np.int64)
    np.testing.assert_array_equal(pack.labels, MARKS)
    assert pack.classes == FASHION_CLASSES


def test_fashion_mnist_at_other_sizes_is_resized_from_the_border(tmp_path: Path) -> None:
    fashion_mnist(tmp_path / "f", GREY, MARKS)
    pack = prepare("fashion-mnist", tmp_path / "home", data_dir=tmp_path / "f", resolution=16)
    close(pack.images[..., 0], pillow(np.pad(GREY, ((0, 0), (2, 2), (2, 2))), 16))


@pytest.mark.parametrize("form", ["python", "binary", "python-tar"])
def test_cifar10_is_unchanged(tmp_path: Path, form: str) -> None:
    cifar10(tmp_path / "c", SMALL, MARKS, form=form)
    pack = prepare("cifar10", tmp_path / "home", data_dir=tmp_path / "c")
    np.testing.assert_array_equal(pack.images, SMALL)
    np.testing.assert_array_equal(pack.labels, MARKS)
    assert pack.classes == CIFAR_CLASSES


def test_cifar10_may_be_named_by_its_inner_folder_or_archive(tmp_path: Path) -> None:
    cifar10(tmp_path / "c", SMALL, MARKS)
    cifar10(tmp_path / "c", SMALL, MARKS, form="python-tar")
    for place in ("cifar-10-batches-py", "cifar-10-python.tar.gz"):
        assert len(prepare("cifar10", tmp_path / "home", data_dir=tmp_path / "c" / place)) == 20


def test_our_cifar10_writer_is_python_2s_format() -> None:
    """Python's own unpickler reads the test's file as the real one: bytes keys, uint8 rows, a list of labels."""
    batch = pickle.loads(python2_batch(SMALL.reshape(20, -1), MARKS.tolist()), encoding="bytes")  # noqa: S301 - ours
    assert sorted(batch) == [b"batch_label", b"data", b"filenames", b"labels"]
    np.testing.assert_array_equal(batch[b"data"], SMALL.reshape(20, -1))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("keys", [str, bytes])
def test_pickles_of_later_pythons_are_read(protocol: int, keys: type) -> None:
    data = {"data": SMALL.reshape(20, -1), "labels": MARKS.tolist(), "note": (None, True, 1.5, "é", -3, 1 << 40)}
    named = {key if keys is str else key.encode(): value for key, value in data.items()}
    batch = read_pickle(io.BytesIO(pickle.dumps(named, protocol=protocol)))
    read = {key if isinstance(key, str) else key.decode(): value for key, value in batch.items()}
    np.testing.assert_array_equal(read["data"], data["data"])
    assert (read["labels"], read["note"]) == (data["labels"], data["note"])


def test_fortran_order_is_respected() -> None:
    array = np.asfortranarray(SMALL.reshape(20, -1))
    for protocol in (2, 5):
        np.testing.assert_array_equal(read_pickle(io.BytesIO(pickle.dumps({"data": array}, protocol)))["data"], array)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickles_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    monkeypatch.chdir(tmp_path)
    cifar10(tmp_path / "c", SMALL, MARKS)
    (tmp_path / "c/cifar-10-batches-py/data_batch_3").write_bytes(pickle.dumps({"data": Evil()}, protocol))
    with pytest.raises(DataError, match="data_batch_3 is not a CIFAR-10 batch"):
        prepare("cifar10", tmp_path / "home", data_dir=tmp_path / "c")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a whole pickle"),
        (b"\x80\x02.", "not a whole pickle"),
        (b"\x80\x02cos\nsystem\nU\x02ls\x85R.", r"asks to run os\.system, which is refused"),
        (b"\x80\x02ccopy_reg\n_reconstructor\n)R.", "asks to run copy_reg"),
        (b"\x80\x02c__builtin__\nobject\n)\x81.", "the instruction NEWOBJ"),
        (b"\x80\x02}]a.", "a dict where a list belongs"),
        (b"\x80\x02]q\x01(h\x01h\x01t}h\x01K\x01s.", "keys other than text"),
        (b"\x80\x02(((.", "not a whole pickle"),
        (b"\x80\x02r\xff\xff\xff\xff.", "not a whole pickle"),
        (pickle.dumps(np.zeros(3, np.float32)), "array of f4, expected uint8"),
        (pickle.dumps(np.array([{}], dtype=object)), "expected uint8"),
    ],
)
def test_bad_pickles_are_refused(content: bytes, words: str) -> None:
    with pytest.raises(PickleFormatError, match=words):
        read_pickle(io.BytesIO(content))


@pytest.mark.parametrize(
    "batch",
    [
        [],
        {"data": SMALL.reshape(20, -1)},
        {"data": SMALL.reshape(20, -1), "labels": [0] * 19},
        {"data": SMALL.reshape(20, -1), "labels": [10] * 20},
        {"data": SMALL.reshape(20, -1), "labels": ["0"] * 20},
        {"data": SMALL.reshape(40, -1), "labels": [0] * 40},
        {"data": 3, "labels": [0]},
    ],
)
def test_pickles_of_other_things_are_refused(tmp_path: Path, batch: object) -> None:
    cifar10(tmp_path / "c", SMALL, MARKS)
    (tmp_path / "c/cifar-10-batches-py/data_batch_1").write_bytes(pickle.dumps(batch))
    with pytest.raises(DataError, match="data_batch_1 is not a CIFAR-10 batch; expected 'data'"):
        prepare("cifar10", tmp_path / "home", data_dir=tmp_path / "c")


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    cifar10(tmp_path / "c", SMALL, MARKS)
    (tmp_path / "c/cifar-10-batches-py/data_batch_4").unlink()
    with pytest.raises(DataError, match=r"has not cifar-10-batches-py/data_batch_4; put it there"):
        prepare("cifar10", tmp_path / "home", data_dir=tmp_path / "c")


@pytest.mark.parametrize("tar", [False, True])
def test_stl10_is_upright_and_train_comes_first(tmp_path: Path, tar: bool) -> None:
    train, unlabelled = noise(3, 96, 96), noise(5, 96, 96, seed=1)
    stl10(tmp_path / "s", train, unlabelled, tar=tar)
    full = prepare("stl10", tmp_path / "home", data_dir=tmp_path / "s", resolution=96)
    np.testing.assert_array_equal(full.images, np.concatenate([train, unlabelled]))
    half = prepare("stl", tmp_path / "home", data_dir=tmp_path / "s")
    close(half.images, pillow(full.images, 48))


def test_stl10_without_the_unlabelled_images_says_so(tmp_path: Path) -> None:
    stl10(tmp_path / "s", noise(3, 96, 96), noise(5, 96, 96))
    (tmp_path / "s/stl10_binary/unlabeled_X.bin").unlink()
    with pytest.raises(DataError, match=r"has not stl10_binary/unlabeled_X\.bin; put it there"):
        prepare("stl", tmp_path / "home", data_dir=tmp_path / "s")


def truncate(path: Path, keep: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("fashion-mnist", "train-images-idx3-ubyte.gz"),
        ("fashion-mnist", "train-labels-idx1-ubyte.gz"),
        ("cifar10", "cifar-10-batches-py/data_batch_2"),
        ("stl", "stl10_binary/unlabeled_X.bin"),
        ("stl", "stl10_binary.tar.gz"),
    ],
)
def test_truncated_files_are_named(tmp_path: Path, source: str, name: str, keep: float) -> None:
    fashion_mnist(tmp_path / "d", GREY, MARKS)
    cifar10(tmp_path / "d", SMALL, MARKS)
    stl10(tmp_path / "d", noise(3, 96, 96), noise(5, 96, 96), tar="tar" in name)
    truncate(tmp_path / "d" / name, keep)
    with pytest.raises(DataError) as error:
        prepare(source, tmp_path / "home", data_dir=tmp_path / "d")
    assert str(tmp_path / "d" / name) in str(error.value)
    assert "again" in str(error.value) or "IDX" in str(error.value)
    assert not list((tmp_path / "home").rglob("*.arrow"))


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (GREY[:, :20], MARKS, "announces 20 images of 28x20"),
        (GREY, MARKS[:5], "20 images of 28x28, .* 5 labels"),
        (GREY, np.full(20, 11), "labels run from 11 to 11, but there are 10 classes"),
        (GREY[:0], MARKS[:0], "announces 0 images"),
    ],
)
def test_other_idx_files_are_refused(tmp_path: Path, images: np.ndarray, labels: np.ndarray, words: str) -> None:
    fashion_mnist(tmp_path / "f", images, labels)
    with pytest.raises(DataError, match=words):
        prepare("fashion-mnist", tmp_path / "home", data_dir=tmp_path / "f")


def test_idx_with_trailing_sizes_only_is_refused(tmp_path: Path) -> None:
    fashion_mnist(tmp_path / "f", GREY, MARKS, packed=False)
    (tmp_path / "f/train-images-idx3-ubyte").write_bytes(idx(MARKS.astype(np.uint8)))
    with pytest.raises(DataError, match="is not an IDX file of unsigned bytes with 3 dimensions"):
        prepare("fashion-mnist", tmp_path / "home", data_dir=tmp_path / "f")


def test_archive_members_never_touch_the_disk(tmp_path: Path) -> None:
    cifar10(tmp_path / "c", SMALL, MARKS, form="python-tar")
    archive = tmp_path / "c/cifar-10-python.tar.gz"
    content = python2_batch(SMALL[:4].reshape(4, -1), [0, 1, 2, 3])
    with tarfile.open(archive, "w:gz") as tar:
        for number in range(1, 6):
            member = tarfile.TarInfo(f"../../../escaped/data_batch_{number}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    before = set(tmp_path.parent.rglob("*"))
    prepare("cifar10", tmp_path / "home", data_dir=tmp_path / "c")
    assert {path.name for path in set(tmp_path.parent.rglob("*")) - before if path.is_file()} == {
        path.name for path in (tmp_path / "home/packs").iterdir()
    }
