"""How weights begin: the uniform initialisation of the WGAN-GP and CT-GAN code, from a seed."""

import math

import torch
from torch import Tensor, nn


def initialise(module: nn.Module, seed: int) -> None:
    """Draw every weight of ``module`` anew.

    Kernels of 3x3 are uniform with a standard deviation of sqrt(4 / (fan_in + fan_out)), other weights with
    sqrt(2 / (fan_in + fan_out)); biases are 0. Scales and shifts of normalisations are left as they are.

    Args:
        module: Changed in place.
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
