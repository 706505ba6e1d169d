"""What a search returns, and what both ways to search share."""

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

ADAM_BETA2 = 0.99  # searches are short


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        genotype: The pruned architecture.
        alphas: Raw alphas at the end, connection -> operation -> value.
        history: A row for each report: step, loss, decidedness, genotype, and softmax(alpha) of every connection.
        warnings: What a person should know, with the setting to change.
        state: A checkpoint of the end.
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

    Args:
        mine: From :func:`search_identity`.
        theirs: That of the checkpoint.

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
