"""WGAN-GP (Gulrajani et al. 2017): the Wasserstein distance with a gradient penalty."""

import torch

from degas_ray.config import TrainConfig
from degas_ray.gan.critic import Critic
from degas_ray.gan.frameworks.base import RESNET_SCHEDULE, Batch, Framework, Terms, mean_score_loss
from degas_ray.gan.terms import classification, gradient_penalty, real_and_fake


def critic_loss(critic: Critic, batch: Batch, config: TrainConfig, noise: torch.Generator) -> Terms:
    """E[D(fake)] - E[D(real)] + 10 GP, and the classifier's loss on real images."""
    real, fake = real_and_fake(critic, batch.real, batch.fake, None)
    return {
        "wasserstein": fake.score.mean() - real.score.mean(),
        "penalty": config.gradient_penalty * gradient_penalty(critic, batch.real, batch.fake, noise),
        **classification(real, batch.labels, config.auxiliary_critic),
    }


WGAN_GP = Framework(
    name="wgan-gp",
    source="Gulrajani et al. 2017, Improved Training of Wasserstein GANs",
    critic_loss=critic_loss,
    generator_loss=mean_score_loss,
    presets={
        "wgan-gp-paper": {
            **RESNET_SCHEDULE,
            "framework": "wgan-gp",
            "gradient_penalty": 10.0,
            "auxiliary_critic": 1.0,
            "auxiliary_generator": 0.1,
        }
    },
)
