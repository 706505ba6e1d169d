"""The inception score at its extremes, by hand, and against torch-fidelity."""

import math

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from degas_ray.errors import InputError
from degas_ray.scores import inception_score


def test_one_class_scores_one() -> None:
    mean, std = inception_score(torch.eye(10)[[3] * 50], splits=5)
    assert mean == pytest.approx(1)
    assert std == pytest.approx(0)


@pytest.mark.parametrize("classes", [2, 10, 1008])
def test_all_classes_alike_and_certain_score_their_number(classes: int) -> None:
    mean, std = inception_score(torch.eye(classes).repeat(3, 1), splits=3)
    assert mean == pytest.approx(classes)
    assert std == pytest.approx(0, abs=1e-9)


def test_never_certain_scores_one() -> None:
    assert inception_score(torch.full((40, 8), 1 / 8), splits=4)[0] == pytest.approx(1)


def test_by_hand() -> None:
    # rows (0.9, 0.1) and (0.5, 0.5): the marginal is (0.7, 0.3)
    first = 0.9 * math.log(0.9 / 0.7) + 0.1 * math.log(0.1 / 0.3)
    second = 0.5 * math.log(0.5 / 0.7) + 0.5 * math.log(0.5 / 0.3)
    got = inception_score(torch.tensor([[0.9, 0.1], [0.5, 0.5]], dtype=torch.float64), splits=1)
    assert got == (pytest.approx(math.exp((first + second) / 2)), 0)


def test_mean_and_std_are_over_splits() -> None:
    one_class, two_classes = torch.eye(2)[[0] * 4], torch.eye(2)[[0, 1, 0, 1]]
    assert inception_score(torch.cat([one_class, two_classes]), splits=2) == (pytest.approx(1.5), pytest.approx(0.5))


@pytest.mark.parametrize(("count", "splits"), [(200, 10), (203, 10), (57, 7)])
def test_parity_with_torch_fidelity(count: int, splits: int) -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 3, (count, 20)))
    theirs = isc_features_to_metric(logits, splits=splits, shuffle=False)
    mean, std = inception_score(logits.softmax(1), splits)
    assert mean == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    assert std == pytest.approx(theirs["inception_score_std"], rel=1e-9)


def test_more_splits_than_images_is_refused() -> None:
    with pytest.raises(InputError, match="10 splits need at least as many images, got 9"):
        inception_score(torch.eye(9), splits=10)
