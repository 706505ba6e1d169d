"""CAGAN (Ni et al. 2018): many critics, each a dropout mask of one network, trained to agree on what is real.

From its paper: WGAN-GP's training; critics sampled by dropout; they are made consistent on real images and inconsistent
on generated ones, and the generator makes images on which they are consistent. Ours, because the paper's text is all
that we have: consistency is the variance of the critics' scores; on each generated image it is rewarded up to 1
only, because it would otherwise be unbounded; its weight is CT-GAN's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from degas_ray.config import TrainConfig
from degas_ray.gan.critic import Critic, Forward, Output
from degas_ray.gan.frameworks.base import RESNET_SCHEDULE, Batch, Fakes, Framework, Terms
from degas_ray.gan.terms import classification, disagreement, gradient_penalty, rows

_ENOUGH = 1.0


def critic_loss(critic: Critic, batch: Batch, config: TrainConfig, noise: torch.Generator) -> Terms:
    """WGAN-GP's loss of the mean critic + weight * (E[variance on real] + E[max(0, 1 - variance on generated)])."""
    count = len(batch.real)
    output, scores = _judge(critic, torch.cat([batch.real, batch.fake]), config, noise)
    real, fake = scores[:, :count], scores[:, count:]
    spread = disagreement(real).mean() + F.relu(_ENOUGH - disagreement(fake)).mean()
    return {
        "wasserstein": fake.mean() - real.mean(),
        "penalty": config.gradient_penalty * gradient_penalty(critic, batch.real, batch.fake, noise),
        "consistency": config.consistency * spread,
        **classification(rows(output, 0, count), batch.labels, config.auxiliary_critic),
    }


def generator_loss(critic: Critic, fakes: Fakes, config: TrainConfig, noise: torch.Generator) -> Terms:
    """-E[D(fake)] of the mean critic + weight * variance, and the classifier's loss."""
    output, scores = _judge(critic, fakes.images, config, noise)
    return {
        "adversarial": -scores.mean(),
        "consistency": config.consistency * disagreement(scores).mean(),
        **classification(rows(output, 0, len(fakes.images)), fakes.labels, config.auxiliary_generator),
    }


def _judge(critic: Critic, images: Tensor, config: TrainConfig, noise: torch.Generator) -> tuple[Output, Tensor]:
    """Return what every critic says of N images, and the scores [critics, N]."""
    how = Forward(noise)
    trunk = critic.trunk(images, how)
    output = critic.head(trunk.repeat(config.critics, 1, 1, 1), how)
    return output, output.score.view(config.critics, len(images))


CAGAN = Framework(
    name="cagan",
    source="Ni et al. 2018, CAGAN: Consistent Adversarial Training Enhanced GANs",
    critic_loss=critic_loss,
    generator_loss=generator_loss,
    dropout=True,
    presets={
        # WGAN-GP's numbers, as the paper trains; critics and weight are ours.
        "cagan-wgan-gp": {
            **RESNET_SCHEDULE,
            "framework": "cagan",
            "gradient_penalty": 10.0,
            "critics": 2,
            "consistency": 2.0,
            "auxiliary_critic": 1.0,
            "auxiliary_generator": 0.1,
        }
    },
)
