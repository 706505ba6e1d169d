"""Runs an experiment row by row; what is over is never done again, and what was killed goes on from its checkpoint."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from degas_ray.config import Config
from degas_ray.errors import DivergedError, InputError
from degas_ray.experiments import outcome
from degas_ray.experiments.files import Experiment
from degas_ray.experiments.plan import Member, Task, found_by, leaders, members_of, planned_trainings, tasks_of
from degas_ray.experiments.rows import Row, files_with_rows, finished, read_rows, write_rows
from degas_ray.files import read_json, write_json
from degas_ray.home import hold
from degas_ray.loop import OnProgress, Progress, ShouldStop
from degas_ray.study import run_search, run_study, run_training

SPENT = "spent.json"
NOTE_SECONDS = 5.0  # between two notes of the time spent
NAME_LETTERS = 40


@dataclass(frozen=True)
class Watch:
    """Who watches an experiment, and who may end it.

    Args:
        on_row: Told of each row when it begins: how many are done, of how many, and its name.
        on_progress: Told of the loops' steps.
        should_stop: Asked after each step.
    """

    on_row: Callable[[int, int, str], None]
    on_progress: OnProgress
    should_stop: ShouldStop


def run_experiment(experiment: Experiment, home: Path, watch: Watch) -> list[Row]:
    """Run what is left of an experiment.

    Args:
        experiment: At one scale.
        home: The home directory: images, runs, studies and caches are there.
        watch: Who watches.

    Returns:
        All its rows, which are in its results file as well.

    Raises:
        InputError: For missing data or weights, or where another process runs the same experiment.
        Interrupted: Where it was stopped; the same call goes on.
    """
    home = home.absolute()
    with hold(experiment.results.parent / f".{experiment.results.name}.run", seconds=2.0) as free:
        if not free:
            raise InputError(f"{experiment.name} is running in another process; wait for it, or stop that one")
        return _Run(experiment, home, watch).run()


class _Run:
    def __init__(self, experiment: Experiment, home: Path, watch: Watch) -> None:
        self._experiment, self._home, self._watch = experiment, home, watch
        self._rows = read_rows(experiment.results)
        others = (file for file in files_with_rows(experiment.results.parent) if file != experiment.results)
        self._elsewhere = [row for file in others for row in read_rows(file) if row.kind in ("search", "training")]
        self._members = list(members_of(experiment))
        to_find = sum(bool(member.key) for member in self._members)
        self._total, self._done = to_find + planned_trainings(experiment), 0

    def run(self) -> list[Row]:
        for member in self._members:
            if member.key:
                label = f"{member.group} {member.name}: {member.kind}"
                self._step(
                    member.key, label, partial(self._find, member), partial(outcome.shared_search, member=member)
                )
        for name in self._experiment.trainings:
            found = _generators(self._experiment, name, self._members, self._rows)
            for task in tasks_of(self._experiment, name, found):
                label = f"{task.member.group} {task.member.name}: {name}, seed {task.seed}"
                self._step(task.key, label, partial(self._train, task), partial(outcome.shared, task=task))
        return self._rows

    def _step(self, key: str, label: str, work: Callable[[], list[Row]], share: Callable[[Row], Row]) -> None:
        """Do one piece of work and keep its rows; where it was done for another group or experiment, its row is both's.

        Args:
            key: Of the work.
            label: Shown.
            work: Does it.
            share: Makes the row of the same work this one's.
        """
        self._watch.on_row(self._done, self._total, label)
        done = finished(self._rows, key) or finished(self._elsewhere, key)
        if done is None:
            self._keep(work())
        elif done.kind != "study" and not any(_place(row) == _place(share(done)) for row in self._rows):
            self._keep([share(done)])
        self._done += 1
        self._watch.on_row(self._done, self._total, label)

    def _keep(self, rows: list[Row]) -> None:
        same = {_place(row) for row in rows}
        self._rows = [row for row in self._rows if _place(row) not in same] + rows
        facts = {"experiment": self._experiment.name, "scale": self._experiment.scale}
        write_rows(self._experiment.results, self._rows, facts)

    def _find(self, member: Member) -> list[Row]:
        if member.kind == "study":
            return self._study(member)
        base = _base(member, member.config, "search", member.key)
        name, resume = self._folder(f"{self._experiment.name}-{member.group}-{member.name}", member.key)
        with _Clock(self._home / "runs" / name) as clock:
            try:
                run = run_search(member.config, self._home, name=name, resume=resume, **self._watched(clock))
            except DivergedError as error:
                return [outcome.failed(base, "diverged", str(error), clock.seconds, f"runs/{name}")]
        return [outcome.searched(base, run, member.config, clock.seconds)]

    def _study(self, member: Member) -> list[Row]:
        base = _base(member, member.config, "study", member.key)
        name = f"{self._experiment.name}-{member.group}-{member.name}"[:NAME_LETTERS].strip("-") + f"-{member.key}"
        folder = self._home / "studies" / name
        result = run_study(
            member.config,
            self._home,
            name=name,
            resume=(folder / "study.json").exists(),
            should_stop=self._watch.should_stop,
        )
        return outcome.studied(base, result, member.config)

    def _train(self, task: Task) -> list[Row]:
        base = _base(task.member, task.config, "training", task.key)
        slug = f"{self._experiment.name}-{task.member.group}-{task.member.name}-{task.training}"
        name, resume = self._folder(slug, task.key)
        with _Clock(self._home / "runs" / name) as clock:
            try:
                run = run_training(task.config, task.what, self._home, name=name, resume=resume, **self._watched(clock))
            except DivergedError as error:
                row = outcome.failed(base, "diverged", str(error), clock.seconds, f"runs/{name}")
                return [outcome.shared(row, task)]
        milestones = read_json(run.folder / "milestones.json") or {}
        return [outcome.shared(outcome.trained(base, run, task, milestones, clock.seconds), task)]

    def _folder(self, slug: str, key: str) -> tuple[str, bool]:
        """Return the name of a run's folder, and whether it was begun, be it by another experiment."""
        runs = self._home / "runs"
        begun = sorted(path.parent.name for path in runs.glob(f"*-{key}/task.json"))
        if begun:
            return begun[0], True
        slug = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in slug)
        return f"{slug[:NAME_LETTERS].strip('-')}-{key}", False

    def _watched(self, clock: "_Clock") -> Mapping[str, Any]:
        def on_progress(progress: Progress) -> None:
            clock.note()
            self._watch.on_progress(progress)

        return {"on_progress": on_progress, "should_stop": self._watch.should_stop}


