"""Statistics of the real images: cached by content, shared, never trusted when damaged."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from standin_networks import TinyNetwork, tiny_extractor

from degas_ray.data import Pack, write_pack
from degas_ray.errors import DataError, DegasWarning, InputError
from degas_ray.scores import Extractor, Reference, moments, reference_statistics


class Counting(TinyNetwork):
    """Counts the images that it sees."""

    seen = 0

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.seen += len(images)
        return super().forward(images)


def counting() -> tuple[Extractor, Counting]:
    network = Counting().eval().requires_grad_(False)
    return Extractor("tiny", "0" * 16, network, torch.device("cpu")), network


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


def pack_of(folder: Path, images: np.ndarray, name: str = "noise") -> Pack:
    return write_pack(folder / f"{name}.arrow", [(images, None)], name=name, resolution=16)


def same(a: Reference, b: Reference) -> bool:
    arrays = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("mean", "cov", "root"))
    return arrays and torch.equal(a.features, b.features) and torch.equal(a.within.radii, b.within.radii)


def test_statistics_are_those_of_the_images(tmp_path: Path) -> None:
    images, extractor = noise(50), tiny_extractor()
    got = reference_statistics(pack_of(tmp_path, images), extractor, cache=tmp_path, batch=7)
    features = extractor(images).features
    torch.testing.assert_close(got.features, features)
    np.testing.assert_allclose(got.mean, moments(features)[0], rtol=1e-5)
    np.testing.assert_allclose(got.root @ got.root, got.cov, atol=1e-10)
    assert len(got) == 50
    assert (got.extractor, got.weights_hash, got.resizer) == ("tiny", "0" * 16, "clean-bicubic-16")


def test_second_time_comes_from_the_cache(tmp_path: Path) -> None:
    pack = pack_of(tmp_path, noise(40))
    extractor, network = counting()
    first = reference_statistics(pack, extractor, cache=tmp_path)
    second = reference_statistics(pack, extractor, cache=tmp_path)
    assert network.seen == 40
    assert same(first, second)
    assert first.within.kernel == second.within.kernel
    kept = [path.name for path in (tmp_path / "references").iterdir() if not path.name.endswith(".lock")]
    assert kept == [f"{first.fingerprint}.safetensors"]


def test_many_at_once_compute_once(tmp_path: Path) -> None:
    pack = pack_of(tmp_path, noise(40))
    extractor, network = counting()
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda _: reference_statistics(pack, extractor, cache=tmp_path), range(4)))
    assert network.seen == 40
    assert all(same(got[0], other) for other in got[1:])


def test_content_count_and_extractor_have_their_own_statistics(tmp_path: Path) -> None:
    pack, extractor = pack_of(tmp_path, noise(40)), tiny_extractor()
    prints = {
        reference_statistics(pack, extractor, cache=tmp_path).fingerprint,
        reference_statistics(pack, extractor, count=20, cache=tmp_path).fingerprint,
        reference_statistics(pack, tiny_extractor(seed=1), cache=tmp_path).fingerprint,
        reference_statistics(pack, replace(extractor, name="other"), cache=tmp_path).fingerprint,
        reference_statistics(pack_of(tmp_path, noise(40, seed=1), "b"), extractor, cache=tmp_path).fingerprint,
    }
    assert len(prints) == 5


def test_some_of_the_images_are_drawn_from_all_of_them_and_always_the_same(tmp_path: Path) -> None:
    images, extractor = np.sort(noise(200), axis=0), tiny_extractor()  # in an order, as data sets often are
    got = reference_statistics(images, extractor, count=30, cache=tmp_path / "a")
    again = reference_statistics(images, extractor, count=30, cache=tmp_path / "b")
    assert same(got, again)
    places = torch.cdist(got.features, extractor(images).features).argmin(1)
    assert places.tolist() == sorted(set(places.tolist()))
    assert places.min() < 40
    assert places.max() > 160


def test_more_than_there_are_is_all_of_them(tmp_path: Path) -> None:
    images, extractor = noise(30), tiny_extractor()
    all_of_them = reference_statistics(images, extractor, cache=tmp_path)
    assert reference_statistics(images, extractor, count=500, cache=tmp_path).fingerprint == all_of_them.fingerprint


def test_a_folder_and_an_array_are_sources_too(tmp_path: Path) -> None:
    images, extractor = noise(20), tiny_extractor()
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index:02}.png")
    folder = reference_statistics(tmp_path, extractor, cache=tmp_path / "cache")
    pack = reference_statistics(pack_of(tmp_path / "packs", images), extractor, cache=tmp_path / "cache")
    by_path = reference_statistics(tmp_path / "packs" / "noise.arrow", extractor, cache=tmp_path / "cache")
    assert same(folder, pack)
    assert by_path.fingerprint == pack.fingerprint != folder.fingerprint
    Image.fromarray(images[0]).save(tmp_path / "05.png")
    changed = reference_statistics(tmp_path, extractor, cache=tmp_path / "cache")
    assert changed.fingerprint != folder.fingerprint


@pytest.mark.parametrize("content", [b"", b"12345678nonsense", None])
def test_a_damaged_cache_is_computed_anew_with_a_warning(tmp_path: Path, content: bytes | None) -> None:
    images, extractor = noise(30), tiny_extractor()
    first = reference_statistics(images, extractor, cache=tmp_path)
    path = tmp_path / "references" / f"{first.fingerprint}.safetensors"
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.warns(DegasWarning, match="is damaged .* and is computed anew"):
        again = reference_statistics(images, extractor, cache=tmp_path)
    assert same(first, again)
    assert same(first, reference_statistics(images, extractor, cache=tmp_path))


def test_a_failure_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image"):
        reference_statistics(tmp_path, tiny_extractor(), cache=tmp_path / "cache")
    assert not list((tmp_path / "cache" / "references").glob("*.safetensors"))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(InputError, match=f"got {count}.*6.*real"):
        reference_statistics(noise(30), tiny_extractor(), count=count, cache=tmp_path)
