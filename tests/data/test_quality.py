"""Whether a set is worth training on, and whether a known set is the one that was published."""

import gzip
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from source_formats import celeba, cifar10, fashion_mnist, noise, smooth, stl10

from degas_ray.data import Pack, arrays, doubts, prepare, quality, write_pack
from degas_ray.errors import DataError


def pack_of(tmp_path: Path, images: np.ndarray, labels: np.ndarray | None = None) -> Pack:
    classes = ("a", "b") if labels is not None else ()
    return write_pack(tmp_path / "p.arrow", [(images, labels)], name="x", resolution=images.shape[1], classes=classes)


def jpeg(picture: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    return np.asarray(Image.open(buffer))


class TestCounts:
    def test_what_was_put_in_is_counted(self, tmp_path: Path) -> None:
        pictures = smooth(1500, 16, 16)
        copies, blank = pictures[:30], np.stack([np.full((16, 16, 3), value, np.uint8) for value in range(25)])
        near = np.stack([jpeg(picture) for picture in pictures[100:120]])
        pack = pack_of(tmp_path, np.concatenate([pictures, copies, blank, near]))
        counts = quality(pack)
        assert (counts["images"], counts["identical"], counts["blank"]) == (1575, 30, 25)
        assert counts["near"] >= 40  # both of each pair
        assert [doubt.partition(" of ")[0] for doubt in doubts(pack, counts)] == ["30", str(counts["near"]), "25"]

    def test_different_images_are_not_near(self, tmp_path: Path) -> None:
        counts = quality(pack_of(tmp_path, noise(300, 16, 16)))
        assert (counts["identical"], counts["near"], counts["blank"]) == (0, 0, 0)

    @pytest.mark.parametrize("name", ["digits", "photos"])
    def test_the_embedded_sets_are_worth_training_on(self, tmp_path: Path, name: str) -> None:
        pack = prepare(name, tmp_path)
        assert doubts(pack, quality(pack)) == ()

    def test_one_class_and_few_images(self, tmp_path: Path) -> None:
        pack = pack_of(tmp_path, noise(20, 8, 8), np.ones(20, np.int64))
        assert doubts(pack, quality(pack)) == (
            "all images have the same label, so labels say nothing",
            "there are 20 images, and scores compare with 1,000 unless told otherwise",
        )

    def test_few_images_that_were_asked_for_are_no_doubt(self, tmp_path: Path) -> None:
        pack = prepare("digits", tmp_path, limit=50)
        assert doubts(pack, quality(pack)) == ()

    def test_all_images_alike(self, tmp_path: Path) -> None:
        counts = quality(pack_of(tmp_path, np.full((50, 8, 8, 3), 7, np.uint8)))
        assert (counts["identical"], counts["blank"], counts["near"]) == (49, 50, 0)


class TestKnownSets:
    """Small samples stand for the published sets, whose sizes and sums are set to theirs."""

    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ("fashion-mnist", "fashion-mnist has 60,000 training images, and 20 are there"),
            ("cifar10", "cifar10 has 50,000 training images, and 20 are there"),
            ("stl", "stl has 5,000 images in train_X.bin, and 3 are there\n.*100,000 images in unlabeled_X.bin, and 4"),
            ("celeba", "celeba has 202,599 images, and 3 are there"),
        ],
    )
    def test_part_of_a_set_is_refused(self, tmp_path: Path, source: str, words: str) -> None:
        fashion_mnist(tmp_path / "d", noise(20, 28, 28)[..., 0], np.arange(20) % 10)
        cifar10(tmp_path / "d", noise(20, 32, 32), np.arange(20) % 10)
        stl10(tmp_path / "d", noise(3, 96, 96), noise(4, 96, 96))
        celeba(tmp_path / "d", smooth(3, 218, 178))
        with pytest.raises(DataError, match=words):
            prepare(source, tmp_path / "home", data_dir=tmp_path / "d")
        assert not (tmp_path / "home").exists()
        allowed = prepare(source, tmp_path / "home", data_dir=tmp_path / "d", allow_incomplete=True)
        assert allowed.meta["incomplete"]
        with pytest.raises(DataError, match="go on with --allow-incomplete"):
            prepare(source, tmp_path / "home", data_dir=tmp_path / "d")

    def test_another_set_under_the_name_of_fashion_mnist(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Same names, same shapes, as many images: only the content tells."""
        monkeypatch.setattr(arrays, "_FASHION_IMAGES", 20)
        fashion_mnist(tmp_path / "d", noise(20, 28, 28)[..., 0], np.arange(20) % 10)
        with pytest.raises(DataError, match="train-labels-idx1-ubyte is not what fashion-mnist was published with"):
            prepare("fashion-mnist", tmp_path / "home", data_dir=tmp_path / "d")
        for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
            content = gzip.decompress((tmp_path / f"d/{name}.gz").read_bytes())
            monkeypatch.setitem(arrays._MD5, name, hashlib.md5(content, usedforsecurity=False).hexdigest())
        assert prepare("fashion-mnist", tmp_path / "home", data_dir=tmp_path / "d", limit=7).meta["incomplete"] == []
        fashion_mnist(tmp_path / "d", noise(20, 28, 28, seed=1)[..., 0], np.arange(20) % 10)
        with pytest.raises(DataError, match="content of train-images-idx3-ubyte is not what"):
            prepare("fashion-mnist", tmp_path / "home", data_dir=tmp_path / "d", limit=7)
        assert len(list((tmp_path / "home/packs").iterdir())) == 1

    @pytest.mark.parametrize("form", ["python", "binary", "python-tar"])
    def test_a_batch_that_is_there_twice(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
        monkeypatch.setattr(arrays, "_CIFAR_IMAGES", 50)
        images, labels = noise(50, 32, 32), np.arange(50) % 10
        images[20:30], labels[20:30] = images[:10], labels[:10]
        cifar10(tmp_path / "d", images, labels, form=form)
        with pytest.raises(DataError, match=r"data_batch_3(\.bin)? repeats data_batch_1"):
            prepare("cifar10", tmp_path / "home", data_dir=tmp_path / "d")

    def test_published_sums_are_those_of_torchvision(self) -> None:
        from torchvision.datasets import CIFAR10, STL10

        published = dict(map(tuple, [*CIFAR10.train_list, *STL10.train_list]))
        ours = {name: md5 for name, md5 in arrays._MD5.items() if "ubyte" not in name}
        assert ours == {name: published[name] for name in ours}
        assert len(ours) == 7