class _Clock:
    """Counts the seconds that a run takes in all attempts together."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / SPENT
        self._before = float((read_json(self._file) or {}).get("seconds", 0.0))
        self._began = self._noted = time.monotonic()

    @property
    def seconds(self) -> float:
        return round(self._before + time.monotonic() - self._began, 2)

    def note(self) -> None:
        """Write it down now and then: a process that is killed has no other chance."""
        if time.monotonic() - self._noted > NOTE_SECONDS:
            self._noted = time.monotonic()
            write_json(self._file, {"seconds": self.seconds})

    def __enter__(self) -> "_Clock":
        return self

    def __exit__(self, *error: object) -> None:
        if self._file.parent.exists():
            write_json(self._file, {"seconds": self.seconds})


def current_rows(experiment: Experiment) -> Iterator[Row]:
    """Yield the rows that belong to an experiment as its file is now; those of earlier settings are left out."""
    rows = read_rows(experiment.results)
    members = list(members_of(experiment))
    keys = {member.key for member in members if member.key}
    yield from (row for row in rows if row.kind in ("search", "study") and row.key in keys)
    yield from (row for row in rows if row.kind == "trial" and row.key.partition("-")[0] in keys)
    for name in experiment.trainings:
        tasks = tasks_of(experiment, name, _generators(experiment, name, members, rows))
        wanted = {_task_place(task) for task in tasks}
        yield from (row for row in rows if row.kind == "training" and _place(row) in wanted)


def _generators(
    experiment: Experiment, training: str, members: Sequence[Member], rows: Sequence[Row]
) -> dict[tuple[str, str], str]:
    """Return the generators that a training gets: those that are known, or the leaders among them."""
    found = {(member.group, member.name): found_by(member, rows) for member in members}
    wanted = experiment.trainings[training].leaders
    if wanted is None:
        return found
    tasks = tasks_of(experiment, wanted.of, _generators(experiment, wanted.of, members, rows))
    places = {_task_place(task) for task in tasks}
    scores: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if _place(row) in places and row.fid is not None:
            scores.setdefault((row.group, row.member), []).append(row.fid)
    chosen = leaders({key: statistics.fmean(values) for key, values in scores.items()}, wanted.top)
    return {key: what for key, what in found.items() if key in chosen}


def _base(member: Member, config: Config, kind: str, key: str) -> Row:
    return Row(
        key=key,
        kind=kind,
        group=member.group,
        member=member.name,
        outcome="completed",
        dataset=config.dataset,
        seed=config.seed,
        version=version("degas-ray"),
    )


def _place(row: Row) -> tuple[str, ...]:
    return (row.key, row.kind, row.group, row.member, row.training)


def _task_place(task: Task) -> tuple[str, ...]:
    return (task.key, "training", task.member.group, task.member.name, task.training)
