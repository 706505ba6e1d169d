"""Genotypes by chance: what a search finds that learns nothing, to tell a search's merit from its space's."""

from collections.abc import Callable

import numpy as np

from degas_ray.config import PruneConfig, SearchConfig
from degas_ray.search.limited import limited_space
from degas_ray.search.prune import prune
from degas_ray.search.supernet import ALPHA_START
from degas_ray.space import Genotype


def unlearnt(config: SearchConfig, pruning: PruneConfig) -> Callable[[int], Genotype]:
    """Return what draws genotypes, by seed, as a search does that learns nothing.

    A mixed search prunes random alphas (paper 4.2, its random block); one by single networks has them all alike. Both
    keep to ``search.cost_limit``. The two differ: alphas keep a residual operation only where it is the strongest of
    all that enter a map, which at n = 1 is in 1/2, 2/3 and 2/3 of the up-sampled maps, not in 4/5, 8/9 and 8/9.

    Args:
        config: The search's.
        pruning: Of a mixed search.
    """
    limited = limited_space(config)
    if config.paths == "sampled":
        return limited.random
    space = limited.space

    def drawn(seed: int) -> Genotype:
        draw = np.random.default_rng(seed)
        alphas = {
            connection.name: {op: ALPHA_START * draw.standard_normal() for op in space.operations(connection)}
            for connection in space.connections
        }
        return prune(alphas, space, pruning.compare, limited.slots, limited.limit)

    return drawn
