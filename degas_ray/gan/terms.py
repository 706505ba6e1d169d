"""Terms of adversarial objectives, each a scalar with the gradient that its formula has."""

import torch
import torch.nn.functional as F
from torch import Tensor

from degas_ray.gan.critic import Critic, Forward, Output
from degas_ray.gan.group import uniform_like
from degas_ray.gan.slopes import scores_and_slopes


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, noise: torch.Generator) -> Tensor:
    """Return the mean of (||dD/dx|| - 1)^2 at points drawn between real and generated images (WGAN-GP eq. 3).

    The critic's dropout is on, as in CT-GAN.

    Args:
        real: Images [N, 3, R, R].
        fake: As many generated ones, without a graph.
    """
    share = uniform_like(real[:, :1, :1, :1].float(), noise)
    _, slope = scores_and_slopes(critic, real + share * (fake - real), noise)
    penalty: Tensor = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty


def consistency(first: Output, second: Output, *, weight: float, features: float, margin: float) -> Tensor:
    """Return CT-GAN's consistency term of two passes with their own dropout masks over the same real images (eq. 4).

    Args:
        weight: Of the whole distance (2), before the margin is taken off, as in CT-GAN's code.
        features: Share of the features' mean squared distance (0.1).
        margin: M, the distance that costs nothing.

    Returns:
        The mean over images of max(weight (D1 - D2)^2 + weight features mean_k (f1_k - f2_k)^2 - margin, 0).
    """
    distance = (first.score - second.score).square()
    distance = distance + features * (first.features - second.features).square().mean(1)
    return (weight * distance - margin).clamp_min(0).mean()


def disagreement(scores: Tensor) -> Tensor:
    """Return how far critics differ on each image [N]: the variance over critics of ``scores`` [K, N]."""
    return scores.var(0, correction=0)


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Return the hinge loss of a critic's scores [N] and [N] (SN-GAN eq. 16)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def classification(output: Output, labels: Tensor | None, weight: float) -> dict[str, Tensor]:
    """Return the auxiliary classifier's weighted cross-entropy as a term, or nothing without labels (AC-GAN)."""
    if output.logits is None or labels is None:
        return {}
    return {"classification": weight * F.cross_entropy(output.logits, labels)}


def rows(output: Output, start: int, stop: int) -> Output:
    """Return what was said of the images ``start`` to ``stop``."""
    logits = None if output.logits is None else output.logits[start:stop]
    return Output(output.score[start:stop], output.features[start:stop], logits)


def real_and_fake(critic: Critic, real: Tensor, fake: Tensor, noise: torch.Generator | None) -> tuple[Output, Output]:
    """Judge both in one pass: no part of a critic looks across images."""
    output = critic(torch.cat([real, fake]), Forward(noise))
    return rows(output, 0, len(real)), rows(output, len(real), len(real) + len(fake))
