"""What every extractor must do. A new one joins by adding a way to load it to LOADERS."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from standin_networks import write_graph

from degas_ray.errors import InputError
from degas_ray.scores import EXTRACTORS, Extractor, load_extractor
from degas_ray.scores.networks import efficientnet_lite0_path, resize


def _inception(folder: Path) -> Extractor:
    """Load the real code on a stand-in of the real file, which no machine without a network has."""
    path = folder / "inception-2015-12-05.pt"
    write_graph(path)
    return load_extractor("inception", folder, weights=path)


LOADERS: dict[str, Callable[[Path], Extractor]] = {
    "inception": _inception,
    "efficientnet-lite0": lambda folder: load_extractor("efficientnet-lite0", folder),
}


@pytest.fixture(scope="module", params=sorted(LOADERS))
def extractor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    return LOADERS[request.param](tmp_path_factory.mktemp("weights"))


def noise(count: int, height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_every_extractor_is_here() -> None:
    assert set(LOADERS) == set(EXTRACTORS)


def test_features_and_logits_have_the_promised_form(extractor: Extractor) -> None:
    got = extractor(noise(3))
    assert got.features.shape == (3, extractor.dim)
    assert got.logits.shape == (3, extractor.classes)
    for tensor in (got.features, got.logits):
        assert tensor.dtype == torch.float32
        assert tensor.device.type == "cpu"
        assert not tensor.requires_grad
        assert tensor.isfinite().all()
    assert len(got) == 3


def test_features_tell_images_apart_and_keep_their_order(extractor: Extractor) -> None:
    images = noise(4)
    forward = extractor(images).features
    backward = extractor(images[::-1]).features
    torch.testing.assert_close(backward.flip(0), forward, rtol=1e-4, atol=1e-4)
    assert torch.cdist(forward, forward).fill_diagonal_(1).min() > 1e-3


def test_same_images_give_the_same_bits(extractor: Extractor) -> None:
    images = noise(3)
    assert torch.equal(extractor(images).features, extractor(images).features)


def test_an_image_does_not_depend_on_its_company(extractor: Extractor) -> None:
    images = noise(37)  # more than one chunk
    together = extractor(images)
    alone = extractor(images[35:36])
    torch.testing.assert_close(together.features[35:36], alone.features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together.logits[35:36], alone.logits, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 8), (33, 57), (320, 310)])
def test_any_size_goes_in(extractor: Extractor, height: int, width: int) -> None:
    assert extractor(noise(1, height, width)).features.isfinite().all()


def test_no_images_give_no_features(extractor: Extractor) -> None:
    got = extractor(noise(0))
    assert got.features.shape == (0, extractor.dim)
    assert got.logits.shape == (0, extractor.classes)


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 32, 32, 3), np.float32), np.zeros((2, 3, 32, 32), np.uint8), np.zeros((32, 32, 3), np.uint8)],
)
def test_other_arrays_are_refused_with_what_they_are(extractor: Extractor, images: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"expected uint8 \[N, height, width, 3\]") as caught:
        extractor(images)
    assert str(list(images.shape)) in str(caught.value)


def test_images_may_be_read_only_and_stay_as_they_are(extractor: Extractor, recwarn: pytest.WarningsRecorder) -> None:
    images = noise(2)
    before = images.copy()
    images.flags.writeable = False
    extractor(images)
    assert np.array_equal(images, before)
    assert not [warning for warning in recwarn if "writ" in str(warning.message)]


def test_embed_takes_images_of_its_own_size(extractor: Extractor) -> None:
    images = noise(2)
    resized = resize(torch.tensor(images).permute(0, 3, 1, 2), extractor.network.size)
    torch.testing.assert_close(extractor._run(resized)[0], extractor(images).features, rtol=1e-4, atol=1e-4)


def test_its_network_is_frozen_and_torch_is_left_alone(extractor: Extractor) -> None:
    before = torch.is_grad_enabled(), torch.get_num_threads(), torch.random.get_rng_state()
    extractor(noise(1))
    assert not extractor.network.training
    assert not any(parameter.requires_grad for parameter in extractor.network.parameters())
    assert (torch.is_grad_enabled(), torch.get_num_threads()) == before[:2]
    assert torch.equal(torch.random.get_rng_state(), before[2])


def test_it_says_what_it_is(extractor: Extractor) -> None:
    assert extractor.name in EXTRACTORS
    assert len(extractor.weights_hash) == 16
    assert int(extractor.weights_hash, 16)
    assert extractor.resizer == f"clean-bicubic-{extractor.network.size}"


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    digest = write_graph(tmp_path / "a.pt")
    assert load_extractor("inception", tmp_path, weights=tmp_path / "a.pt").weights_hash == digest[:16]
    shipped = hashlib.sha256(efficientnet_lite0_path().read_bytes()).hexdigest()
    assert load_extractor("efficientnet-lite0", tmp_path).weights_hash == shipped[:16]
