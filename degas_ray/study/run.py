"""A study from start to champion: Optuna proposes, Ray Tune runs, MLflow records, and any of it may be killed."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from degas_ray.config import Config, flatten, from_tree
from degas_ray.data import Pack, prepare
from degas_ray.errors import DegasError, InputError, Interrupted
from degas_ray.loop import ShouldStop
from degas_ray.space import Genotype
from degas_ray.study import promote, summary
from degas_ray.study.attempt import Context
from degas_ray.study.driver import Ledger, ListQueue, Monitor, StudyQueue
from degas_ray.study.estimate import Estimate
from degas_ray.study.events import Event, OnEvent
from degas_ray.study.hyperparameters import own_values, tuned
from degas_ray.study.jobs import Job, Queue, Resources, run_jobs, session
from degas_ray.study.promote import Promotion, Rerun
from degas_ray.study.proposals import Proposals
from degas_ray.study.store import VERSION, Row, StudyFolder, check_name, hold, new_name, read_json, write_json
from degas_ray.study.work import judge
from degas_ray.study.worker import run_task
from degas_ray.tracking import Tracker, log_provenance, open_tracking, provenance

PACKAGES = ("degas-ray", "torch", "ray", "optuna", "mlflow")
# A proposal uses results from this many rounds of trials ago: deterministic, and hardly ever waiting.
LAG = 2


@dataclass(frozen=True)
class StudyResult:
    """What a study came to.

    Args:
        name: Of the study.
        folder: ``HOME/studies/NAME``.
        run_id: In MLflow.
        rows: One a trial, by number.
        reruns: The re-rankings.
        winner: The genotype, as text.
        promotion: The champion; ``None`` where ``study.promote`` is off.
        pictures: What they show, to their files.
        next_command: What to type next.
        seconds: Spent in all attempts together.
    """

    name: str
    folder: Path
    run_id: str
    rows: tuple[Row, ...]
    reruns: tuple[Rerun, ...]
    winner: str
    promotion: Promotion | None
    pictures: Mapping[str, str]
    next_command: str
    seconds: float


@dataclass
class _Study:
    """What the functions of this module share."""

    context: Context
    pack: Pack
    tracker: Tracker
    state: dict[str, Any]
    ledger: Ledger
    on_event: OnEvent
    should_stop: ShouldStop
    gpus: float = 0.0
    _extra: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> StudyFolder:
        return self.context.folder

    def save(self, **changes: Any) -> None:
        """Write ``study.json``."""
        self.state |= {"spent": asdict(self.ledger), **changes}
        write_json(self.folder.file, self.state)


def run_study(
    config: Config | None,
    home: Path,
    *,
    name: str | None = None,
    resume: bool = False,
    extend: int = 0,
    on_event: OnEvent | None = None,
    should_stop: ShouldStop | None = None,
) -> StudyResult:
    """Run a study, or go on with one.

    Args:
        config: What to do; not looked at on a resumption, which has the settings that it was begun with.
        home: The home directory.
        name: Of the study; the dataset and a number by default.
        resume: Go on with the study ``name``.
        extend: Trials more than it was begun with.
        on_event: Told of all that happens.
        should_stop: Asked several times a second whether to pause; SIGINT and SIGTERM by default.

    Raises:
        InputError: Before anything is written: a fault in the settings, a name that is taken, missing data or weights.
        DegasError: Where no trial got a score, or the promotion failed.
        Interrupted: Where it was paused; ``resume`` goes on.
    """
    home = home.absolute()
    folder = _open_folder(config, home, name, resume)
    with _stop_by(should_stop) as stop, hold(folder.root, seconds=2.0) as free:
        if not free:
            raise InputError(f"the study {folder.name} is running in another process; wait for it, or stop that one")
        study = _begin(config, folder, extend, on_event or _ignore, stop)
        try:
            result = _run(study)
        except Interrupted:
            _end(study, "interrupted", "paused")
            raise
        except DegasError:
            _end(study, "failed", "failed")
            raise
        _end(study, "completed", "finished")
    return result


def load_study(home: Path, name: str) -> StudyResult:
    """Return what is known of a study from its folder, finished or not.

    Raises:
        InputError: Where there is none.
    """
    folder = StudyFolder(home.absolute(), name)
    state = folder.read()
    return _result(folder, state, from_tree(state["config"]))


def _open_folder(config: Config | None, home: Path, name: str | None, resume: bool) -> StudyFolder:
    if resume:
        if name is None:
            raise InputError("resume: which study? 'degas-ray tune --resume NAME'")
        folder = StudyFolder(home, name)
        folder.read()
        return folder
    if config is None:
        raise InputError("a new study needs a configuration")
    tuned(config)  # its faults come before anything is written
    folder = StudyFolder(home, name or new_name(home, config.dataset))
    check_name(folder.name)
    if folder.file.exists():
        raise InputError(
            f"there is a study {folder.name} already; go on with 'degas-ray tune --resume {folder.name}' "
            "or choose another --name"
        )
    return folder


def _begin(
    config: Config | None, folder: StudyFolder, extend: int, on_event: OnEvent, should_stop: ShouldStop
) -> _Study:
    state = read_json(folder.file)
    if state is not None:
        config = from_tree(state["config"])
    assert config is not None
    pack = prepare(
        config.dataset, folder.home, resolution=config.resolution, data_dir=config.data_dir, limit=config.limit
    )
    _check(config, pack, state)
    judge(config.scores, pack, folder.home)  # missing weights are told now, and no worker computes the statistics
    tracking = open_tracking(folder.home)
    tracker = tracking.run(folder.name, "study", key=folder.name)
    if state is None:
        state = {
            "version": VERSION,
            "name": folder.name,
            "config": config.model_dump(mode="json"),
            "images": pack.fingerprint,
            "trials": config.study.trials,
            "spent": asdict(Ledger()),
            "packages": {package: version(package) for package in PACKAGES},
        }
        tracker.params({**flatten(config), "images": len(pack)})
        log_provenance(tracker, provenance(config, pack.fingerprint))
    address = tracking.address
    context = Context(folder.home, folder.name, config, pack.path, address.uri, address.experiment_id, tracker.run_id)
    study = _Study(context, pack, tracker, state, Ledger(**state["spent"]), on_event, should_stop)
    study.save(trials=state["trials"] + extend, run_id=tracker.run_id, status="running", attempt=_attempt(state))
    folder.stop.unlink(missing_ok=True)
    return study


def _check(config: Config, pack: Pack, state: Mapping[str, Any] | None) -> None:
    faults = [
        f"{section}.supervised: {config.dataset} has no labels"
        for section, train in (("proxy", config.proxy), ("full", config.full))
        if train.supervised and pack.labels is None
    ]
    if faults:
        raise InputError("\n".join(faults) + "; leave --supervised out")
    if state is not None and state["images"] != pack.fingerprint:
        raise InputError(
            f"the images of {config.dataset} have changed since study {state['name']} began; "
            "put the old ones back, or begin a new study"
        )


def _run(study: _Study) -> StudyResult:
    config, folder = study.context.config, study.folder
    total = study.state["trials"]
    if config.study.budget.trials is not None:
        total = min(total, config.study.budget.trials)
    study.on_event(Event("plan", steps=total, text=folder.name))
    with session(folder.home) as resources:
        study.gpus = config.study.gpus if config.study.gpus is not None else float(resources.gpus >= 1)
        concurrent = config.study.concurrent or resources.fitting(config.study.cpus, study.gpus)
        lag = study.state.setdefault("lag", LAG * concurrent)
        proposals = Proposals(
            folder.journal,
            tuned(config),
            own_values(config),
            objectives=len(config.study.objectives),
            seed=config.seed,
            lag=lag,
        )
        estimate = Estimate(config, concurrent)
        monitor = Monitor(
            study.context, study.on_event, study.should_stop, estimate, study.ledger, study.save, study.gpus
        )
        queue = StudyQueue(study.context, proposals, monitor, total)
        _jobs(study, queue, "trials", config.study.cpus, study.gpus, concurrent)
        _check_outcome(study, monitor, queue.problem)
        genotype = promote.winner(folder.rows(), _reruns(folder), config)
        assert genotype is not None
        if config.study.promote:
            _promote(study, monitor, genotype, resources)
    return _result(folder, study.state, config)


def _promote(study: _Study, monitor: Monitor, genotype: Genotype, resources: Resources) -> None:
    config = study.context.config
    monitor.gpus = (
        config.study.promotion_gpus if config.study.promotion_gpus is not None else float(resources.gpus >= 1)
    )
    queue = ListQueue(study.context, monitor, [Job("promotion", promote.promotion_task(study.context, genotype))])
    # One piece of work has the node to itself.
    _jobs(study, queue, "promotion", max(1.0, resources.cpus // resources.nodes), monitor.gpus, 1)
    _check_outcome(study, monitor, queue.problem)
    promotion = _promotion(study.folder, genotype)
    assert promotion is not None
    images = f"{len(study.pack):,} images of {study.pack.name} at {study.pack.resolution}x{study.pack.resolution}"
    promote.register(study.context.tracking, promotion, config, study.folder.name, images)


def _jobs(study: _Study, queue: Queue, name: str, cpus: float, gpus: float, concurrent: int) -> None:
    if queue.exhausted():
        return
    scratch = study.folder.root / "ray"
    worker = partial(run_task, study.context.to_json())
    label = f"{study.state['attempt']:03d}-{name}"
    try:
        run_jobs(queue, worker, name=label, scratch=scratch, cpus=cpus, gpus=gpus, concurrent=concurrent)
    finally:
        shutil.rmtree(scratch / label, ignore_errors=True)


def _check_outcome(study: _Study, monitor: Monitor, problem: str) -> None:
    name = study.folder.name
    if problem:
        raise DegasError(f"study {name}: {problem}")
    if monitor.stopping:
        raise Interrupted(f"study {name} is paused and kept; go on with 'degas-ray tune --resume {name}'")
    rows = study.folder.rows()
    if not any(row.score is not None for row in rows):
        outcomes = ", ".join(f"trial {row.number} {row.outcome}" for row in rows) or "no trial was run"
        last = next((row.error for row in rows if row.error), "")
        raise DegasError(f"study {name}: no trial got a score ({outcomes})\n{last}".strip())


def _end(study: _Study, outcome: str, status: str) -> None:
    summary.record(study.tracker, study.context.config, study.folder, _reruns(study.folder))
    study.tracker.finish(outcome)
    study.save(status=status)
    command = study.context.config.study.on_finish
    if command is not None and status != "paused":
        facts = {"DEGAS_RAY_STUDY": study.folder.name, "DEGAS_RAY_HOME": str(study.folder.home)}
        done = subprocess.run(command, shell=True, check=False, env={**os.environ, **facts, "DEGAS_RAY_STATUS": status})
        if done.returncode:
            study.on_event(Event("message", text=f"on_finish: {command!r} ended with exit code {done.returncode}"))


def _result(folder: StudyFolder, state: Mapping[str, Any], config: Config) -> StudyResult:
    rows, reruns = folder.rows(), _reruns(folder)
    genotype = promote.winner(rows, reruns, config)
    promotion = _promotion(folder, genotype) if genotype is not None else None
    if promotion is not None and promotion.model:
        command = f"degas-ray sample models:/{promotion.model}@{promote.ALIAS} --grid --out samples.png"
    elif genotype is not None:
        command = f"degas-ray promote {folder.name}"
    else:
        command = f"degas-ray tune --resume {folder.name}"
    return StudyResult(
        name=folder.name,
        folder=folder.root,
        run_id=state.get("run_id", ""),
        rows=tuple(rows),
        reruns=tuple(reruns),
        winner=str(genotype) if genotype is not None else "",
        promotion=promotion,
        pictures=promotion.pictures if promotion is not None else {},
        next_command=command,
        seconds=state["spent"]["seconds"],
    )


def _reruns(folder: StudyFolder) -> list[Rerun]:
    found = [read_json(path) for path in sorted((folder.root / "rerank").glob("*/result.json"))]
    return [Rerun(**value) for value in found if value is not None]


def _promotion(folder: StudyFolder, genotype: Genotype) -> Promotion | None:
    value = read_json(folder.root / "promotion" / genotype.hash / "result.json")
    return Promotion(**value) if value is not None else None


def _attempt(state: Mapping[str, Any]) -> int:
    return int(state.get("attempt", 0)) + 1


def _ignore(event: Event) -> None:
    """Nobody watches."""


@contextmanager
def _stop_by(should_stop: ShouldStop | None) -> Iterator[ShouldStop]:
    """Yield who says when to pause: the caller, or SIGINT and SIGTERM; a second signal ends the study at once."""
    if should_stop is not None or threading.current_thread() is not threading.main_thread():
        yield should_stop or (lambda: False)
        return
    came = False

    def note(number: int, frame: object) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
