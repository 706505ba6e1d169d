"""The lifecycle of a piece of work: its folder, its records, its elapsed time and how it ended. Does not import Ray."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from matplotlib.figure import Figure

from degas_ray import figures
from degas_ray.checkpoint import State, save_step
from degas_ray.config import Config, dump, flatten, from_tree
from degas_ray.errors import DivergedError, Interrupted
from degas_ray.files import read_json, write_json
from degas_ray.home import SPENT, StudyFolder
from degas_ray.loop import OnProgress, Progress, ShouldStop, log_every
from degas_ray.tracking import Address, RunDirectory, Tracker, Tracking, both, log_provenance, tags
from degas_ray.tracking.runs import Role

LOOK_SECONDS = 0.5  # between two looks for a request to stop
NOTE_SECONDS = 5.0  # between two notes of the time spent
REPORT_SECONDS = 1.0  # between two reports of a worker, at least
A_SECOND = 20  # reports of all workers together, which one driver and one MLflow server take with ease

Report = Callable[[Mapping[str, Any]], None]


def never() -> bool:
    """Never stop: the default of ``should_stop``."""
    return False


def ignore(progress: Progress) -> None:
    """Discard the progress: the default of ``on_progress``."""


def no_state() -> State:
    """Refuse to give a state: the phase has none, or another process has it."""
    raise AssertionError("there is no state of a training here")


@dataclass(frozen=True)
class Place:
    """Where a piece of work is done.

    Args:
        home: The home directory, for its caches.
        folder: The run's folder, for checkpoints and results.
        tracker: Records numbers, pictures and files.
        on_progress: Receives the progress.
        should_stop: Asked whether to stop.
    """

    home: Path
    folder: Path
    tracker: Tracker
    on_progress: OnProgress = ignore
    should_stop: ShouldStop = never

    def watch(self, phase: str, seconds: float, quota: int | None = None) -> OnProgress:
        """Return what a loop reports to: it records, keeps checkpoints at least ``seconds`` apart, and passes on.

        Args:
            phase: Names checkpoints and metrics.
            seconds: Between two checkpoints.
            quota: Bytes that the folder's checkpoints may take.
        """
        last = time.monotonic()

        def on_progress(progress: Progress) -> None:
            nonlocal last
            # A report for a pause alone is not recorded: the record of a resumed run is that of an undisturbed one.
            if progress.step % log_every(progress.steps) == 0 or progress.step == progress.steps:
                named = {f"{phase}/{key}": value for key, value in progress.metrics.items()}
                self.tracker.metrics(named, progress.step)
            now = time.monotonic()
            if progress.step < progress.steps and (now - last >= seconds or self.should_stop()):
                save_step(self.folder / phase, progress.state(), phase, progress.step, quota=quota, beside=self.folder)
                last = time.monotonic()
            self.on_progress(Progress(phase, progress.step, progress.steps, progress.metrics, progress.state))

        return on_progress

    def keep(self, figure: Figure, name: str) -> None:
        """Draw a figure into the folder and record the file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        figures.save(figure, self.folder / name)
        self.tracker.artifact(self.folder / name)

    def say(self, phase: str, step: int, steps: int) -> None:
        """Report the progress of a phase that has no loop of its own, and end it where that is wanted.

        Raises:
            Interrupted: When ``should_stop`` said so.
        """
        self.on_progress(Progress(phase, step, steps, {}, no_state))
        if self.should_stop() and step < steps:
            raise Interrupted(f"stopped in {phase} at {step} of {steps}; it can be resumed")


