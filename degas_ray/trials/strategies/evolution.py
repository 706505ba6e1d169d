"""Evolution: Optuna's own genetic sampler (NSGA-II; Deb and others, 2002) over the choices of operations."""

from collections.abc import Mapping, Sequence

import optuna
from optuna.trial import TrialState

from degas_ray.search import LimitedSpace
from degas_ray.seeds import derive
from degas_ray.trials.strategies.base import Result
from degas_ray.trials.strategies.choices import distributions, within

GENERATIONS = 4  # that a study has, where it has enough trials
LEAST, MOST = 4, 16  # of a population


class EvolutionStrategy:
    """Crosses and mutates the best genotypes so far; the first population is random.

    Args:
        space: What is searched; a genotype that is too large becomes the nearest that is not.
        seed: The study's.
        trials: That the study was begun with; the population is a quarter of it, between 4 and 16.
        objectives: How many numbers are minimised.
    """

    waits = True

    def __init__(self, space: LimitedSpace, seed: int, *, trials: int, objectives: int = 1) -> None:
        self._space, self._seed, self._objectives = space, seed, objectives
        self._choices = distributions(space.space)
        self._population = min(MOST, max(LEAST, trials // GENERATIONS))

    def propose(self, number: int, past: Sequence[Result]) -> Mapping[str, str]:
        """Return the choices of trial ``number``."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        seed = derive(self._seed, "evolution", number) % 2**32
        sampler = optuna.samplers.NSGAIISampler(population_size=self._population, seed=seed)
        study = optuna.create_study(directions=["minimize"] * self._objectives, sampler=sampler)
        # The sampler keeps its generations in the study: all that has been is played to it again, in order.
        for result in past:
            study.enqueue_trial(dict(result.choices))
            trial = study.ask(self._choices)
            assert trial.relative_params is not None  # asking for them is what puts a trial into a generation
            if result.values:
                study.tell(trial, list(result.values))
            else:
                study.tell(trial, state=TrialState.FAIL)
        asked = study.ask(self._choices).params
        return within({key: str(value) for key, value in asked.items()}, self._space)
