"""Random: every genotype that is not too large is equally likely, whatever came out before."""

from collections.abc import Mapping, Sequence

from degas_ray.search import LimitedSpace
from degas_ray.seeds import derive
from degas_ray.trials.strategies.base import Result
from degas_ray.trials.strategies.choices import choices


class RandomStrategy:
    """Draws genotypes uniformly from the discrete space, as far as ``search.cost_limit`` lets it.

    Args:
        space: What is searched.
        seed: The study's.
    """

    waits = False

    def __init__(self, space: LimitedSpace, seed: int) -> None:
        self._space, self._seed = space, seed

    def propose(self, number: int, past: Sequence[Result]) -> Mapping[str, str]:
        """Return the choices of trial ``number``."""
        return choices(self._space.random(derive(self._seed, "random", number)), self._space.space)
