"""Loss terms against numbers worked out with NumPy."""

import numpy as np
import pytest
import torch

from degas_ray.gan.critic import Output
from degas_ray.gan.terms import classification, consistency, disagreement, hinge


def outputs(seed: int, count: int = 5, width: int = 7) -> tuple[Output, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score, features = rng.normal(size=count), rng.normal(size=(count, width))
    return Output(torch.from_numpy(score), torch.from_numpy(features), None), score, features


@pytest.mark.parametrize("margin", [0.0, 3.0])
def test_consistency_by_hand(margin: float) -> None:
    first, score1, features1 = outputs(1)
    second, score2, features2 = outputs(2)
    per_image = []
    for d1, d2, f1, f2 in zip(score1, score2, features1, features2, strict=True):
        distance = 2 * (d1 - d2) ** 2 + 2 * 0.1 * sum((a - b) ** 2 for a, b in zip(f1, f2, strict=True)) / len(f1)
        per_image.append(max(distance - margin, 0))
    ours = consistency(first, second, weight=2, features=0.1, margin=margin)
    assert ours.item() == pytest.approx(sum(per_image) / len(per_image), rel=1e-12)
    assert 0 < sum(value > 0 for value in per_image) <= len(per_image)


def test_consistency_of_a_known_pair() -> None:
    first = Output(torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 1.0], [0.0, 0.0]]), None)
    second = Output(torch.tensor([0.0, 0.0]), torch.tensor([[1.0, 3.0], [0.0, 0.0]]), None)
    # Image 1: 2 * 1 + 0.2 * (0 + 4) / 2 = 2.4; image 2: 0.
    assert consistency(first, second, weight=2, features=0.1, margin=0).item() == pytest.approx(1.2)


def test_hinge_of_known_scores() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0])
    # Real: (0 + 0.5 + 2) / 3; generated: (0 + 1) / 2.
    assert hinge(real, fake).item() == pytest.approx(2.5 / 3 + 0.5)


def test_disagreement_of_known_scores() -> None:
    # Two images, three critics: variances 2/3 and 0.
    assert disagreement(torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])).tolist() == pytest.approx([2 / 3, 0])
    assert disagreement(torch.tensor([[1.0, 5.0]])).tolist() == [0, 0]


def test_classification_is_a_weighted_cross_entropy() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 3))
    labels = np.array([0, 2, 1, 1])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(probabilities[range(4), labels]).mean()
    output = Output(torch.zeros(4), torch.zeros(4, 2), torch.from_numpy(logits))
    terms = classification(output, torch.from_numpy(labels), 0.1)
    assert terms["classification"].item() == pytest.approx(0.1 * expected, rel=1e-12)
    assert classification(output, None, 1.0) == {}
    assert classification(output._replace(logits=None), torch.from_numpy(labels), 1.0) == {}
