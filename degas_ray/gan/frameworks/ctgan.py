"""CT-GAN (Wei et al. 2018): WGAN-GP with dropout in the critic and a consistency term on real images."""

import torch

from degas_ray.config import TrainConfig
from degas_ray.gan.critic import Critic, Forward
from degas_ray.gan.frameworks.base import RESNET_SCHEDULE, Batch, Fakes, Framework, Terms
from degas_ray.gan.terms import classification, consistency, gradient_penalty, rows


def critic_loss(critic: Critic, batch: Batch, config: TrainConfig, noise: torch.Generator) -> Terms:
    """E[D(fake)] - E[D(real)] + 10 GP + 2 CT, and the classifier's loss on real images."""
    count, how = len(batch.real), Forward(noise)
    trunk = critic.trunk(torch.cat([batch.real, batch.fake]), how)
    # The second pass over real images differs from the first only after the first dropout.
    output = critic.head(torch.cat([trunk[:count], trunk]), how)
    second, first, fake = (rows(output, part * count, (part + 1) * count) for part in range(3))
    weights = {"weight": config.consistency, "features": config.consistency_features}
    return {
        "wasserstein": fake.score.mean() - first.score.mean(),
        "penalty": config.gradient_penalty * gradient_penalty(critic, batch.real, batch.fake, noise),
        "consistency": consistency(first, second, **weights, margin=config.consistency_margin),
        **classification(first, batch.labels, config.auxiliary_critic),
    }


def generator_loss(critic: Critic, fakes: Fakes, config: TrainConfig, noise: torch.Generator) -> Terms:
    """-E[D(fake)], and the classifier's loss on the labels that were asked for; dropout is on."""
    output = critic(fakes.images, Forward(noise))
    return {"adversarial": -output.score.mean(), **classification(output, fakes.labels, config.auxiliary_generator)}


_PAPER = {
    **RESNET_SCHEDULE,
    "framework": "ctgan",
    "gradient_penalty": 10.0,
    "consistency": 2.0,
    "consistency_features": 0.1,
    "consistency_margin": 0.0,
    "auxiliary_critic": 1.0,
    "auxiliary_generator": 0.1,
}
CTGAN = Framework(
    name="ctgan",
    source="Wei et al. 2018, Improving the Improved Training of Wasserstein GANs",
    critic_loss=critic_loss,
    generator_loss=generator_loss,
    dropout=True,
    presets={
        "ctgan-paper": _PAPER,
        # The DEGAS authors' released training code trains twice as long, with a weaker classifier.
        "degas-release": {**_PAPER, "steps": 200_000, "auxiliary_critic": 0.2, "auxiliary_generator": 0.02},
    },
)
