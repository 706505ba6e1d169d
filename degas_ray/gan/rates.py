"""Adam for generator and critic, and the rates of its steps."""

import torch
from torch import nn

from degas_ray.config import TrainConfig
from degas_ray.space.norm import ConditionalBatchNorm2d

Parameters = list[nn.Parameter]


def build_adam(module: nn.Module, rate: float, config: TrainConfig) -> torch.optim.Adam:
    """Return Adam over a network's weights, with what belongs to single classes in a group of its own."""
    labelled = [m for m in module.modules() if isinstance(m, ConditionalBatchNorm2d)]
    classes = [p for norm in labelled for p in (norm.scale, norm.shift)]
    known = {id(parameter) for parameter in classes}
    groups: list[Parameters] = [[p for p in module.parameters() if id(p) not in known], classes]
    adam = torch.optim.Adam([{"params": group} for group in groups if group], rate, betas=config.betas, fused=True)
    set_rate(adam, rate, config)
    return adam


def set_rate(adam: torch.optim.Adam, rate: float, config: TrainConfig) -> None:
    """Set the rate of the next step; that of what belongs to single classes is ``label_rate`` times as high."""
    for group, share in zip(adam.param_groups, (1.0, config.label_rate), strict=False):
        group["lr"] = rate * share


def parameters_of(adam: torch.optim.Adam) -> Parameters:
    """Return all that is trained."""
    return [parameter for group in adam.param_groups for parameter in group["params"]]
