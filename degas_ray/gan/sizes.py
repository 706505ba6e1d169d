"""What a generator weighs and what an image costs, searched or designed by hand."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from degas_ray.space import Generator, count_macs, count_parameters


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
