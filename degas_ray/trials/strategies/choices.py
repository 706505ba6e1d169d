"""A genotype as independent choices: for each map its direct operation, and its residual input or none."""

from collections.abc import Mapping

from optuna.distributions import BaseDistribution, CategoricalDistribution

from degas_ray.config import Config
from degas_ray.search import LimitedSpace
from degas_ray.space import Genotype, Space
from degas_ray.space.operations import NONE

PREFIX = "genotype."
RESIDUAL = ".residual"


def space_of(config: Config) -> Space:
    """Return the space that a study searches."""
    return Space(config.search.n, config.search.normal_ops, config.search.upsample_ops)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return all choices with their options; every combination is a genotype, and every genotype is one."""
    found: dict[str, BaseDistribution] = {}
    for target, (*residual, direct) in space.inputs().items():
        found[PREFIX + target] = CategoricalDistribution(space.operations(direct))
        if residual:
            options = [f"{op}({c.source})" for c in residual for op in space.operations(c) if op != NONE]
            found[PREFIX + target + RESIDUAL] = CategoricalDistribution((NONE, *options))
    return found


def choices(genotype: Genotype, space: Space) -> dict[str, str]:
    """Return the choices that make a genotype."""
    found: dict[str, str] = {}
    known = distributions(space)
    for feature_map in genotype.maps:
        *residual, direct = feature_map.inputs
        key = PREFIX + feature_map.name
        found[key] = direct.op
        if key + RESIDUAL in known:
            found[key + RESIDUAL] = f"{residual[0].op}({residual[0].source})" if residual else NONE
    return found


def genotype_of(chosen: Mapping[str, str], space: Space) -> Genotype:
    """Return the genotype that choices make."""
    maps: dict[str, tuple[str, Mapping[str, str]]] = {}
    for target in space.inputs():
        residual = chosen.get(PREFIX + target + RESIDUAL, NONE)
        op, _, source = residual.removesuffix(")").partition("(")
        maps[target] = (chosen[PREFIX + target], {source: op} if source else {})
    return space.genotype(maps)


def within(chosen: Mapping[str, str], space: LimitedSpace) -> dict[str, str]:
    """Return choices as they are, or, where their genotype is too large, those of the nearest that is not."""
    return choices(space.nearest(genotype_of(chosen, space.space)), space.space)
