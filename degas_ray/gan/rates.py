"""Adam for generator and critic, and what changes from step to step: rates, beta2 and the penalty's weight."""

import math

import torch
from torch import nn

from degas_ray.config import TrainConfig
from degas_ray.space.norm import ConditionalBatchNorm2d

Parameters = list[nn.Parameter]


def build_adam(module: nn.Module, rate: float, config: TrainConfig) -> torch.optim.Adam:
    """Return Adam over a network's weights; scales and shifts of single classes are a parameter group of their own."""
    labelled = [m for m in module.modules() if isinstance(m, ConditionalBatchNorm2d)]
    classes = [p for norm in labelled for p in (norm.scale, norm.shift)]
    known = {id(parameter) for parameter in classes}
    groups: list[Parameters] = [[p for p in module.parameters() if id(p) not in known], classes]
    adam = torch.optim.Adam([{"params": group} for group in groups if group], rate, betas=config.betas, fused=True)
    set_rate(adam, rate, config)
    return adam


def at_step(config: TrainConfig, step: int) -> TrainConfig:
    """Return the settings of one step: those with an end have moved towards it, by the shape that ``decay`` names.

    Args:
        config: Of the training.
        step: Generator steps done, less than ``config.steps``.
    """
    if config.decay == "none":
        return config
    done = step / config.steps
    if config.decay == "cosine":
        done = (1 - math.cos(math.pi * done)) / 2
    rate = 1 - done * (1 - config.decay_to)
    gamma_end = config.gamma if config.gamma_end is None else config.gamma_end
    beta1, beta2 = config.betas
    beta2_end = beta2 if config.beta2_end is None else config.beta2_end
    now = {
        "lr": config.lr * rate,
        "critic_lr": config.critic_lr * rate,
        "gamma": config.gamma + done * (gamma_end - config.gamma),
        "betas": (beta1, beta2 + done * (beta2_end - beta2)),
    }
    return config.model_copy(update=now)


def set_rate(adam: torch.optim.Adam, rate: float, config: TrainConfig) -> None:
    """Set rate and betas of the next step; per-class scales and shifts learn at ``label_rate`` times the rate."""
    for group, share in zip(adam.param_groups, (1.0, config.label_rate), strict=False):
        group["lr"], group["betas"] = rate * share, config.betas


def parameters_of(adam: torch.optim.Adam) -> Parameters:
    """Return all that is trained."""
    return [parameter for group in adam.param_groups for parameter in group["params"]]
