"""SN-GAN (Miyato et al. 2018): hinge loss, a critic whose layers have spectral norm 1."""

import torch

from degas_ray.config import TrainConfig
from degas_ray.gan.critic import Critic
from degas_ray.gan.frameworks.base import RESNET_SCHEDULE, Batch, Framework, Terms, mean_score_loss
from degas_ray.gan.terms import classification, hinge, real_and_fake


def critic_loss(critic: Critic, batch: Batch, config: TrainConfig, noise: torch.Generator) -> Terms:
    """E[max(0, 1 - D(real))] + E[max(0, 1 + D(fake))], and the classifier's loss on real images."""
    # One pass, so one power iteration a step, as in the paper.
    real, fake = real_and_fake(critic, batch.real, batch.fake, None)
    return {"hinge": hinge(real.score, fake.score), **classification(real, batch.labels, config.auxiliary_critic)}


SNGAN = Framework(
    name="sngan",
    source="Miyato et al. 2018, Spectral Normalization for Generative Adversarial Networks",
    critic_loss=critic_loss,
    generator_loss=mean_score_loss,
    spectral_norm=True,
    pool="sum",
    presets={"sngan-paper": {**RESNET_SCHEDULE, "framework": "sngan", "width": 256, "steps": 50_000}},
)
