"""How alike the genotypes are that independent searches end in, and what they are made of, both against chance."""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from degas_ray.experiments.statistics import LEVEL
from degas_ray.space import Genotype, Space

CHANCE_POOL = 2000  # genotypes drawn by chance, of which groups are put together
CHANCE_DRAWS = 2000  # groups
KEPT_DRAWS = 500  # of each group, for the shares that chance keeps


@dataclass(frozen=True)
class Stability:
    """How alike the genotypes are that independent searches end in.

    Args:
        agreement: Mean share of equal choices over all pairs.
        chance: The same for genotypes drawn by chance.
        p_value: How often as many of those agree as much.
        count: Genotypes.
        pairs: The share of each pair.
        chance_low: Below this the mean share by chance lies in one of forty draws.
        chance_high: Above this.
    """

    agreement: float
    chance: float
    p_value: float
    count: int
    pairs: tuple[float, ...]
    chance_low: float
    chance_high: float


def stability(texts: Sequence[str], space: Space, by_chance: Callable[[int], Genotype]) -> Stability | None:
    """Return how alike genotypes are, against as many drawn by chance.

    A choice is a map's direct operation, or, where it may have one, its residual input with its operation (or none).

    Args:
        texts: Genotypes of one ``n``; fewer than two have nothing to agree on.
        space: That they were found in.
        by_chance: Draws a genotype by seed, as a search would find it that learns nothing.
    """
    if len(texts) < 2:
        return None
    targets = [name for name, entering in space.inputs().items() if len(entering) > 1]
    pairs = _agreements(np.array([_choices(Genotype.parse(text), targets) for text in texts]))
    draw = np.random.default_rng(0)
    pool = np.array([_choices(by_chance(int(seed)), targets) for seed in draw.integers(0, 2**62, size=CHANCE_POOL)])
    groups = (draw.choice(CHANCE_POOL, size=len(texts), replace=False) for _ in range(CHANCE_DRAWS))
    drawn = np.array([_agreements(pool[group]).mean() for group in groups])
    agreement = pairs.mean()
    as_much = int((drawn >= agreement - 1e-9).sum())  # equal shares, however they were rounded
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Stability(
        agreement=float(agreement),
        chance=float(drawn.mean()),
        p_value=(1 + as_much) / (1 + CHANCE_DRAWS),
        count=len(texts),
        pairs=tuple(pairs.tolist()),
        chance_low=low,
        chance_high=high,
    )


# What each family of operations is known by; the first that fits a name is meant.
FAMILIES = {
    "skip_connect": ("skip_",),
    "pooling": ("_pool_",),
    "separable, dilated": ("sep_", "dil_"),
    "up_conv": ("up_conv_",),
    "deconv": ("deconv_",),
    "conv": ("conv_",),
}


def kept(texts: Sequence[str], by_chance: Callable[[int], Genotype]) -> dict[str, tuple[float, float]]:
    """Return which families of operations genotypes are made of.

    Args:
        texts: Genotypes.
        by_chance: Draws a genotype by seed, as a search would find it that learns nothing.

    Returns:
        For each family its share of the operations of its kind, those that keep a map's size or those that enlarge it,
        and its share by chance.
    """
    seeds = np.random.default_rng(0).integers(0, 2**62, size=KEPT_DRAWS)
    found = _shares([Genotype.parse(text) for text in texts])
    chance = _shares([by_chance(int(seed)) for seed in seeds])
    return {family: (found.get(family, 0.0), chance.get(family, 0.0)) for family in FAMILIES}


def _shares(genotypes: Sequence[Genotype]) -> dict[str, float]:
    edges = [edge for genotype in genotypes for feature_map in genotype.maps for edge in feature_map.inputs]
    shares: dict[str, float] = {}
    for enlarging in (False, True):
        families = [_family(edge.op) for edge in edges if (edge.stride > 1) is enlarging]
        shares |= {family: families.count(family) / len(families) for family in families}
    return shares


def _family(op: str) -> str:
    return next(family for family, parts in FAMILIES.items() if any(part in op for part in parts))


def _agreements(chosen: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return the share of equal choices of each pair of rows."""
    first, second = np.triu_indices(len(chosen), 1)
    return np.asarray((chosen[first] == chosen[second]).mean(1))


def _choices(genotype: Genotype, with_residual: Container[str]) -> list[str]:
    chosen = []
    for feature_map in genotype.maps:
        *residual, direct = feature_map.inputs
        chosen.append(direct.op)
        if feature_map.name in with_residual:
            chosen.append("".join(f"{edge.op}({edge.source})" for edge in residual))
    return chosen
