"""Scores as a whole: parity with clean-fid on folders, what they do to damaged images, protocol, memory."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid import fid as cleanfid_fid
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import make_resizer
from PIL import Image, ImageFilter
from standin_networks import TinyNetwork, tiny_extractor, write_graph
from torch import Tensor, nn

from degas_ray.data import Pack, prepare
from degas_ray.errors import InputError
from degas_ray.scores import (
    Extractor,
    Scores,
    extractors,
    frechet_distance,
    image_batches,
    load_extractor,
    moments,
    protocol,
    reference_statistics,
    score,
)
from degas_ray.scores.extractors import WeightsFile
from degas_ray.scores.networks import Network

FEATURES = 40  # of clean-fid's slow matrix root, the first of many


class _First(Network):
    """Keeps the first features of another network."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.size, self.dim, self.classes = network, network.size, FEATURES, network.classes

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = self.network(images)
        return features[:, :FEATURES], logits


def first_features(extractor: Extractor) -> Extractor:
    return Extractor(extractor.name, extractor.weights_hash, _First(extractor.network).eval(), extractor.device)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return prepare("digits", tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    return load_extractor("efficientnet-lite0", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def embedded(digits: Pack, lite0: Extractor) -> Tensor:
    """The first features of all digits; all 1280 tell the same and cost a second a distance."""
    return first_features(lite0)(digits.images).features


def two_folders(folder: Path, count: int) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    for name, spread in (("real", 40), ("fake", 60)):
        (folder / name).mkdir()
        for index in range(count):
            pixels = np.clip(rng.normal(128, spread, (20, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index:04}.png")
    return folder / "real", folder / "fake"


def scored(fake: Path, real: Path, extractor: Extractor, cache: Path) -> Scores:
    return score(image_batches(fake), extractor, reference_statistics(real, extractor, cache=cache))


def test_folders_score_as_in_clean_fid_with_its_own_inception_wrapper(tmp_path: Path) -> None:
    real, fake = two_folders(tmp_path, 60)
    write_graph(tmp_path / "inception-2015-12-05.pt")
    theirs = InceptionV3W(str(tmp_path), download=False)
    expected = cleanfid_fid.compute_fid(
        str(fake),
        str(real),
        custom_feat_extractor=lambda images: theirs(images.contiguous())[:, :FEATURES],
        device="cpu",
        num_workers=0,
        verbose=False,
    )
    ours = first_features(load_extractor("inception", tmp_path, weights=tmp_path / "inception-2015-12-05.pt"))
    assert expected > 0
    assert scored(fake, real, ours, tmp_path).fid == pytest.approx(expected, rel=1e-4)


def test_folders_score_as_in_clean_fid_on_efficientnet(tmp_path: Path, lite0: Extractor) -> None:
    real, fake = two_folders(tmp_path, 60)
    extractor = first_features(lite0)
    expected = cleanfid_fid.compute_fid(
        str(fake),
        str(real),
        custom_feat_extractor=lambda resized: extractor._run(resized)[0],
        custom_fn_resize=make_resizer("PIL", False, "bicubic", (64, 64)),
        device="cpu",
        num_workers=0,
        verbose=False,
    )
    got = scored(fake, real, extractor, tmp_path).fid
    assert expected > 1
    assert got == pytest.approx(expected, abs=1e-3)


def test_halves_of_the_real_images_come_closer_as_they_grow(embedded: Tensor) -> None:
    order = np.random.default_rng(0).permutation(len(embedded))

    def halves(count: int) -> float:
        return frechet_distance(*moments(embedded[order[:count]]), *moments(embedded[order[-count:]]))

    distances = [halves(count) for count in (60, 200, 800)]
    assert distances[0] > 2 * distances[1] > 4 * distances[2] > 0


def test_damage_shows_and_grows(digits: Pack, lite0: Extractor, tmp_path: Path) -> None:
    real = reference_statistics(digits, lite0, count=150, cache=tmp_path)
    sample = digits.images[np.random.default_rng(1).permutation(len(digits))[:100]]

    def distance(images: np.ndarray) -> float:
        return score([images], lite0, real).fid

    def noisy(level: float) -> np.ndarray:
        added = sample + np.random.default_rng(2).normal(0, level, sample.shape)
        return added.clip(0, 255).astype(np.uint8)

    def blurred(radius: float) -> np.ndarray:
        kernel = ImageFilter.GaussianBlur(radius)
        return np.stack([np.asarray(Image.fromarray(image).filter(kernel)) for image in sample])

    whole = distance(sample)
    noise = [whole] + [distance(noisy(level)) for level in (5, 20, 60)]
    blur = [whole] + [distance(blurred(radius)) for radius in (0.7, 1.5, 4.0)]
    assert noise == sorted(noise)
    assert blur == sorted(blur)
    assert noise[1] > 1.1 * noise[0]
    assert blur[1] > 1.1 * blur[0]


def test_dropped_classes_show_and_grow(digits: Pack, embedded: Tensor) -> None:
    assert digits.labels is not None
    real = moments(embedded)
    rng = np.random.default_rng(3)
    distances = []
    for classes in (10, 7, 4, 1):
        chosen = rng.choice(np.flatnonzero(digits.labels < classes), 170, replace=False)
        distances.append(frechet_distance(*moments(embedded[chosen]), *real))
    assert distances == sorted(distances)
    assert distances[3] > 2 * distances[0]


def noise(count: int, seed: int = 0, size: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_a_score_says_how_it_was_measured(tmp_path: Path) -> None:
    extractor = tiny_extractor()
    real = reference_statistics(noise(50), extractor, count=40, cache=tmp_path)
    got = score([noise(30, 1), noise(5, 2)], extractor, real, splits=7, seed=3, protocol={"bn": "batch"})
    said = got.protocol
    assert (said.extractor, said.weights_hash, said.resizer) == ("tiny", "0" * 16, "clean-bicubic-16")
    assert (said.n_fake, said.n_real, said.splits, said.seed) == (35, 40, 7, 3)
    assert (said.bn, said.checkpoint, said.reference) == ("batch", "unknown", real.fingerprint)
    assert got.sentence().endswith("(tiny features, 35 samples against 40 real images)")


def test_scores_do_not_depend_on_how_images_are_batched(tmp_path: Path) -> None:
    extractor, images = tiny_extractor(), noise(45, 1)
    real = reference_statistics(noise(50), extractor, cache=tmp_path)
    one = score([images], extractor, real).metrics()
    many = score(iter([images[:1], images[1:30], images[30:]]), extractor, real).metrics()
    assert many == pytest.approx(one, rel=1e-4)
    assert score([images], extractor, real).metrics() == one


def test_the_real_images_against_themselves(tmp_path: Path) -> None:
    extractor, images = tiny_extractor(), noise(60)
    got = score(image_batches(images), extractor, reference_statistics(images, extractor, cache=tmp_path))
    assert got.fid == pytest.approx(0, abs=1e-6)
    assert (got.precision, got.recall, got.coverage) == (1, 1, 1)
    assert got.kid < 0  # unbiased only for independent samples: these share every image
    assert 1 <= got.is_mean <= 10


def test_only_the_published_inception_s_distance_is_called_fid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "graph.pt"
    digest = write_graph(path)
    extractor = first_features(load_extractor("inception", tmp_path, weights=path))
    real = reference_statistics(noise(20), extractor, cache=tmp_path)
    assert score([noise(20, 1)], extractor, real).sentence().startswith("Fréchet distance")
    published = WeightsFile("inception-2015-12-05.pt", "http://127.0.0.1:9/", digest)
    for module in (extractors, protocol):
        monkeypatch.setattr(module, "INCEPTION", published)
    assert score([noise(20, 1)], extractor, real).sentence().startswith("FID ")


def test_images_do_not_pile_up(tmp_path: Path) -> None:
    extractor = tiny_extractor()
    real = reference_statistics(noise(50), extractor, cache=tmp_path)
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def stream() -> Iterator[np.ndarray]:
        nonlocal most
        for seed in range(30):
            images = noise(10, seed)
            alive.append(weakref.ref(images))
            most = max(most, sum(reference() is not None for reference in alive))
            yield images

    assert score(stream(), extractor, real).protocol.n_fake == 300
    assert most <= 2


class _Elsewhere(TinyNetwork):
    size = 17


@pytest.mark.parametrize("other", [tiny_extractor(seed=1), tiny_extractor(name="other")])
def test_reference_and_samples_must_come_from_one_extractor(tmp_path: Path, other: Extractor) -> None:
    real = reference_statistics(noise(20), tiny_extractor(), cache=tmp_path)
    with pytest.raises(InputError, match="use one extractor for both"):
        score([noise(20)], other, real)
    resized = Extractor("tiny", "0" * 16, _Elsewhere().eval(), torch.device("cpu"))
    with pytest.raises(InputError, match="use one extractor for both"):
        score([noise(20)], resized, real)


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    extractor = tiny_extractor()
    real = reference_statistics(noise(20), extractor, cache=tmp_path)
    with pytest.raises(InputError, match="there is no image to score"):
        score([], extractor, real)
    with pytest.raises(InputError, match="got 5 images, but a score needs 6"):
        score([noise(5)], extractor, real, splits=2)
    with pytest.raises(InputError, match="10 splits need at least as many images, got 7"):
        score([noise(7)], extractor, real)
    with pytest.raises(InputError, match="only bn, checkpoint and resized are not known"):
        score([noise(20)], extractor, real, protocol={"n_fake": "9"})


def test_a_network_that_breaks_is_not_scored(tmp_path: Path) -> None:
    extractor = tiny_extractor()
    real = reference_statistics(noise(20), extractor, cache=tmp_path)
    nn.init.constant_(extractor.network.last.bias, torch.nan)
    with pytest.raises(InputError, match="features that are not numbers; its weights are damaged"):
        score([noise(20)], extractor, real)
