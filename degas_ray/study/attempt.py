"""One execution of a job: its folder, its tracker and its elapsed time. Does not import Ray."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from degas_ray.config import Config, from_tree
from degas_ray.errors import Interrupted
from degas_ray.loop import Progress
from degas_ray.study.store import StudyFolder, read_json, write_json
from degas_ray.study.work import Place
from degas_ray.tracking import Address, RunDirectory, Tracking, both, log_provenance, tags
from degas_ray.tracking.runs import Role

SPENT = "spent.json"
LOOK_SECONDS = 0.5  # between two looks for a request to stop
NOTE_SECONDS = 5.0  # between two notes of the time spent
REPORT_SECONDS = 1.0  # between two reports of a worker, at least
A_SECOND = 20  # reports of all workers together, which one driver and one MLflow server take with ease

Report = Callable[[Mapping[str, Any]], None]


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
        parent: The study's run.
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
        return {
            "home": str(self.home),
            "study": self.study,
            "config": self.config.model_dump(mode="json"),
            "pack": str(self.pack),
            "uri": self.uri,
            "experiment": self.experiment,
            "parent": self.parent,
            "concurrent": self.concurrent,
        }

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
        """The door to MLflow."""
        return Tracking(Address(self.home, self.uri, self.experiment))


def run_key(study: str, folder: Path) -> str:
    """Return the key that a job's MLflow run has.

    Args:
        study: The study's name.
        folder: The job's.
    """
    return f"{study}/{folder.parent.name}/{folder.name}"


class Attempt:
    """One execution of a job: its folder, its tracker and the seconds of all executions together.

    Args:
        context: The study's.
        folder: The job's.
        role: Of its MLflow run.
        name: Of its MLflow run.
        report: Takes what the driver should see.
        seed: The job's own.
    """

    def __init__(self, context: Context, folder: Path, role: Role, name: str, report: Report, seed: int) -> None:
        self.context, self.folder, self._report = context, folder, report
        mlflow = context.tracking.run(
            name, role, key=run_key(context.study, folder), parent=context.parent, pause=context.pace
        )
        self.tracker = both(mlflow, RunDirectory(folder))
        self.tracker.tags({tags.STUDY: context.study, tags.FOLDER: str(folder)})
        if (facts := read_json(context.folder.provenance)) is not None:
            log_provenance(self.tracker, {**facts, "seed": seed})
        self._before = float((read_json(folder / SPENT) or {}).get("seconds", 0.0))
        self._began = self._noted = time.monotonic()
        self._looked, self._stop = 0.0, False
        self._reported = self._began - context.pace

    @property
    def seconds(self) -> float:
        """Spent in all attempts together."""
        return self._before + time.monotonic() - self._began

    def place(self, folder: Path | None = None) -> Place:
        """Return where to work: the job's folder, or one of its own below it."""
        return Place(self.context.home, folder or self.folder, self.tracker, self._progress, self._should_stop)

    def say(self, text: str) -> None:
        """Have the driver show one line."""
        self._report({"phase": f"message {time.monotonic()}", "message": text})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._note()
        finally:  # on a full disk too: what is never finished is never sent by anybody else
            if error is not None:
                self.tracker.finish("interrupted" if isinstance(error, Interrupted) else "failed")

    def _progress(self, progress: Progress) -> None:
        # A worker waits until the driver has taken its report, so that each costs a short trial time; what counts is in
        # the job's folder. At the edges of phases too: the time left is told without.
        now = time.monotonic()
        if now - self._reported >= self.context.pace:
            self._reported = now
            self._report({"phase": progress.phase, "step": progress.step, "steps": progress.steps})
        if now - self._noted > NOTE_SECONDS:
            self._noted = now
            self._note()

    def _note(self) -> None:
        """Write down what the driver cannot know of a worker that is gone."""
        write_json(self.folder / SPENT, {"seconds": self.seconds, "run_id": self.tracker.run_id})

    def _should_stop(self) -> bool:
        now = time.monotonic()
        if not self._stop and now - self._looked > max(LOOK_SECONDS, self.context.pace / 10):
            self._looked, self._stop = now, self.context.folder.stop.exists()
        return self._stop