class Attempt:
    """One execution of a piece of work: its tracker and the seconds of all executions together.

    Used as a context manager; a run that ends with an error is marked in MLflow as what it is.

    Args:
        tracking: The access to MLflow.
        home: The home directory.
        folder: The run's folder.
        role: Of the MLflow run.
        name: Of the MLflow run.
        key: Identifies the MLflow run in every execution.
        parent: MLflow id of the study's run.
        pause: Least seconds between two sendings to MLflow.
        on_progress: Receives the progress.
        should_stop: Asked whether to stop.
    """

    def __init__(
        self,
        tracking: Tracking,
        home: Path,
        folder: Path,
        role: Role,
        name: str,
        key: str,
        *,
        parent: str | None = None,
        pause: float = 0.0,
        on_progress: OnProgress = ignore,
        should_stop: ShouldStop = never,
    ) -> None:
        self.folder = folder
        self.tracker = both(tracking.run(name, role, key=key, parent=parent, pause=pause), RunDirectory(folder))
        self.tracker.tags({tags.FOLDER: str(folder)})
        self._home = home
        self._on_progress, self._should_stop = on_progress, should_stop
        self._before = float((read_json(folder / SPENT) or {}).get("seconds", 0.0))
        self._began = self._noted = time.monotonic()

    @property
    def seconds(self) -> float:
        """Spent in all executions together."""
        return self._before + time.monotonic() - self._began

    def begin(self, config: Config, facts: dict[str, Any] | None, **params: Any) -> None:
        """Record the settings, and the provenance where there is one.

        Args:
            config: The settings.
            facts: The provenance.
            params: Recorded beside the settings.
        """
        self.tracker.params({**flatten(config), **params})
        self.tracker.text(dump(config), "config.yaml")
        if facts is not None:
            log_provenance(self.tracker, facts)

    def place(self, folder: Path | None = None) -> Place:
        """Return where to work: the run's folder, or one of its own below it."""
        return Place(self._home, folder or self.folder, self.tracker, self._progress, self._should_stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._note()
        finally:  # on a full disk too: what is never finished is never sent by anybody else
            if isinstance(error, Interrupted):
                self.tracker.finish("interrupted")
            elif error is not None:
                self.tracker.finish("diverged" if isinstance(error, DivergedError) else "failed")

    def _progress(self, progress: Progress) -> None:
        self._on_progress(progress)
        if time.monotonic() - self._noted > NOTE_SECONDS:
            self._note()

    def _note(self) -> None:
        """Write down what the driver cannot know of a worker that is gone."""
        self._noted = time.monotonic()
        write_json(self.folder / SPENT, {"seconds": self.seconds, "run_id": self.tracker.run_id})


@dataclass(frozen=True)
class Context:
    """What all jobs of a study share; crosses to workers as JSON.

    Args:
        home: The home directory.
        study: The study's name.
        config: The study's settings.
        pack: The images' file.
        uri: MLflow's address.
        experiment: MLflow's experiment.
        parent: MLflow id of the study's run.
        concurrent: Jobs side by side.
    """

    home: Path
    study: str
    config: Config
    pack: Path
    uri: str
    experiment: str
    parent: str
    concurrent: int = 1

    @property
    def pace(self) -> float:
        """Least seconds between two reports of a worker, to the driver and to MLflow; more where there are many."""
        return max(REPORT_SECONDS, self.concurrent / A_SECOND)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that :meth:`from_json` reads."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        paths = {"home": str(self.home), "pack": str(self.pack), "config": self.config.model_dump(mode="json")}
        return values | paths

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Context":
        """Return what :meth:`to_json` wrote."""
        paths = {"home": Path(value["home"]), "pack": Path(value["pack"]), "config": from_tree(value["config"])}
        return cls(**{**value, **paths})

    @property
    def folder(self) -> StudyFolder:
        """The study's folder."""
        return StudyFolder(self.home, self.study)

    @property
    def tracking(self) -> Tracking:
        """The access to MLflow."""
        return Tracking(Address(self.home, self.uri, self.experiment))


def run_key(study: str, folder: Path) -> str:
    """Return the key of the MLflow run of the study's job that works in ``folder``."""
    return f"{study}/{folder.parent.name}/{folder.name}"


class JobAttempt(Attempt):
    """One execution of a job of a study; the driver sees its progress.

    Args:
        context: The study's.
        folder: The job's.
        role: Of its MLflow run.
        name: Of its MLflow run, behind the study's name.
        report: Takes what the driver should see.
        seed: The job's own.
        config: Its settings; the study's by default.
        params: Recorded beside the settings.
    """

    def __init__(
        self,
        context: Context,
        folder: Path,
        role: Role,
        name: str,
        report: Report,
        seed: int,
        config: Config | None = None,
        **params: Any,
    ) -> None:
        self.context, self._report = context, report
        self._looked, self._stop, self._reported = 0.0, False, time.monotonic() - context.pace
        super().__init__(
            context.tracking,
            context.home,
            folder,
            role,
            f"{context.study} {name}",
            run_key(context.study, folder),
            parent=context.parent,
            pause=context.pace,
            on_progress=self._tell_driver,
            should_stop=self._asked_to_stop,
        )
        self.tracker.tags({tags.STUDY: context.study})
        facts = read_json(context.folder.provenance)
        own = {"study.seed": context.config.seed, "seed": seed}
        self.begin(config or context.config, None if facts is None else {**facts, "seed": seed}, **own, **params)

    def say(self, text: str) -> None:
        """Have the driver show one line."""
        self._report({"phase": f"message {time.monotonic()}", "message": text})

    def _tell_driver(self, progress: Progress) -> None:
        # A worker waits until the driver has taken its report, so that each costs a short trial time; what counts is in
        # the job's folder. At the edges of phases too: the time left is told without.
        now = time.monotonic()
        if now - self._reported >= self.context.pace:
            self._reported = now
            self._report({"phase": progress.phase, "step": progress.step, "steps": progress.steps})

    def _asked_to_stop(self) -> bool:
        now = time.monotonic()
        if not self._stop and now - self._looked > max(LOOK_SECONDS, self.context.pace / 10):
            self._looked, self._stop = now, self.context.folder.stop.exists()
        return self._stop
