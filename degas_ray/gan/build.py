"""Networks from names and settings, their initial weights from a seed, and their sizes."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.flop_counter import FlopCounterMode

from degas_ray.config import TrainConfig
from degas_ray.gan.critic import Critic
from degas_ray.gan.frameworks import FRAMEWORKS
from degas_ray.gan.handmade import HANDMADE, DcganGenerator, ResnetGenerator
from degas_ray.space import Generator, Genotype, count_macs, count_parameters, find_genotype
from degas_ray.space.generator import check_sizes


def initialise(module: nn.Module, seed: int) -> None:
    """Draw every weight of ``module`` anew.

    Kernels of 3x3 are uniform with a standard deviation of sqrt(4 / (fan_in + fan_out)), other weights with
    sqrt(2 / (fan_in + fan_out)); biases are 0. Scales and shifts of normalisations are left as they are.

    Args:
        seed: Any; the same seed gives the same weights on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    normalisations = {id(p) for m in module.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if id(parameter) in normalisations:
                continue
            if name.endswith("bias"):
                parameter.zero_()
            else:
                drawn = torch.empty(parameter.shape)
                limit = math.sqrt(3) * deviation(parameter)
                parameter.copy_(drawn.uniform_(-limit, limit, generator=generator))


def deviation(weight: Tensor) -> float:
    """Return the standard deviation that a weight [out, in, ...] begins with.

    Every 3x3 kernel is taken to be followed by a ReLU. The generator's last one, in those codes, is not.
    """
    fan_out, fan_in = weight.shape[:2]
    area = math.prod(weight.shape[2:])
    gain = 4 if weight.shape[2:] == (3, 3) else 2
    return math.sqrt(gain / (area * (fan_in + fan_out)))


def build_generator(
    what: str | Genotype, config: TrainConfig, resolution: int, num_classes: int = 0, *, seed: int = 0
) -> nn.Module:
    """Build a generator.

    Args:
        what: A genotype, anything that :func:`degas_ray.space.find_genotype` takes, ``resnet`` or ``dcgan``.
        config: Its ``width``, ``latent_dim`` and ``scale_latent`` count.
        resolution: Height and width of an image; a multiple of 8.
        num_classes: Classes of a conditional generator; 0 for an unconditional one.

    Raises:
        InputError: For a name, text or size that means no generator.
    """
    if isinstance(what, str) and what not in HANDMADE:
        what = find_genotype(what)
    latent_dim = config.latent_at(resolution)
    module = assemble(what, width=config.width, latent_dim=latent_dim, resolution=resolution, num_classes=num_classes)
    initialise(module, seed)
    return module


def assemble(
    what: str | Genotype, *, width: int, latent_dim: int, resolution: int, num_classes: int = 0
) -> Generator | ResnetGenerator | DcganGenerator:
    """Build a generator of the given sizes, with torch's own initial weights.

    Args:
        what: A genotype, or a name in ``HANDMADE``.

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


def count_sizes(generator: nn.Module) -> tuple[int, int]:
    """Return a generator's parameters and the multiply-adds of one image.

    Normalisation and activations are left out of the second. A searched generator's is counted from its genotype; one
    designed by hand has none, so what torch would do for one image is counted, without doing it. The two differ in one
    thing: a searched 1x1 up-convolution counts at the large size, the ResNet's 1x1 shortcuts, run before they are
    up-sampled, at the small one (4 % of all that the ResNet takes).
    """
    parameters = count_parameters(generator)
    if isinstance(generator, Generator):
        sizes = {"width": generator.width, "latent_dim": generator.latent_dim, "resolution": generator.resolution}
        return parameters, count_macs(generator.genotype, **sizes)
    return parameters, measured_macs(generator)


def measured_macs(generator: nn.Module) -> int:
    """Count the multiply-adds of one image in the convolutions and matrix products that torch is asked for."""
    latent_dim: int = generator.latent_dim  # type: ignore[assignment]
    shadow = copy.deepcopy(generator).to("meta").eval()  # shapes alone: nothing is computed
    labels = torch.zeros(1, dtype=torch.int64, device="meta") if generator.num_classes else None
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        shadow(torch.zeros(1, latent_dim, device="meta"), labels)
    return int(counter.get_total_flops()) // 2
