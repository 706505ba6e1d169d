"""What a framework is: two losses, the critic they need, and the settings of their source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from degas_ray.config import TrainConfig
from degas_ray.gan.critic import Critic
from degas_ray.gan.terms import classification

# Weighted scalars by name; their sum is the loss. Each is a mean over images, so that workers can share a batch.
Terms = dict[str, Tensor]


class Batch(NamedTuple):
    """What a critic step sees."""

    real: Tensor  # [N, 3, R, R]
    fake: Tensor  # [N, 3, R, R], without a graph; made for the same labels
    labels: Tensor | None  # [N]
    gamma: Tensor | None = None  # [], where it changes from step to step: a number would be fixed in a captured graph


class Fakes(NamedTuple):
    """What a generator step sees."""

    images: Tensor  # [M, 3, R, R], with the generator's graph
    labels: Tensor | None  # [M]
    real: Tensor | None = None  # [M, 3, R, R], of the same labels; for a framework with ``pairs``


CriticLoss = Callable[[Critic, Batch, TrainConfig, torch.Generator], Terms]
GeneratorLoss = Callable[[Critic, Fakes, TrainConfig, torch.Generator], Terms]


@dataclass(frozen=True)
class Framework:
    """An adversarial objective.

    Args:
        spectral_norm: Whether the critic's weights are divided by their largest singular value.
        pairs: Whether each generated image of a generator step is compared with a real one.
    """

    name: str
    source: str
    critic_loss: CriticLoss
    generator_loss: GeneratorLoss
    dropout: bool = False
    spectral_norm: bool = False
    pool: Literal["mean", "sum"] = "mean"
    pairs: bool = False
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


# The schedule of WGAN-GP's CIFAR-10 code, which CT-GAN and DEGAS keep.
RESNET_SCHEDULE: Mapping[str, Any] = {
    "width": 128,
    "critic_width": 128,
    "latent_dim": 128,
    "steps": 100_000,
    "critic_steps": 5,
    "batch": 64,
    "generator_batch": 128,
    "lr": 2e-4,
    "critic_lr": 2e-4,
    "betas": (0.0, 0.9),
    "beta2_end": None,
    "decay": "linear",
    "decay_to": 0.0,
    "ema": 0.0,
    "clip": 0.0,
}


def mean_score_loss(critic: Critic, fakes: Fakes, config: TrainConfig, noise: torch.Generator) -> Terms:
    """-E[D(fake)], and the classifier's loss on the labels that were asked for."""
    output = critic(fakes.images)
    return {"adversarial": -output.score.mean(), **classification(output, fakes.labels, config.auxiliary_generator)}
