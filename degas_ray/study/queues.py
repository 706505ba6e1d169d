"""The queues of a study: which job comes next, and what the end of one means."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from degas_ray.files import read_json, write_json
from degas_ray.home import FAILURE, FOUND, RESULT, SPENT
from degas_ray.results import Row
from degas_ray.runs.jobs import Job
from degas_ray.runs.run import Context, run_key
from degas_ray.scores import Protocol, Scores
from degas_ray.seeds import derive
from degas_ray.study.monitor import Monitor
from degas_ray.study.placement import Placement
from degas_ray.tracking.runs import Role
from degas_ray.trials.order import candidates
from degas_ray.trials.proposals import Proposal, Proposals
from degas_ray.trials.short import KEY, rerank_tasks, yardstick_task
from degas_ray.trials.trial import trial_task
from degas_ray.trials.worker import DISK

DIED = "WorkerDied"  # a failure that nobody but the driver knows of
ALIKE = 3  # first trials that fail in the same way: nothing better is to be expected


class StudyQueue:
    """Trials from Optuna, then the yardstick, where it is not known, and re-rankings of the best.

    Args:
        context: The study's.
        proposals: Optuna.
        monitor: Told of everything.
        total: Trials that there shall be.
        placement: What they need.
    """

    def __init__(
        self, context: Context, proposals: Proposals, monitor: Monitor, total: int, placement: Placement
    ) -> None:
        self._context, self._proposals, self._monitor = context, proposals, monitor
        self._placement = placement
        self._total = total
        self._resumed: list[Proposal] = []
        for proposal in proposals.running():
            row = context.folder.row(proposal.number)
            if row is None:
                self._resumed.append(proposal)
            else:
                self._tell(row)
        self._again: list[Job] = []
        self._deaths: dict[str, int] = {}
        self._reruns: list[Job] | None = None
        rows = context.folder.rows()
        # The first trials of a study count, not those after a resumption; where all had failed it has another chance.
        succeeded = any(row.outcome != "failed" for row in rows)
        self._failures: list[tuple[str, str]] | None = None if succeeded else []
        self.problem = ""
        scores = [row.score for row in rows if row.score is not None and row.sound]
        monitor.best = min(scores, default=None)
        monitor.protocol = next((_measured(row.scores)[1] for row in rows if row.scores), None)

    def next(self) -> Job | None:
        """Return the next job: one that waits already, a trial begun earlier, a new trial, a training alone."""
        job = None if self._monitor.stopping else self._choose()
        running = [other.needs for other in self._monitor.running.values()]
        if job is not None and not self._placement.fits(running, job.needs):
            # Keep the order: otherwise small jobs could keep a large one waiting for ever.
            self._again.insert(0, job)
            job = None
        self._monitor.waiting = self._waiting()
        if job is not None:
            self._monitor.begin(job)
        return job

    def exhausted(self) -> bool:
        """Return whether there will be no more jobs."""
        return self._monitor.stopping or (self._reruns is not None and not self._reruns and not self._again)

    def progress(self, job: Job, report: Mapping[str, Any]) -> None:
        """Pass on what a worker reported."""
        self._monitor.progress(job, report)

    def tick(self) -> None:
        """Save the time spent and look for a request to stop; called every few tenths of a second."""
        self._monitor.tick()

    def ended(self, job: Job, error: str = "") -> None:
        """Find out what became of a job from its folder, and tell Optuna."""
        folder = Path(job.task["folder"])
        if error and not (folder / RESULT).exists() and self._retry(job, folder, error):
            return
        if job.task["kind"] != "trial":
            result = read_json(folder / RESULT) or {"outcome": "failed", "scores": {}}
            score, protocol = _measured(result["scores"])
            self._monitor.end(job, result["outcome"], score, job.task.get("genotype", ""), protocol)
            return
        row = self._context.folder.row(job.task["number"])
        searched = job.task["until"] == "search" and (folder / FOUND).exists()
        if row is None and searched and not self._monitor.stopping:
            self._monitor.gone(job)
            self._again.append(self._training(job.key, job.task))
            return
        if row is None:  # it was asked to pause
            self._monitor.end(job, "interrupted")
            return
        self._tell(row)
        self._monitor.end(job, row.outcome, row.score, row.genotype, _measured(row.scores)[1])
        self._watch(row)

    def _choose(self) -> Job | None:
        if self._again:
            return self._again.pop(0)
        if self._resumed:
            return self._trial(self._resumed.pop(0))
        if self._open():
            return self._trial(self._proposals.ask()) if self._proposals.ready() else None
        if any(job.task["kind"] == "trial" for job in self._monitor.running.values()):
            return None
        if self._reruns is None:
            self._reruns = self._plan_reruns()
        return self._reruns.pop(0) if self._reruns else None

    def _open(self) -> bool:
        """Return whether another trial may be proposed."""
        if len(self._proposals) >= self._total:
            return False
        spent = self._monitor.ledger.exceeds(self._context.config.study.budget)
        if spent:
            self._monitor.say(f"no more trials: {spent} is spent")
            self._total = len(self._proposals)
        return not spent

    def _trial(self, proposal: Proposal) -> Job:
        number = proposal.number
        seen = self._proposals.seen(number)
        key, task = f"trial {number}", trial_task(self._context, number, proposal.params, seen)
        if not self._placement.apart or (Path(task["folder"]) / FOUND).exists():
            return self._training(key, task)
        return Job(key, {**task, "until": "search"}, self._placement.search)

    def _training(self, key: str, task: Mapping[str, Any]) -> Job:
        """Return the rest of a trial, which is all of it where its halves need the same."""
        return Job(key, {**task, "until": ""}, self._placement.training)

    def _plan_reruns(self) -> list[Job]:
        chosen = candidates(self._context.folder.rows(), self._context.config)
        tasks = rerank_tasks(self._context, chosen) if len(chosen) > 1 else []
        needs = self._placement.training
        jobs = [Job(f"re-rank {index + 1} of {len(tasks)}", task, needs) for index, task in enumerate(tasks)]
        if chosen and self._context.config.study.yardstick:
            jobs.insert(0, Job(KEY, yardstick_task(self._context.folder), needs))
        return [job for job in jobs if not (Path(job.task["folder"]) / RESULT).exists()]

    @property
    def _missing_yardstick(self) -> bool:
        known = (self._context.folder.yardstick / RESULT).exists()
        return self._context.config.study.yardstick and not known

    def _waiting(self) -> tuple[int, int, bool]:
        searches = sum(job.task.get("until") == "search" for job in self._again)
        trials = self._total - len(self._proposals) + len(self._resumed) + searches
        study = self._context.config.study
        expected = min(study.rerank.top, self._total) * study.rerank.seeds + self._missing_yardstick
        trainings = len(self._again) - searches + (len(self._reruns) if self._reruns is not None else expected)
        return trials, trainings, study.promote

    def _retry(self, job: Job, folder: Path, error: str) -> bool:
        """Hand a job out again whose worker died; write down the failure of one that failed by itself."""
        failure = read_json(folder / FAILURE)
        if failure is not None and failure["kind"] == DISK:
            self._pause(job, failure["error"])
            return True
        allowed = self._context.config.study.max_failures
        deaths = self._deaths[job.key] = self._deaths.get(job.key, 0) + 1
        if failure is None and deaths <= allowed:
            self._monitor.gone(job)
            self._monitor.say(
                f"{job.key}: its worker died; it goes on from its last checkpoint ({deaths} of {allowed})"
            )
            self._again.append(job)
            return True
        if failure is None:
            failure = {
                "kind": DIED,
                "error": f"{error}\nthe worker died {deaths} times; is there enough memory?",
            }
        self._fail(job, folder, failure)
        return False

    def _pause(self, job: Job, error: str) -> None:
        """End the study for now where the disk is full: every job would fail of it, and none of its own fault."""
        name = self._context.study
        self.problem = f"{error}\nnothing is lost; make room, then go on with 'degas-ray tune --resume {name}'"
        self._monitor.end(job, "interrupted")
        self._monitor.stop()

    def _fail(self, job: Job, folder: Path, failure: Mapping[str, Any]) -> None:
        """Write down that a job has failed, and then see to its run, which MLflow may have to wait for."""
        if job.task["kind"] == "trial":
            row = self._failed(job, folder, failure)
            write_json(folder / RESULT, row.to_json())
        else:
            row = None
            self._monitor.say(f"{job.key} failed: {failure['error'].strip().splitlines()[-1]}")
        if failure["kind"] != DIED:
            return  # its worker has recorded it
        run_id = self._record_death(job, folder)
        if row is not None and run_id:
            write_json(folder / RESULT, replace(row, run_id=run_id).to_json())

    def _failed(self, job: Job, folder: Path, failure: Mapping[str, Any]) -> Row:
        number, spent = job.task["number"], read_json(folder / SPENT) or {}
        return Row(
            number,
            "failed",
            job.task["params"],
            derive(self._context.config.seed, "trial", number),
            seconds=float(spent.get("seconds", 0.0)),
            run_id=str(spent.get("run_id", "")),
            error=failure["error"],
        )

    def _record_death(self, job: Job, folder: Path) -> str:
        """Say in MLflow that a job failed whose worker could not say so; return its run's id where that is known."""
        context = self._context
        role: Role = "trial" if job.task["kind"] == "trial" else "train"
        name, key = f"{context.study} {job.key}", run_key(context.study, folder)
        tracker = context.tracking.run(name, role, key=key, parent=context.parent)
        tracker.finish("failed")
        return tracker.run_id

    def _tell(self, row: Row) -> None:
        values = row.objectives(self._context.config.study.objectives)
        milestones = {int(step): value for step, value in row.milestones.items()}
        self._proposals.tell(row.number, row.outcome, values, milestones)

    def _watch(self, row: Row) -> None:
        """Stop the study where its first trials all fail in the same way."""
        if self._failures is None:
            return
        if row.outcome != "failed":
            self._failures = None
            return
        self._failures.append((row.error.strip().splitlines()[-1], row.error))
        alike = len({last for last, _ in self._failures}) == 1
        if len(self._failures) == min(ALIKE, self._total) and alike:
            self.problem = (
                f"the first {len(self._failures)} trials failed in the same way:\n\n{self._failures[0][1].strip()}"
            )
            self._monitor.stop()


