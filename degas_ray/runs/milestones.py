"""Scores along a training: what is measured at which step, and the best generator so far."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from degas_ray.checkpoint import restore_module
from degas_ray.config import TrainConfig
from degas_ray.files import read_json, write_json
from degas_ray.gan import load_generator, save_generator
from degas_ray.home import BEST, MILESTONES
from degas_ray.loop import Progress


class HalvedError(Exception):
    """A training was ended at a milestone, because others had come further there.

    Args:
        milestones: Generator steps to Fréchet distances up to this one.
    """

    def __init__(self, milestones: Mapping[str, float]) -> None:
        super().__init__(f"ended at step {list(milestones)[-1]}")
        self.milestones = dict(milestones)


@dataclass(frozen=True)
class Best:
    """The best of the generators that were scored.

    Args:
        step: After how many generator steps.
        distance: Its Fréchet distance.
    """

    step: int
    distance: float


class Milestones:
    """Scores a training at the shares of its steps that are configured, and keeps the best generator in ``best.ckpt``.

    Args:
        config: Names the shares.
        folder: The run's: ``milestones.json`` is in it.
        what: The generator's name or genotype.
        score: Returns a generator's distance, and records its scores at a step.
        goes_on: Asked at each milestone, with its step and distance.
        begun: Steps that the training had taken over; milestones up to there are left out.

    Raises:
        HalvedError: Where ``goes_on`` says no to one that was reached before.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        what: str,
        score: Callable[[nn.Module, int], float],
        goes_on: Callable[[str, float], bool] | None = None,
        begun: int = 0,
    ) -> None:
        self._config, self._folder, self._what, self._score, self._goes_on = config, folder, what, score, goes_on
        due = (max(1, round(share * config.steps)) for share in sorted(config.milestones))
        self._due = [step for step in due if step > begun]
        self.reached: dict[str, float] = dict(read_json(folder / MILESTONES) or {})
        self._judge()  # those of an attempt that was killed before it had judged

    def see(self, progress: Progress, generator: nn.Module) -> None:
        """Score ``generator`` where a milestone is reached: its averaged copy where averaging is on.

        Raises:
            HalvedError: Where ``goes_on`` says no.
        """
        for step in self._due:
            if str(step) in self.reached or progress.step < step:
                continue
            judged = generator
            if self._config.ema:
                judged = copy.deepcopy(generator).eval()
                restore_module(judged, progress.state(), "averaged")
            distance = self._score(judged, step)
            # The generator is kept before the note of it: done again, it is no better than itself.
            keep_if_best(self._folder, judged, self._what, self._config, Best(step, distance))
            self.reached[str(step)] = distance
            write_json(self._folder / MILESTONES, self.reached)
            self._judge()

    def _judge(self) -> None:
        if self._goes_on is None:
            return
        reached: dict[str, float] = {}
        for step, distance in self.reached.items():
            reached[step] = distance
            if not self._goes_on(step, distance):
                raise HalvedError(reached)


def keep_if_best(folder: Path, generator: nn.Module, what: str, config: TrainConfig, scored: Best) -> Best:
    """Write a generator to ``best.ckpt`` unless a better one is there; return the best."""
    before = best_of(folder)
    if before is not None and before.distance <= scored.distance:
        return before
    facts = {"checkpoint": "best", "step": scored.step, "distance": scored.distance}
    save_generator(folder / BEST, generator, what, config, facts)
    return scored


def best_of(folder: Path) -> Best | None:
    """Return what is in a run's ``best.ckpt``, if there is one."""
    file = folder / BEST
    if not file.is_file():
        return None
    facts = load_generator(file)[1]["meta"]
    return Best(int(facts["step"]), float(facts["distance"]))
