"""R3GAN (Huang et al. 2024): a relativistic loss of pairs, with zero-centred gradient penalties on both sides.

From its paper: the loss, both penalties, one critic step, no dropout and no spectral norm, schedules for the rate, the
penalty's weight and Adam's beta2, averaged weights. Ours: the networks are this project's, not the paper's; classes are
learnt by the auxiliary classifier, as in the other frameworks.
"""

import torch
import torch.nn.functional as F

from degas_ray.config import TrainConfig
from degas_ray.gan.critic import Critic
from degas_ray.gan.frameworks.base import RESNET_SCHEDULE, Batch, Fakes, Framework, Terms
from degas_ray.gan.group import normal_like
from degas_ray.gan.slopes import scores_and_slopes
from degas_ray.gan.terms import classification, rows

_STEP = 0.01  # length scale of the finite difference of the approximate penalty (Lin et al. 2025, Seaweed-APT)


def critic_loss(critic: Critic, batch: Batch, config: TrainConfig, noise: torch.Generator) -> Terms:
    """E[softplus(D(fake) - D(real))] + gamma / 2 (E||dD/dreal||^2 + E||dD/dfake||^2), and the classifier's loss."""
    images, count = torch.cat([batch.real, batch.fake]), len(batch.real)
    if config.penalty == "exact":
        output, slopes = scores_and_slopes(critic, images, None)
        squared = slopes.square().sum((1, 2, 3))
    else:
        output = critic(images)
        moved = critic(images + _STEP * normal_like(images, noise))
        squared = ((moved.score - output.score) / _STEP).square()
    real, fake = rows(output, 0, count), rows(output, count, len(images))
    gamma = config.gamma if batch.gamma is None else batch.gamma
    return {
        "relativistic": F.softplus(fake.score - real.score).mean(),
        "penalty": gamma / 2 * (squared[:count].mean() + squared[count:].mean()),
        **classification(real, batch.labels, config.auxiliary_critic),
    }


def generator_loss(critic: Critic, fakes: Fakes, config: TrainConfig, noise: torch.Generator) -> Terms:
    """E[softplus(D(real) - D(fake))] over pairs of one class, and the classifier's loss."""
    assert fakes.real is not None, "the trainer pairs images for a framework that asks for it"
    with torch.no_grad():
        real = critic(fakes.real).score
    output = critic(fakes.images)
    return {
        "adversarial": F.softplus(real - output.score).mean(),
        **classification(output, fakes.labels, config.auxiliary_generator),
    }


R3GAN = Framework(
    name="r3gan",
    source="Huang et al. 2024, The GAN is dead; long live the GAN! A Modern Baseline GAN",
    critic_loss=critic_loss,
    generator_loss=generator_loss,
    pairs=True,
    presets={
        # CIFAR-10, for the 20 million images over which the paper's schedules move. Averaging there begins at nothing
        # and ends at a half-life of 5 million images; here it has that half-life from the start.
        "r3gan-paper": {
            **RESNET_SCHEDULE,
            "framework": "r3gan",
            "critic_steps": 1,
            "batch": 512,
            "generator_batch": 512,
            "steps": 39_063,
            "decay": "cosine",
            "decay_to": 0.25,
            "gamma": 0.05,
            "gamma_end": 0.005,
            "betas": (0.0, 0.9),
            "beta2_end": 0.99,
            "ema": 0.99993,
            "auxiliary_critic": 1.0,
            "auxiliary_generator": 0.1,
        }
    },
)
