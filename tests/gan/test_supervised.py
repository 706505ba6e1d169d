"""A short supervised training makes the classes that it is asked for, in the eyes of a classifier of real images."""

import numpy as np
import pytest
from sklearn.svm import SVC
from torch import nn

from degas_ray.config import resolve
from degas_ray.data import Pack, prepare
from degas_ray.gan import build_generator, generate, train

RECOGNISED = 0.8


def rows(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / 255


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return prepare("digits", tmp_path_factory.mktemp("home"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_generated_digits_are_recognised_by_a_classifier_of_real_ones(digits: Pack) -> None:
    assert digits.labels is not None
    # The judge is worth something: it recognises real digits that it has not seen.
    half = len(digits) // 2
    assert SVC().fit(rows(digits.images[:half]), digits.labels[:half]).score(
        rows(digits.images[half:]), digits.labels[half:]
    ) == pytest.approx(1, abs=0.08)
    judge = SVC().fit(rows(digits.images), digits.labels)

    config = resolve(overrides={"full.supervised": True}).full
    generator = build_generator("degas-cifar10", config, digits.resolution, len(digits.classes), seed=0)
    labels = np.repeat(np.arange(10), 100)

    def recognised(made_by: nn.Module) -> float:
        images = np.concatenate(list(generate(made_by, len(labels), seed=1, labels=labels)))
        return float(judge.score(rows(images), labels))

    assert recognised(generator) < 0.25
    trained = train(config, generator, digits, seed=0).averaged
    assert trained is not None
    assert recognised(trained) >= RECOGNISED
