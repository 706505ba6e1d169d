"""Other ways to search the same space, each trial a genotype instead of a search: random, evolution, reinforce."""

from degas_ray.config import Config
from degas_ray.errors import ConfigError
from degas_ray.search import limited_space
from degas_ray.trials.strategies.base import Result, Strategy
from degas_ray.trials.strategies.choices import choices, distributions, genotype_of, space_of
from degas_ray.trials.strategies.draw import RandomStrategy
from degas_ray.trials.strategies.evolution import EvolutionStrategy
from degas_ray.trials.strategies.reinforce import ReinforceStrategy

GLO_DARTS = "glo-darts"

__all__ = [
    "GLO_DARTS",
    "Result",
    "Strategy",
    "choices",
    "distributions",
    "genotype_of",
    "make_strategy",
    "space_of",
]


def make_strategy(config: Config) -> Strategy | None:
    """Return what proposes genotypes in a study; ``None`` where its trials search by themselves.

    Args:
        config: The study's.

    Raises:
        ConfigError: Where other settings do not go with the strategy.
    """
    name = config.study.strategy
    if name == GLO_DARTS:
        return None
    faults = []
    if config.study.tune:
        faults.append(f"study.tune: strategy {name} chooses operations and tunes no settings; leave it out")
    if name == "reinforce" and len(config.study.objectives) > 1:
        faults.append("study.objectives: strategy reinforce is rewarded by one number; expected fid alone")
    if faults:
        raise ConfigError(faults)
    space = limited_space(config.search)
    if name == "random":
        return RandomStrategy(space, config.seed)
    if name == "evolution":
        return EvolutionStrategy(
            space, config.seed, trials=config.study.trials, objectives=len(config.study.objectives)
        )
    return ReinforceStrategy(space, config.seed)
