"""What a search returns, what both kinds of search share, and warnings about a search that went badly."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from degas_ray.checkpoint import State
from degas_ray.config import PruneConfig, SearchConfig, identity
from degas_ray.data import Pack
from degas_ray.errors import CheckpointError
from degas_ray.space import Genotype

UNDECIDED_ENTROPY = 0.8
FEW_NETWORKS = 10  # of a search by single networks, below which it hardly knows more than at first
SKIP_COLLAPSE = 2 / 3


def verdict(decided: Mapping[str, float], config: SearchConfig) -> tuple[str, ...]:
    """Return warnings about a finished search, each naming the setting to change.

    Args:
        decided: From :func:`~degas_ray.search.choices.decidedness`.
    """
    if config.paths == "sampled":
        if config.networks >= FEW_NETWORKS:
            return ()
        return (
            f"{config.networks} networks tell little of what operations are worth. "
            f"Raise search.networks to {FEW_NETWORKS} or more.",
        )
    warnings = []
    if decided["alpha_entropy"] > UNDECIDED_ENTROPY:
        warnings.append(
            f"the search ended undecided: the entropy of its alphas is still {decided['alpha_entropy']:.0%} of the "
            f"uniform one, so pruning picks almost at random. Raise search.alpha_lr (now {config.alpha_lr:g}), lower "
            f"search.alpha_weight_decay (now {config.alpha_weight_decay:g}), or search longer."
        )
    elif decided["margin_min"] < 0.02:
        warnings.append(
            f"one connection was nearly a tie (lead {decided['margin_min']:.3f} in weight): another seed may choose "
            f"otherwise. Search longer, or raise search.alpha_lr (now {config.alpha_lr:g})."
        )
    if decided["skip_share"] >= SKIP_COLLAPSE:
        warnings.append(
            f"skip collapse: {decided['skip_share']:.0%} of the normal maps are plain skip connections. Raise "
            f"search.warmup (now {config.warmup:g}) so that convolutions learn first, or lower search.alpha_lr "
            f"(now {config.alpha_lr:g})."
        )
    return tuple(warnings)


ADAM_BETA2 = 0.99  # searches are short


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        alphas: Raw alphas at the end, connection -> operation -> value.
        history: A row for each report: step, loss, decidedness, genotype, and softmax(alpha) of every connection.
    """

    genotype: Genotype
    alphas: dict[str, dict[str, float]]
    history: list[dict[str, Any]]
    warnings: tuple[str, ...]
    state: State


def search_identity(config: SearchConfig, pruning: PruneConfig, pack: Pack, seed: int) -> dict[str, Any]:
    """Return what a checkpoint must share with the search that goes on from it."""
    return {
        "config": identity(config),
        "pruning": identity(pruning),
        "fingerprint": pack.fingerprint,
        "images": len(pack),
        "seed": seed,
    }


def require_same(mine: Mapping[str, Any], theirs: Any) -> None:
    """Compare two identities; a checkpoint that does not name the precision was written before it was recorded.

    Raises:
        CheckpointError: Naming the first setting that differs.
    """
    if not isinstance(theirs, Mapping):
        raise CheckpointError("the checkpoint is not one of a search; resume the run that wrote it")
    flat = [(k, v, theirs.get(k)) for k, v in mine.items() if not isinstance(v, Mapping)]
    for section in ("config", "pruning"):
        other = theirs.get(section)
        if not isinstance(other, Mapping):
            raise CheckpointError("the checkpoint does not name its settings; resume the run that wrote it")
        flat += [(k, v, other.get(k)) for k, v in mine[section].items() if k in other or k != "precision"]
    for key, value, other in flat:
        if value != other:
            raise CheckpointError(
                f"the checkpoint has {key} = {other}, this search {value}; resume with the settings it was written with"
            )


def build_optimizer(weights: list[nn.Parameter], config: SearchConfig) -> torch.optim.Optimizer:
    """Return the optimizer of a search's weights."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(weights, config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    return torch.optim.AdamW(weights, config.lr, (config.momentum, ADAM_BETA2), weight_decay=config.weight_decay)
