"""What Optuna proposes and is told: one journal, used by the driver alone, from which a study goes on undisturbed.

Ray's OptunaSearch keeps its state in pickles that lag behind, tells a non-finite value as nothing at all and a stopped
trial as complete; asking and telling ourselves is shorter than correcting it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock  # its type; the public names are its subclasses
from optuna.study import StudyDirection
from optuna.trial import TrialState

from degas_ray.results import COLLAPSED
from degas_ray.seeds import derive
from degas_ray.trials.strategies import Result, Strategy

STUDY_NAME = "degas-ray"
STARTUP = 10  # Optuna's own default: random proposals before its model begins
NEAR = 4  # trials at and around the config's own values, before the whole ranges are drawn from
SPREAD = 0.1  # their standard deviation as a share of a range
CHANGE = 0.3  # and the chance that a choice is made anew


class _Held(BaseJournalFileLock):
    """No lock: the study's own lock keeps other drivers out, and leaves nothing behind when a driver is killed."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


@dataclass(frozen=True)
class Proposal:
    """A trial that is to run: its number and the values of what is tuned."""

    number: int
    params: Mapping[str, Any]


class Proposals:
    """The proposals of one study, in order; trial k depends on the study's seed and earlier results alone.

    Trials run side by side, and the order in which they end is chance. So that it does not matter, trial k is proposed
    from the results of the trials before ``k - lag``, the rest counting as running.

    Args:
        journal: Optuna's journal file, or ``None`` to keep everything in memory.
        space: Dotted keys to ranges.
        first: Values of trial 0.
        objectives: How many numbers a trial is told with; all are minimised.
        seed: The study's.
        lag: How many trials back results are taken from.
        patient: Wait for those results in the first proposals too, which do not depend on them but whose trials do.
        strategy: Proposes in the place of Optuna's sampler.
    """

    def __init__(
        self,
        journal: Path | None,
        space: Mapping[str, BaseDistribution],
        first: Mapping[str, Any],
        *,
        objectives: int = 1,
        seed: int,
        lag: int,
        patient: bool = False,
        strategy: Strategy | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._first = dict(space), dict(first)
        self._seed, self._lag, self._strategy = seed, lag, strategy
        self._patient = patient or (strategy is not None and strategy.waits)
        self._directions = [StudyDirection.MINIMIZE] * objectives
        storage = None
        if journal is not None:
            _repair(journal)
            storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=_Held()))
        self._study = optuna.create_study(
            storage=storage, study_name=STUDY_NAME, directions=self._directions, load_if_exists=True
        )
        self._shown = _Shown(self._directions)
        self._settled = 0  # so many of the first trials are known to have ended

    def __len__(self) -> int:
        return len(self._study.get_trials(deepcopy=False))

    def running(self) -> list[Proposal]:
        """Return the trials that were proposed and not told of, by number."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [Proposal(trial.number, dict(trial.params)) for trial in trials]

    def ready(self) -> bool:
        """Return whether all results are there that the next proposal depends on."""
        trials = self._study.get_trials(deepcopy=False)
        seen = self.seen(len(trials))
        while self._settled < seen and trials[self._settled].state.is_finished():
            self._settled += 1
        # The first proposals are random whatever the results are.
        return (seen < STARTUP and not self._patient) or self._settled >= seen

    def seen(self, number: int) -> int:
        """Return how many of the first trials have ended, for certain, when trial ``number`` begins."""
        return max(0, number - self._lag)

    def ask(self) -> Proposal:
        """Propose the next trial; it is in the journal, in one write, before this returns."""
        trials = self._study.get_trials(deepcopy=False)
        number = len(trials)
        if self._strategy is not None:
            params = dict(self._strategy.propose(number, [_result(trial) for trial in trials[: self.seen(number)]]))
        else:
            params = self._near(number) if number < NEAR else self._sample(trials)
        # Optuna's ask writes a trial piece by piece, and a driver killed in between would leave half of one.
        self._study.add_trial(_running(params, self._space))
        return Proposal(number, dict(params))

    def tell(
        self,
        number: int,
        outcome: str,
        values: Sequence[float] = (),
        milestones: Mapping[int, float] | None = None,
    ) -> None:
        """Tell how a trial ended; what is not finite is a failure, a pruned trial comes with what it had reached.

        A collapsed trial is told as pruned before its first step: Optuna's model ranks such trials by their values, and
        behind all others.

        Args:
            number: The trial's.
            outcome: completed, collapsed, pruned, diverged or failed.
            values: One number an objective, where it ended with scores.
            milestones: Steps to values along the way.
        """
        trial = self._study.get_trials(deepcopy=False)[number]
        if trial.state.is_finished():
            return
        finite = bool(values) and all(map(math.isfinite, values))
        collapsed = outcome == COLLAPSED and finite
        if len(self._directions) == 1:
            reached = {0: values[0]} if collapsed else milestones or {}
            for step, value in sorted(reached.items()):
                if math.isfinite(value):
                    optuna.trial.Trial(self._study, trial._trial_id).report(value, step)
        if outcome == "pruned" or collapsed:
            self._study.tell(number, state=TrialState.PRUNED)
        elif outcome == "completed" and finite:
            self._study.tell(number, list(values))
        else:
            self._study.tell(number, state=TrialState.FAIL)

    def _near(self, number: int) -> dict[str, Any]:
        """Return values near the config's own.

        The ranges hold the paper's values, which are for a search fifty times as long: a study of a few trials that
        drew from all of them would mostly see searches that decide nothing.
        """
        if number == 0:
            return dict(self._first)
        draw = np.random.default_rng([self._seed, number])
        return {key: _moved(distribution, self._first[key], draw) for key, distribution in self._space.items()}

    def _sample(self, trials: Sequence[optuna.trial.FrozenTrial]) -> dict[str, Any]:
        """Return the values of the next trial, from a study that shows what it may depend on."""
        number = len(trials)
        sampler = _Sampler(self._space, derive(self._seed, "sampler", number) % 2**32)
        return self._shown.ask(trials, self.seen(number), sampler, self._space)


class _Sampler(optuna.samplers.TPESampler):
    """Optuna's own, told the space that all trials share instead of looking for it in every one of them.

    Args:
        space: Dotted keys to ranges.
        seed: Of the one proposal that it is made for.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        super().__init__(seed=seed, n_startup_trials=STARTUP, constant_liar=True)
        self._shared = {key: value for key, value in sorted(space.items()) if not value.single()}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the space of the joint model; none with several objectives, where Optuna models each range alone."""
        return {} if len(study.directions) > 1 else dict(self._shared)


class _Shown:
    """The study as a proposal may see it: the first trials have ended, the rest are running.

    It is kept from one proposal to the next. A copy made for each took the driver 0.7 s after a thousand trials.

    Args:
        directions: The study's.
    """

    def __init__(self, directions: Sequence[StudyDirection]) -> None:
        self._study = optuna.create_study(directions=directions)
        self._known = 0
        self._running: set[int] = set()

    def ask(
        self,
        trials: Sequence[optuna.trial.FrozenTrial],
        seen: int,
        sampler: optuna.samplers.BaseSampler,
        space: Mapping[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Return what ``sampler`` proposes after ``trials``, of which it sees how the first ``seen`` ended."""
        for number in sorted(number for number in self._running if number < seen):
            if trials[number].state.is_finished():
                self._end(trials[number])
        for trial in trials[self._known :]:
            if trial.number < seen and trial.state.is_finished():
                self._study.add_trial(trial)
            else:
                self._study.add_trial(_running(trial.params, trial.distributions))
                self._running.add(trial.number)
        self._study.sampler = sampler
        asked = self._study.ask(dict(space))
        self._running.add(asked.number)
        self._known = asked.number + 1
        return dict(asked.params)

    def _end(self, trial: optuna.trial.FrozenTrial) -> None:
        own = self._study.get_trials(deepcopy=False)[trial.number]
        for step, value in sorted(trial.intermediate_values.items()):
            optuna.trial.Trial(self._study, own._trial_id).report(value, step)
        values = trial.values if trial.state == TrialState.COMPLETE else None
        self._study.tell(trial.number, values, state=trial.state)
        self._running.discard(trial.number)


