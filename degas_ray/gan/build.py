"""Networks from names and settings, with their weights drawn from a seed."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from degas_ray.config import TrainConfig
from degas_ray.gan.critic import Critic
from degas_ray.gan.frameworks import FRAMEWORKS
from degas_ray.gan.handmade import HANDMADE, DcganGenerator, ResnetGenerator
from degas_ray.gan.init import initialise
from degas_ray.space import Generator, Genotype, find_genotype
from degas_ray.space.generator import check_sizes


def build_generator(
    what: str | Genotype, config: TrainConfig, resolution: int, num_classes: int = 0, *, seed: int = 0
) -> nn.Module:
    """Build a generator.

    Args:
        what: A genotype, anything that :func:`degas_ray.space.find_genotype` takes, ``resnet`` or ``dcgan``.
        config: Its ``width``, ``latent_dim`` and ``scale_latent`` count.
        resolution: Height and width of an image; a multiple of 8.
        num_classes: Classes of a conditional generator; 0 for an unconditional one.
        seed: Of the weights.

    Raises:
        InputError: For a name, text or size that means no generator.
    """
    sizes = {
        "width": config.width,
        "latent_dim": config.latent_at(resolution),
        "resolution": resolution,
        "num_classes": num_classes,
    }
    if isinstance(what, str) and what not in HANDMADE:
        what = find_genotype(what)
    module = assemble(what, **sizes)
    initialise(module, seed)
    return module


def assemble(
    what: str | Genotype, *, width: int, latent_dim: int, resolution: int, num_classes: int = 0
) -> Generator | ResnetGenerator | DcganGenerator:
    """Build a generator of the given sizes, with torch's own initial weights.

    Args:
        what: A genotype, or a name in ``HANDMADE``.
        width: Channels.
        latent_dim: Length of a latent vector.
        resolution: A multiple of 8.
        num_classes: 0 for an unconditional one.

    Raises:
        InputError: For sizes that no generator can have.
    """
    check_sizes(width, latent_dim, resolution)
    sizes = {"width": width, "latent_dim": latent_dim, "resolution": resolution, "num_classes": num_classes}
    return HANDMADE[what](**sizes) if isinstance(what, str) else Generator(what, **sizes)


def name_of(module: nn.Module) -> str:
    """Return the name or genotype text from which :func:`build_generator` makes a module of this kind."""
    if isinstance(module, Generator):
        return str(module.genotype)
    return next(name for name, kind in HANDMADE.items() if type(module) is kind)


def build_critic(config: TrainConfig, resolution: int, num_classes: int = 0, *, seed: int = 0) -> Critic:
    """Build the critic that the configured framework needs, with weights from ``seed``."""
    framework = FRAMEWORKS[config.framework]
    critic = Critic(
        resolution, width=config.critic_width, num_classes=num_classes, dropout=framework.dropout, pool=framework.pool
    )
    initialise(critic, seed)
    if framework.spectral_norm:
        with torch.random.fork_rng(devices=[]):  # the first singular vectors are drawn at random
            torch.manual_seed(seed)
            for module in critic.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    spectral_norm(module)
    return critic