class ListQueue:
    """A few jobs, each of which must succeed.

    Args:
        context: The study's.
        monitor: Told of everything.
        jobs: In order.
    """

    def __init__(self, context: Context, monitor: Monitor, jobs: Sequence[Job]) -> None:
        self._context, self._monitor = context, monitor
        self._jobs = [job for job in jobs if not (Path(job.task["folder"]) / RESULT).exists()]
        self._deaths = 0
        self.problem = ""

    def next(self) -> Job | None:
        """Return the next job."""
        self._monitor.waiting = (0, 0, False)
        if self._monitor.stopping or not self._jobs:
            return None
        job = self._jobs.pop(0)
        self._monitor.begin(job)
        return job

    def exhausted(self) -> bool:
        """Return whether there will be no more jobs."""
        return self._monitor.stopping or not self._jobs

    def progress(self, job: Job, report: Mapping[str, Any]) -> None:
        """Pass on what a worker reported."""
        self._monitor.progress(job, report)

    def tick(self) -> None:
        """Save the time spent and look for a request to stop; called every few tenths of a second."""
        self._monitor.tick()

    def ended(self, job: Job, error: str = "") -> None:
        """Hand out a job again whose worker died; note a failure."""
        folder = Path(job.task["folder"])
        result = read_json(folder / RESULT)
        if result is not None:
            score, protocol = _measured(result["scores"])
            self._monitor.end(job, result["outcome"], score, result["genotype"], protocol)
        elif not error:
            self._monitor.end(job, "interrupted")
        elif (failure := read_json(folder / FAILURE)) is not None:
            self._monitor.end(job, "failed")
            self.problem = f"{job.key} failed:\n\n{failure['error'].strip()}"
        elif self._deaths < self._context.config.study.max_failures:
            self._deaths += 1
            self._monitor.gone(job)
            self._monitor.say(f"{job.key}: its worker died; it goes on from its last checkpoint")
            self._jobs.append(job)
        else:
            self._monitor.end(job, "failed")
            self.problem = f"{job.key}: its worker died {self._deaths + 1} times; is there enough memory?\n\n{error}"


def _measured(scores: Mapping[str, Any]) -> tuple[float | None, Protocol | None]:
    """Return the Fréchet distance of scores as JSON, and their protocol; nothing where there are none."""
    found = Scores.from_json(scores) if scores else None
    return (None, None) if found is None else (found.fid, found.protocol)
