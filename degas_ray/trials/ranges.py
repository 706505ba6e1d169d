"""Optuna's space: what a study tunes, in which ranges, with the paper's value inside each."""

import difflib
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from degas_ray.config import Config, flatten, from_tree
from degas_ray.errors import ConfigError
from degas_ray.trials.strategies import distributions, make_strategy, space_of

# The paper's values: n 1 (and 2 in its ablation), lr 0.3 and 0.03, alpha_lr 3e-4, alpha_weight_decay 1e-3, both terms
# of the loss alike, no warm-up, no penalty; it is silent on the latents, whose start and rate are GLO's choices.
RANGES: dict[str, BaseDistribution] = {
    "search.n": IntDistribution(1, 2),
    "search.lr": FloatDistribution(0.02, 0.5, log=True),
    "search.alpha_lr": FloatDistribution(3e-4, 0.2, log=True),
    "search.alpha_weight_decay": FloatDistribution(0.0, 2e-3),
    "search.latent_lr": FloatDistribution(0.1, 10.0, log=True),
    "search.latent_start": CategoricalDistribution(("pca", "gaussian")),
    "search.lap1_share": FloatDistribution(0.0, 1.0),
    "search.warmup": FloatDistribution(0.0, 0.5),
    "search.cost_penalty": FloatDistribution(0.0, 0.1),
    "prune.compare": CategoricalDistribution(("alpha", "weight")),
}
_ADAMW_LR = FloatDistribution(5e-4, 2e-2, log=True)  # in the place of SGD's
# Network by network: how many are tried, how long, and when trying turns to refining.
_SAMPLED: dict[str, BaseDistribution] = {
    "search.n": RANGES["search.n"],
    "search.networks": IntDistribution(10, 40),
    "search.try_steps": IntDistribution(100, 800, log=True),
    "search.warmup": FloatDistribution(0.1, 0.6),
}


def tuned(config: Config) -> dict[str, BaseDistribution]:
    """Return what a study of ``config`` tunes: dotted keys to ranges, widened to hold the config's own values.

    Where another strategy than the search itself proposes genotypes, these are its choices of operations.

    Raises:
        ConfigError: Where ``study.tune`` names a key that has no range, or the strategy does not go with the rest.
    """
    if make_strategy(config) is not None:
        return distributions(space_of(config))
    ranges = RANGES if config.search.optimizer == "sgd" else RANGES | {"search.lr": _ADAMW_LR}
    if config.search.paths == "sampled":
        ranges = _SAMPLED
    unknown = [key for key in config.study.tune if key not in ranges]
    if unknown:
        raise ConfigError(_unknown(key, ranges) for key in unknown)
    own = flatten(config)
    keys = config.study.tune or tuple(ranges)
    return {key: _holding(ranges[key], own[key]) for key in ranges if key in keys}


def own_values(config: Config) -> dict[str, Any]:
    """Return the config's own values of what is tuned: the first trial of a study that searches."""
    flat = flatten(config)
    return {key: flat[key] for key in tuned(config) if key in flat}


def apply(config: Config, params: Mapping[str, Any]) -> Config:
    """Return ``config`` with the tuned values of one trial in it.

    Args:
        config: The study's.
        params: Dotted keys to values.
    """
    tree = config.model_dump()
    for key, value in params.items():
        section, _, name = key.partition(".")
        if section in tree:  # choices of operations are no settings
            tree[section][name] = value
    return from_tree(tree)


def _holding(distribution: BaseDistribution, value: Any) -> BaseDistribution:
    if isinstance(distribution, CategoricalDistribution):
        return distribution
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    # A zero has no place on a logarithmic scale; no key with one allows it.
    low, high = min(distribution.low, value), max(distribution.high, value)
    return type(distribution)(low, high, log=distribution.log)


def _unknown(key: str, ranges: Mapping[str, BaseDistribution]) -> str:
    near = difflib.get_close_matches(key, ranges, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"expected some of {', '.join(ranges)}"
    return f"study.tune: {key} is not tuned; {hint}"
