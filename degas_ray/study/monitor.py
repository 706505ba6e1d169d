"""The driver's view of a study: what workers report, what it costs, when to stop."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from degas_ray.errors import DegasError
from degas_ray.loop import ShouldStop
from degas_ray.results import COLLAPSED, Ledger
from degas_ray.runs.jobs import Job
from degas_ray.runs.run import Context
from degas_ray.scores import Protocol
from degas_ray.study.estimate import Estimate
from degas_ray.study.events import Event, OnEvent

SAVE_SECONDS = 5.0
GRACE_SECONDS = 60.0  # for workers to reach the end of a step and write a checkpoint


@dataclass
class Monitor:
    """Turns what workers report into events, adds up what the study spends, and stops it on request.

    Args:
        context: The study's.
        on_event: Receives the events.
        should_stop: Asked whether to pause.
        estimate: Of the time left.
        ledger: Of the time spent.
        save: Writes the ledger into ``study.json``.
    """

    context: Context
    on_event: OnEvent
    should_stop: ShouldStop
    estimate: Estimate
    ledger: Ledger
    save: Callable[[], None]
    best: float | None = None
    protocol: Protocol | None = None  # of the study's scores
    stopping: bool = False
    running: dict[str, Job] = field(default_factory=dict)
    waiting: tuple[int, int, bool] = (0, 0, False)  # trials, trainings alone, promotion that are still to begin
    _last: float = field(default_factory=time.monotonic)
    _saved: float = 0.0
    _stopped_at: float = 0.0

    def begin(self, job: Job) -> None:
        """Say that a job goes to a worker."""
        self.running[job.key] = job
        self.estimate.began(job.key)
        self._emit("start", job)

    def end(
        self,
        job: Job,
        outcome: str,
        score: float | None = None,
        genotype: str = "",
        protocol: Protocol | None = None,
    ) -> None:
        """Say that a job is over.

        Args:
            job: Which.
            outcome: How it ended.
            score: Its Fréchet distance, if it has one.
            genotype: What was trained.
            protocol: How the distance was measured.
        """
        self.protocol = protocol or self.protocol
        self.running.pop(job.key, None)
        self.estimate.ended(job.key)
        if score is not None and outcome != COLLAPSED and job.task["kind"] == "trial":
            self.best = score if self.best is None else min(self.best, score)
        self._emit("end", job, outcome=outcome, score=score, genotype=genotype)

    def gone(self, job: Job) -> None:
        """Mark a job as neither running nor over: another one does the rest, or it is tried again."""
        self.running.pop(job.key, None)
        self.estimate.ended(job.key)

    def say(self, text: str) -> None:
        """Show one line."""
        self.on_event(Event("message", text=text))

    def progress(self, job: Job, report: Mapping[str, Any]) -> None:
        """Pass on what a worker reported."""
        if "message" in report:
            self.say(str(report["message"]))
            return
        phase, step, steps = str(report["phase"]), int(report["step"]), int(report["steps"])
        self.estimate.note(job.key, phase, step, steps)
        self._emit("progress", job, phase=phase, step=step, steps=steps)

    def tick(self) -> None:
        """Add up the time spent, save it, and ask the workers to pause where a pause is requested.

        Raises:
            DegasError: Where they do not within a minute.
        """
        now = time.monotonic()
        self.ledger.seconds += now - self._last
        self.ledger.gpu_seconds += (now - self._last) * sum(job.needs.gpus for job in self.running.values())
        self._last = now
        if now - self._saved > SAVE_SECONDS:
            self._saved = now
            self.save()
        if not self.stopping and self.should_stop():
            self.stop()
            self.say("pausing: the workers finish their step and write a checkpoint")
        if self.stopping and now - self._stopped_at > GRACE_SECONDS:
            raise DegasError("the workers did not pause within a minute; they are ended now, and lose a few steps")

    def stop(self) -> None:
        """Ask the workers to pause."""
        self.stopping, self._stopped_at = True, time.monotonic()
        self.context.folder.stop.touch()

    def _emit(self, kind: Any, job: Job, **more: Any) -> None:
        self.on_event(
            Event(
                kind,
                work=job.key,
                trial=job.task.get("number"),
                best=self.best,
                protocol=self.protocol,
                eta=self.estimate.left(*self.waiting),
                **more,
            )
        )
