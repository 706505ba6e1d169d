"""From a name to a pack: names, downloads, the cache, the embedded sources."""

from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_image
from source_formats import cifar10, fashion_mnist, noise

from degas_ray.data import prepare, sources
from degas_ray.errors import DataError, DegasError, DegasWarning


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cifar", "there is no data source 'cifar'; did you mean cifar10"),
        ("", "see 'degas-ray data list'"),
        ("zzz:a", "see 'degas-ray data list'"),
        ("digits:16", "digits takes nothing after a colon"),
        ("parquet:", "names no place; expected parquet:FILE-OR-DIR"),
    ],
)
def test_unknown_names_are_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        prepare(name, tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_digits_at_native_size_are_scikit_learns(tmp_path: Path) -> None:
    pack = prepare("digits", tmp_path, resolution=8)
    np.testing.assert_array_equal(pack.images[..., 1], np.rint(load_digits().images * 255 / 16))
    np.testing.assert_array_equal(pack.labels, load_digits().target)


def test_digits_at_32_are_smooth_and_keep_their_mean(tmp_path: Path) -> None:
    small, large = prepare("digits", tmp_path, resolution=8), prepare("digits", tmp_path, resolution=32)
    assert large.images.shape == (1797, 32, 32, 3)
    assert abs(large.images.mean() - small.images.mean()) < 3


def test_photos_are_crops(tmp_path: Path) -> None:
    pack = prepare("photos", tmp_path)
    china, flower = load_sample_image("china.jpg"), load_sample_image("flower.jpg")
    np.testing.assert_array_equal(pack.images[0], china[:32, :32])
    np.testing.assert_array_equal(pack.images[1], china[:32, 12:44])
    np.testing.assert_array_equal(pack.images[-1], flower[32 * 12 : 32 * 12 + 32, 50 * 12 : 50 * 12 + 32])
    assert pack.classes == ("china", "flower")
    assert len(np.unique(pack.images.reshape(len(pack), -1), axis=0)) > 0.99 * len(pack)


def test_photos_cannot_be_larger_than_the_photographs(tmp_path: Path) -> None:
    assert len(prepare("photos", tmp_path, resolution=424)) == 2 * 1 * 19
    with pytest.raises(DataError, match="set a resolution up to 424"):
        prepare("photos", tmp_path, resolution=432)


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", refuse)
    monkeypatch.setattr("torchvision.datasets.utils.download_file_from_google_drive", refuse)
    monkeypatch.setattr(sources, "SOURCES", {**sources.SOURCES})
    for name, source in sources.SOURCES.items():
        monkeypatch.setitem(sources.SOURCES, name, replace(source, system=None))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("fashion-mnist", "train-images-idx3-ubyte.gz or train-images-idx3-ubyte"),
        ("cifar10", "cifar-10-python.tar.gz"),
        ("stl", "stl10_binary.tar.gz"),
        ("celeba", "img_align_celeba.zip"),
    ],
)
def test_without_a_network_the_wanted_file_and_place_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str
) -> None:
    offline(monkeypatch)
    with pytest.raises(DataError) as error:
        prepare(name, tmp_path / "home")
    text = str(error.value)
    assert f"{name} could not be downloaded" in text
    assert "Name or service not known" in text
    assert file in text
    assert str(tmp_path / "home/cache/downloads" / name) in text
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_downloads_land_below_home_and_are_used_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def serve(url: str, root: Path, filename: str, md5: str) -> None:
        calls.append(url)
        assert md5
        made = tmp_path / "made"
        cifar10(made, noise(20, 32, 32), np.arange(20) % 10, form="python-tar")
        (Path(root) / filename).write_bytes((made / filename).read_bytes())

    monkeypatch.setattr("torchvision.datasets.utils.download_url", serve)
    home = tmp_path / "home"
    assert len(prepare("cifar10", home, allow_incomplete=True)) == 20
    assert sorted(path.name for path in (home / "cache/downloads/cifar10").iterdir()) == ["cifar-10-python.tar.gz"]
    assert len(prepare("cifar10", home, resolution=16, allow_incomplete=True)) == 20
    assert len(calls) == 1
    (home / "cache/downloads/cifar10/cifar-10-python.tar.gz").unlink()
    assert len(prepare("cifar10", home, allow_incomplete=True)) == 20


def test_the_systems_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fashion_mnist(tmp_path / "usr", noise(20, 28, 28)[..., 0], np.arange(20) % 10)
    offline(monkeypatch)
    source = replace(sources.SOURCES["fashion-mnist"], system=tmp_path / "usr")
    monkeypatch.setitem(sources.SOURCES, "fashion-mnist", source)
    assert len(prepare("fashion-mnist", tmp_path / "home", allow_incomplete=True)) == 20


def test_a_damaged_cached_pack_is_made_again(tmp_path: Path) -> None:
    pack = prepare("digits", tmp_path)
    pack.path.write_bytes(pack.path.read_bytes()[:1000])
    with pytest.warns(DegasWarning, match="the pack is made again: .* is not a whole pack"):
        again = prepare("digits", tmp_path)
    assert again.fingerprint == pack.fingerprint


def test_small_and_full_copies_of_a_source_are_kept_apart(tmp_path: Path) -> None:
    fashion_mnist(tmp_path / "a", noise(20, 28, 28)[..., 0], np.arange(20) % 10)
    fashion_mnist(tmp_path / "b", noise(30, 28, 28)[..., 0], np.arange(30) % 10)
    packs = [
        prepare("fashion-mnist", tmp_path / "home", data_dir=tmp_path / name, allow_incomplete=True) for name in "ab"
    ]
    assert [len(pack) for pack in packs] == [20, 30]


def test_home_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(DegasError, match="give another place with --home"):
        prepare("digits", tmp_path / "home")
