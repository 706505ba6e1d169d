"""The second judge: what it says of known sets of images, how it is kept, and that it never sees what it judges by."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from standin_networks import tiny_extractor

from degas_ray.data import Pack, prepare, split, write_pack
from degas_ray.errors import DegasWarning, InputError
from degas_ray.scores import (
    Scores,
    Second,
    classifier_of,
    frechet_distance,
    moments,
    reference_statistics,
    score,
    second_judge,
)
from degas_ray.scores.second import recognised


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def parts(home: Path) -> tuple[Pack, Pack]:
    training, held_out = split(prepare("digits", home))
    assert held_out is not None
    return training, held_out


def judged(training: Pack, home: Path, images: np.ndarray) -> Second:
    judge = second_judge(training, home)
    assert judge is not None
    watcher = judge.watch()
    for start in range(0, len(images), 100):
        watcher.see(images[start : start + 100])
    return watcher.conclude()


def unlabelled(folder: Path, count: int = 120) -> Pack:
    images = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return write_pack(folder / "noise.arrow", [(images, None)], name="noise", resolution=16)


def test_the_classifier_of_digits_is_accurate_on_images_that_it_has_not_seen(
    home: Path, parts: tuple[Pack, Pack]
) -> None:
    training, held_out = parts
    classifier = classifier_of(training, home)
    guesses = classifier.extractor(held_out.images).logits.argmax(1).numpy()
    assert classifier.accuracy == pytest.approx(np.mean(guesses == held_out.labels))
    assert classifier.accuracy > 0.98


def test_it_is_trained_once_in_a_home_and_again_where_its_file_is_damaged(tmp_path: Path) -> None:
    training, _ = split(prepare("digits", tmp_path, limit=60, resolution=8))
    steps: list[int] = []
    first = classifier_of(training, tmp_path, lambda step, _: steps.append(step))
    trained = len(steps)
    again = classifier_of(training, tmp_path, lambda step, _: steps.append(step))
    assert len(steps) == trained == steps[-1]
    assert (again.extractor.weights_hash, again.accuracy) == (first.extractor.weights_hash, first.accuracy)
    first.path.write_bytes(b"damaged")
    with pytest.warns(DegasWarning, match="trained again"):
        mended = classifier_of(training, tmp_path)
    assert mended.extractor.weights_hash == first.extractor.weights_hash


def test_other_training_images_have_a_classifier_of_their_own(tmp_path: Path) -> None:
    paths = {classifier_of(split(prepare("digits", tmp_path, limit=n))[0], tmp_path).path for n in (60, 70)}
    assert len(paths) == 2


def test_its_numbers_are_those_of_its_features(home: Path, parts: tuple[Pack, Pack]) -> None:
    training, held_out = parts
    images = training.images[:300]
    network = classifier_of(training, home).extractor
    made, real = network(images).features, network(held_out.images).features
    found = judged(training, home, images)
    assert found.kind == "classifier"
    assert found.distance == pytest.approx(frechet_distance(*moments(made), *moments(real)), rel=1e-6)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert (found.protocol.n_fake, found.protocol.n_real) == (300, 359)
    assert found.protocol.network == network.weights_hash


def test_classes_that_are_left_out_are_missed(home: Path, parts: tuple[Pack, Pack]) -> None:
    training, _ = parts
    every = judged(training, home, training.images)
    some = judged(training, home, training.images[np.isin(training.labels, [0, 1, 7])])
    assert every.numbers["recognised"] == 10
    assert some.numbers["recognised"] == 3
    assert sum(some.shares[name] for name in ("0", "1", "7")) > 0.99
    assert some.numbers["recall"] < every.numbers["recall"]
    assert some.numbers["coverage"] < every.numbers["coverage"]
    assert some.distance > every.distance


def test_noise_is_far_and_one_image_again_and_again_covers_nothing(home: Path, parts: tuple[Pack, Pack]) -> None:
    training, held_out = parts
    real = judged(training, home, training.images[:300])
    noise = np.random.default_rng(0).integers(0, 256, (300, 16, 16, 3), dtype=np.uint8)
    assert judged(training, home, noise).distance > 50 * real.distance
    copies = judged(training, home, np.repeat(held_out.images[:1], 300, 0))
    assert copies.numbers["recognised"] == 1
    assert copies.numbers["coverage"] < 0.05


def test_only_confident_predictions_make_a_class_present() -> None:
    sure, unsure = torch.tensor([9.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    logits = torch.stack([sure] * 60 + [unsure] * 40)
    shares = torch.tensor([0.5, 0.4, 0.1])
    assert recognised(logits, shares).tolist() == [True, False, False]
    # Of 100 samples 5 are more than a tenth of the second class's real share, 3 are less.
    for count, there in ((5, True), (3, False)):
        some = torch.stack([sure] * (100 - count) + [torch.tensor([0.0, 9.0, 0.0])] * count)
        assert recognised(some, shares).tolist() == [True, there, False]


def test_without_labels_patches_are_compared(tmp_path: Path) -> None:
    training, held_out = split(unlabelled(tmp_path))
    assert held_out is not None
    alike = judged(training, tmp_path, training.images)
    flat = judged(training, tmp_path, np.full((100, 16, 16, 3), 128, np.uint8))
    assert alike.kind == "patches"
    assert (alike.protocol.n_fake, alike.protocol.n_real) == (24, 24)
    assert alike.distance < flat.distance / 3
    large = np.kron(training.images, np.ones((1, 2, 2, 1), np.uint8))  # of another size: resized
    assert judged(training, tmp_path, large).distance < flat.distance


def test_the_patches_of_the_held_out_images_are_their_own(tmp_path: Path) -> None:
    training, held_out = split(unlabelled(tmp_path))
    assert held_out is not None
    order = np.random.default_rng(0).permutation(len(held_out))
    assert judged(training, tmp_path, held_out.images[order]).distance == 0


def test_a_very_small_pack_has_no_second_judge(tmp_path: Path) -> None:
    training, _ = split(prepare("digits", tmp_path, limit=49))
    assert second_judge(training, tmp_path) is None
    with pytest.raises(InputError, match="49 images here; none is held out of fewer than 50"):
        classifier_of(training, tmp_path)


def test_a_classifier_needs_labels(tmp_path: Path) -> None:
    training, _ = split(unlabelled(tmp_path))
    with pytest.raises(InputError, match="noise has no labels of two or more classes"):
        classifier_of(training, tmp_path)


def test_both_judges_see_the_same_images(home: Path, parts: tuple[Pack, Pack]) -> None:
    training, _ = parts
    extractor, images = tiny_extractor(), training.images[:200]
    reference = reference_statistics(training, extractor, count=200, cache=home / "cache")
    alone = score([images], extractor, reference)
    both = score(iter([images[:70], images[70:]]), extractor, reference, second=second_judge(training, home))
    assert both.metrics() == pytest.approx(alone.metrics(), rel=1e-4, abs=1e-6)
    assert alone.second is None
    assert both.second is not None
    assert both.second.numbers == pytest.approx(judged(training, home, images).numbers, rel=1e-4, abs=1e-6)
    assert both.recorded()["second_fid"] == both.second.distance
    assert both.protocol.hash == alone.protocol.hash


def test_scores_are_read_back_with_or_without_a_second_judge(home: Path, parts: tuple[Pack, Pack]) -> None:
    training, _ = parts
    extractor = tiny_extractor()
    reference = reference_statistics(training, extractor, count=200, cache=home / "cache")
    both = score([training.images[:100]], extractor, reference, second=second_judge(training, home))
    assert Scores.from_json(both.to_json()) == both
    old = {key: value for key, value in both.to_json().items() if key != "second"}
    assert Scores.from_json(old) == replace(both, second=None)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "jury"},
        {"kind": []},
        {"numbers": {"fid": 1.0}},
        {"shares": {"0": "half"}},
        {"protocol": {}},
        {"protocol": None},
    ],
)
def test_what_is_no_second_judge_s_scores_is_refused(home: Path, parts: tuple[Pack, Pack], change: dict) -> None:
    value = judged(parts[0], home, parts[0].images[:50]).to_json()
    with pytest.raises(InputError, match="second judge were not written by this program"):
        Second.from_json({**value, **change})
