"""How long a study still takes, from how long its steps have taken."""

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from degas_ray.config import Config, TrainConfig
from degas_ray.study.placement import ROUNDING, Piece, Placement
from degas_ray.trials.strategies import GLO_DARTS


@dataclass
class _Pace:
    steps: int = 0
    seconds: float = 0.0
    length: int = 0  # steps that the phase has


@dataclass
class _Work:
    began: float
    cold: bool
    first: float | None = None  # when it first reported
    stepped: float = 0.0  # seconds that belong to steps


@dataclass
class Estimate:
    """Seconds a step of each phase, and what that makes of the rest.

    Args:
        config: The study's.
        placement: What runs side by side.
        clock: Seconds, for tests.
    """

    config: Config
    placement: Placement
    clock: Callable[[], float] = time.monotonic
    _paces: dict[str, _Pace] = field(default_factory=dict)
    _at: dict[str, tuple[str, int, float]] = field(default_factory=dict)
    _works: dict[str, _Work] = field(default_factory=dict)
    _cold: list[float] = field(default_factory=list)  # seconds from a job's beginning to its first step, new worker
    _between: list[float] = field(default_factory=list)  # seconds of a job that belong to no step, its start left out

    def began(self, work: str) -> None:
        """Take note that a piece of work went to a worker; the first ones wait for it to start."""
        self._works[work] = _Work(self.clock(), cold=len(self._cold) + len(self._works) < self.placement.concurrent)

    def note(self, work: str, phase: str, step: int, steps: int) -> None:
        """Take note of where a piece of work stands."""
        now = self.clock()
        if (job := self._works.get(work)) is not None and job.first is None:
            job.first = now
            if job.cold:
                self._cold.append(now - job.began)
        pace = self._paces.setdefault(phase, _Pace())
        pace.length = steps
        before, last, then = self._at.get(work, ("", 0, now))
        if before == phase and step > last:
            pace.steps += step - last
            pace.seconds += now - then
            if job is not None:
                job.stepped += now - then
        self._at[work] = (phase, step, now)

    def ended(self, work: str) -> None:
        """Take note that a piece of work is over."""
        self._at.pop(work, None)
        job = self._works.pop(work, None)
        if job is not None and job.first is not None:
            self._between.append(max(0.0, self.clock() - job.first - job.stepped))

    def left(self, trials: int, trainings: int, promotion: bool) -> float | None:
        """Return the seconds until all is done, or ``None`` while that cannot be told.

        Args:
            trials: Not begun yet.
            trainings: Re-rankings, and trials whose search has ended, not begun yet.
            promotion: Whether the winner will be trained, and has not been begun.
        """
        proxy, search = self._seconds(("proxy", "score")), self._seconds(("search",))
        searching = self.config.study.strategy == GLO_DARTS
        if not searching or (
            search is None and not trials and not any(phase == "search" for phase, _, _ in self._at.values())
        ):
            search = 0.0
        full = self._promotion() if promotion else 0.0
        running = [self._rest(phase, step, proxy) for phase, step, _ in self._at.values()]
        if proxy is None or search is None or full is None or None in running:
            return None
        between = _mean(self._between)
        jobs = partial(self.placement.jobs, between=between)
        waiting = [jobs(search, proxy)] * trials + [jobs(0.0, proxy)] * trainings
        told = [jobs(*seconds) for seconds in running if seconds is not None]
        if promotion:
            # It has a worker of its own, which starts alone: the first ones start side by side and hinder each other.
            full += _mean(self._cold) / self.placement.concurrent + between
        return makespan(told, waiting) + full

    def _rest(self, phase: str, step: int, proxy: float | None) -> tuple[float, float] | None:
        """Return the seconds that a running piece of work still searches and trains."""
        pace = self._paces[phase]
        if not pace.steps:
            return None
        own = max(0, pace.length - step) * pace.seconds / pace.steps
        if phase == "search":
            return None if proxy is None else (own, proxy)
        after = self._seconds(("score",)) if phase in ("proxy", "full") else 0.0
        return None if after is None else (0.0, own + after)

    def _seconds(self, phases: Iterable[str]) -> float | None:
        total = 0.0
        for phase in phases:
            pace = self._paces.get(phase)
            if pace is None or not pace.steps:
                return None
            total += pace.length * pace.seconds / pace.steps
        return total

    def _promotion(self) -> float | None:
        """Guess the promotion from the proxy: its work a step, at the threads that it will have."""
        pace, score = self._paces.get("proxy"), self._seconds(("score",))
        if pace is None or not pace.steps or score is None:
            return None
        ratio = _work(self.config.full) / _work(self.config.proxy)
        # With several threads a step is faster, by less than their number.
        cpus = self.placement.training.cpus
        speed = 1 + 0.6 * (self.placement.trainings * cpus / max(1.0, cpus) - 1)
        return (self.config.full.steps * ratio * pace.seconds / pace.steps + score) / max(1.0, speed)


def _work(config: TrainConfig) -> float:
    """Return multiply-adds of a generator step up to a factor: channels squared times images."""
    critic = config.critic_steps * config.batch * config.critic_width**2
    generator = (config.critic_steps * config.batch + config.generator_batch) * config.width**2
    return float(critic + generator)


def makespan(running: Sequence[Sequence[Piece]], waiting: Sequence[Sequence[Piece]]) -> float:
    """Return when the last of some chains of jobs ends, each beginning as soon as there is room for it.

    A chain's next job comes before all that waits, as in the queue of a study.
    """
    ready, ends, order = deque(waiting), list[tuple[float, int, Sequence[Piece]]](), count()
    now = taken = 0.0

    def start(chain: Sequence[Piece]) -> None:
        heapq.heappush(ends, (now + chain[0][0], next(order), chain))

    for chain in running:
        start(chain)
        taken += chain[0][1]
    while ends or ready:
        while ready and (not ends or taken + ready[0][0][1] <= 1 + ROUNDING):
            start(ready[0])
            taken += ready.popleft()[0][1]
        now, _, chain = heapq.heappop(ends)
        taken -= chain[0][1]
        if len(chain) > 1:
            ready.appendleft(chain[1:])
    return now


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
