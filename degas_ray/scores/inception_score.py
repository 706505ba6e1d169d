"""The inception score: confident in each image, diverse over all (Salimans et al. 2016)."""

import numpy as np
import torch
from torch import Tensor

from degas_ray.errors import InputError


def inception_score(probabilities: Tensor, splits: int = 10) -> tuple[float, float]:
    """Return mean and standard deviation over splits of ``exp(mean KL(p(y|x) || p(y)))``.

    Between 1 and the number of classes. Splits are consecutive, so images in an order (by class, say) must be shuffled.

    Args:
        probabilities: ``[N, K]``, rows adding up to 1.
        splits: Parts, each with its own ``p(y)``.

    Raises:
        InputError: Fewer images than splits.
    """
    count = len(probabilities)
    if count < splits:
        raise InputError(
            f"{splits} splits need at least as many images, got {count}; raise scores.samples or lower scores.splits"
        )
    scores = []
    for split in range(splits):
        part = probabilities[split * count // splits : (split + 1) * count // splits].double()
        marginal = part.mean(0, keepdim=True)
        divergence = (torch.xlogy(part, part) - torch.xlogy(part, marginal)).sum(1)
        scores.append(divergence.mean().exp().item())
    return float(np.mean(scores)), float(np.std(scores))