def _running(params: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(state=TrialState.RUNNING, params=dict(params), distributions=dict(space))


def _result(trial: optuna.trial.FrozenTrial) -> Result:
    """Return what a strategy is told of a trial."""
    return Result(dict(trial.params), tuple(trial.values) if trial.state == TrialState.COMPLETE else ())


def _moved(distribution: BaseDistribution, own: Any, draw: np.random.Generator) -> Any:
    """Return a value of a range that is near ``own``."""
    step, chance, pick = draw.normal(0.0, SPREAD), draw.random(), draw.random()
    if isinstance(distribution, FloatDistribution):
        scale = math.log if distribution.log else float
        low, high = scale(distribution.low), scale(distribution.high)
        moved = min(max(scale(own) + step * (high - low), low), high)
        # Rounding may lead out of the range by a last digit.
        return min(max(math.exp(moved) if distribution.log else moved, distribution.low), distribution.high)
    if chance >= CHANGE:
        return own
    choices: Sequence[Any]
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
    else:
        assert isinstance(distribution, IntDistribution)
        choices = range(distribution.low, distribution.high + 1)
    return choices[int(pick * len(choices))]


def _repair(journal: Path) -> None:
    """Cut off a last line that a killed driver left unfinished; Optuna would glue the next record to it."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    if not journal.exists():
        return
    with journal.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
