"""A study from start to champion: Optuna proposes, Ray Tune runs, MLflow records, and any of it may be killed."""

import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from degas_ray.config import Config, stored_config
from degas_ray.errors import ConfigError, DegasError, InputError, Interrupted
from degas_ray.gan.group import Group
from degas_ray.home import StudyFolder
from degas_ray.loop import ShouldStop
from degas_ray.report.result import EXTEND, StudyResult, collect, load_study
from degas_ray.report.standing import standing
from degas_ray.report.verdict import verdict
from degas_ray.results import COLLAPSED, Promotion
from degas_ray.runs.jobs import Job, Queue, Resources, check_shared, find_cluster, run_jobs, session
from degas_ray.space import Genotype
from degas_ray.study.estimate import Estimate
from degas_ray.study.events import Event, OnEvent
from degas_ray.study.monitor import Monitor
from degas_ray.study.opened import Opened, Prepared, begin, end, hold_study, open_folder, prepare_study
from degas_ray.study.placement import Placement, misfits, place
from degas_ray.study.queues import ListQueue, StudyQueue
from degas_ray.trials.order import promotion_order
from degas_ray.trials.promotion import promotion_task, register, train_in_group
from degas_ray.trials.proposals import Proposals
from degas_ray.trials.ranges import own_values, tuned
from degas_ray.trials.strategies import make_strategy
from degas_ray.trials.worker import run_task

# A proposal uses results from this many rounds of trials ago: deterministic, and hardly ever waiting.
LAG = 2
StudyWorker = Callable[[Mapping[str, Any], Mapping[str, Any], Callable[[Mapping[str, Any]], None]], None]


def run_study(
    config: Config | None,
    home: Path,
    *,
    name: str | None = None,
    resume: bool = False,
    extend: int = 0,
    on_event: OnEvent | None = None,
    should_stop: ShouldStop | None = None,
    worker: StudyWorker = run_task,
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
        worker: What a worker process does with a job; benchmarks hand in one that trains nothing.

    Raises:
        InputError: Before anything is written: a fault in the settings, a name that is taken, missing data or weights.
        DegasError: Where no trial got a score, or the promotion failed.
        Interrupted: Where it was paused; ``resume`` goes on.
    """
    folder = open_folder(config, home.absolute(), name, resume)
    if resume and not extend and folder.read().get("status") == "finished":
        return load_study(home, folder.name)
    find_cluster()
    own, on_event = None if resume else config, on_event or _ignore
    with _held(own, folder, should_stop, on_event, named=name is not None) as (prepared, folder, stop):
        with session(folder.home) as resources:
            placement = _placed(prepared.config, folder, resources, on_event)
            study = begin(prepared, folder, extend, on_event, stop, resources)
            outcome, error = _attempted(study, placement, worker)
        end(study, outcome, _status(error))  # once Ray is gone: it may start a command of the user's
        if error is not None:
            raise error
    return load_study(home, folder.name)


def promote_genotype(
    home: Path,
    name: str,
    *,
    genotype: Genotype | None = None,
    trial: int | None = None,
    on_event: OnEvent | None = None,
    should_stop: ShouldStop | None = None,
) -> StudyResult:
    """Train a genotype with a study's full settings, and register it as champion unless it has collapsed.

    Args:
        home: The home directory.
        name: Of the study.
        genotype: Which; the one of ``trial`` by default, or the study's winner, or the next where that has collapsed.
        trial: A trial's number.
        on_event: Told of all that happens.
        should_stop: As for :func:`run_study`.

    Raises:
        InputError: Where there is no such study or trial, or nothing to promote.
        DegasError: Where the training failed.
        Interrupted: Where it was paused; the same call goes on.
    """
    folder = StudyFolder(home.absolute(), name)
    config = stored_config(folder.read(), folder.file)
    chosen = genotype or _chosen(folder, config, trial)
    before = folder.read().get("status", "paused")
    find_cluster()
    on_event = on_event or _ignore
    with _held(None, folder, should_stop, on_event) as (prepared, folder, stop), session(folder.home) as resources:
        placement = _placed(config, folder, resources, on_event, trials=False)
        study = begin(prepared, folder, 0, on_event, stop, resources)
        study.save(status=before)  # promoting does not resume the study
        try:
            _promote(study, _monitor(study, placement), chosen, placement, _promote_again(name, genotype, trial))
        finally:
            study.tracker.finish("completed" if before == "finished" else "interrupted")
            study.save()
    return collect(folder, study.state, config, chosen)


@contextmanager
def _held(
    config: Config | None,
    folder: StudyFolder,
    should_stop: ShouldStop | None,
    on_event: OnEvent,
    *,
    named: bool = True,
) -> Iterator[tuple[Prepared, StudyFolder, ShouldStop]]:
    """Lock the study's folder and install the handler of stop requests.

    Yields:
        The study's inputs, its locked folder, and the function that asks whether to stop.
    """
    with _stop_by(should_stop) as stop:
        prepared = prepare_study(config, folder, on_event)
        with hold_study(folder, prepared.config.dataset, resume=config is None, named=named) as own:
            yield prepared, own, stop


def _placed(
    config: Config, folder: StudyFolder, resources: Resources, on_event: OnEvent, *, trials: bool = True
) -> Placement:
    """Return where a study's parts run; refuse one that would wait for ever, before anything of it is written.

    Raises:
        ConfigError: Where it asks for more than any host has, and none can join.
        InputError: Where the hosts do not see its folder, or the promotion's batches cannot be shared by its GPUs.
    """
    check_shared(folder.root, resources)
    placement = place(config, resources)
    if config.study.promote or not trials:
        Group(0, placement.workers).check(batch=config.full.batch, generator_batch=config.full.generator_batch)
    missing = misfits(config, placement, resources, trials=trials)
    if missing and not resources.grows:
        raise ConfigError(misfit.fault for misfit in missing)
    for misfit in missing:
        on_event(Event("message", text=f"{misfit}; its jobs wait until one joins"))
    return placement


def _chosen(folder: StudyFolder, config: Config, trial: int | None) -> Genotype:
    rows = folder.rows()
    if trial is None:
        order = promotion_order(rows, folder.reruns(), config)
        if not order:
            raise InputError(f"no trial of {folder.name} has a score yet; type 'degas-ray tune --resume {folder.name}'")
        for genotype in order:
            promotion = folder.promotion(genotype.hash)
            if promotion is None or not promotion.collapsed:
                return genotype
        raise InputError(
            f"all {len(order)} genotypes of {folder.name} have collapsed at full length; find others with "
            f"'degas-ray tune --resume {folder.name} --extend-trials {EXTEND}', or begin another study"
        )
    known = {row.number: row.genotype for row in rows if row.genotype}
    if trial not in known:
        numbers = ", ".join(map(str, known)) or "none"
        raise InputError(f"trial {trial} of {folder.name} has found no genotype; these have: {numbers}")
    return Genotype.parse(known[trial])


def _attempted(study: Opened, placement: Placement, worker: StudyWorker) -> tuple[str, DegasError | None]:
    """Run a study and return its outcome, and the error where it did not come to its end."""
    try:
        return _run(study, placement, worker), None
    except DegasError as error:
        return "interrupted" if isinstance(error, Interrupted) else "failed", error


def _status(error: DegasError | None) -> str:
    """Return the status of a study that ended with ``error``."""
    if error is None:
        return "finished"
    return "paused" if isinstance(error, Interrupted) else "failed"


def _run(study: Opened, placement: Placement, worker: StudyWorker) -> str:
    """Do what is left of a study; return ``completed``, or ``collapsed`` where it has no champion for that."""
    config, folder = study.context.config, study.folder
    total = study.state["trials"]
    if config.study.budget.trials is not None:
        total = min(total, config.study.budget.trials)
    study.on_event(Event("plan", step=len(folder.rows()), steps=total, text=folder.name))
    study.context = replace(study.context, concurrent=placement.concurrent)
    lag = study.state.setdefault("lag", LAG * placement.concurrent)
    proposals = Proposals(
        folder.journal,
        tuned(config),
        own_values(config),
        objectives=len(config.study.objectives),
        seed=config.seed,
        lag=lag,
        patient=config.study.early_stop,
        strategy=make_strategy(config),
    )
    monitor = _monitor(study, placement)
    queue = StudyQueue(study.context, proposals, monitor, total, placement)
    _jobs(study, queue, "trials", placement.concurrent, worker)
    _check_stop(study, monitor, queue.problem, _resume(folder.name))
    _check_scores(study)
    return _promote_best(study, monitor, placement) if config.study.promote else "completed"


def _monitor(study: Opened, placement: Placement) -> Monitor:
    estimate = Estimate(study.context.config, placement)
    return Monitor(study.context, study.on_event, study.should_stop, estimate, study.ledger, study.save)


def _promote_best(study: Opened, monitor: Monitor, placement: Placement) -> str:
    """Train the winner to full length and register it; where it collapses the next, and so on, within the budget."""
    config, folder = study.context.config, study.folder
    order = promotion_order(folder.rows(), folder.reruns(), config)[: config.study.promotions]
    for turn, genotype in enumerate(order, 1):
        if turn > 1 and folder.promotion(genotype.hash) is None:
            if spent := study.ledger.exceeds(config.study.budget):
                monitor.say(f"no more promotions: {spent} is spent")
                break
            monitor.say(f"genotype {genotype.hash[:8]} is trained in its place, {turn} of at most {len(order)}")
        promotion = _promote(study, monitor, genotype, placement, _resume(folder.name), turn)
        if not promotion.collapsed:
            return "completed"
        monitor.say(f"genotype {genotype.hash[:8]} COLLAPSED at full length and is no champion")
    return COLLAPSED


def _promote(
    study: Opened, monitor: Monitor, genotype: Genotype, placement: Placement, again: str, turn: int = 1
) -> Promotion:
    """Train a genotype to full length, and register it unless it has collapsed.

    Args:
        study: The study.
        monitor: Told of everything.
        genotype: What is trained.
        placement: What that needs.
        again: The command that goes on with it.
        turn: How many candidates were trained so far, with this one.
    """
    config = study.context.config
    study.context = replace(study.context, concurrent=1)
    name = "promotion" if turn == 1 else f"promotion {turn}"
    job = Job(name, promotion_task(study.context, genotype, turn), placement.promotion)
    if placement.workers > 1:
        _train_in_group(study, monitor, job, placement.workers, again)
    queue = ListQueue(study.context, monitor, [job])
    _jobs(study, queue, name.replace(" ", "-"), 1)
    _check_stop(study, monitor, queue.problem, again)
    promotion = study.folder.promotion(genotype.hash)
    assert promotion is not None
    if promotion.collapsed:
        return promotion
    pack = study.pack
    images = (
        f"{len(pack):,} images of {pack.name} at {pack.resolution}x{pack.resolution}, fingerprint {pack.fingerprint}"
    )
    now = standing(study.folder, config)
    if now.promotion != promotion:  # it was chosen by hand
        now = standing(study.folder, config, chosen=genotype)
    said = verdict(now, config)
    return register(study.context.tracking, promotion, config, study.folder.name, images, again, said)


def _train_in_group(study: Opened, monitor: Monitor, job: Job, workers: int, again: str) -> None:
    """Train a promotion on as many workers as it has GPUs; its job then finds the generator and scores it."""

    def should_stop() -> bool:
        monitor.tick()
        return monitor.stopping

    outcome = "failed"
    monitor.begin(job)
    try:
        train_in_group(
            study.context,
            study.pack,
            job.task,
            partial(monitor.progress, job),
            workers=workers,
            resources=study.resources,
            should_stop=should_stop,
            again=again,
        )
        outcome = "completed"
    except Interrupted:
        outcome = "interrupted"
    except DegasError as error:
        raise DegasError(f"study {study.folder.name}: {job.key} failed:\n\n{error}") from error
    finally:
        if outcome == "completed":
            monitor.gone(job)
        else:
            monitor.end(job, outcome)
    _check_stop(study, monitor, "", again)


def _jobs(
    study: Opened,
    queue: Queue,
    name: str,
    concurrent: int,
    does: StudyWorker = run_task,
) -> None:
    if queue.exhausted():
        return
    scratch = study.folder.root / "ray"
    worker = partial(does, study.context.to_json())
    label = f"{study.state['attempt']:03d}-{name}"
    try:
        run_jobs(queue, worker, name=label, scratch=scratch, concurrent=concurrent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # a killed driver's is there too


def _resume(name: str) -> str:
    return f"degas-ray tune --resume {name}"


def _promote_again(name: str, genotype: Genotype | None, trial: int | None) -> str:
    """Return the command that goes on with a promotion which was asked for by itself."""
    which = f' --genotype "{genotype}"' if genotype is not None else f" --trial {trial}" if trial is not None else ""
    return f"degas-ray promote {name}{which}"


def _check_stop(study: Opened, monitor: Monitor, problem: str, again: str) -> None:
    name = study.folder.name
    if problem:
        raise DegasError(f"study {name}: {problem}")
    if monitor.stopping:
        raise Interrupted(f"study {name} is paused and kept; go on with '{again}'")


def _check_scores(study: Opened) -> None:
    name = study.folder.name
    rows = study.folder.rows()
    if not any(row.score is not None for row in rows):
        outcomes = ", ".join(f"trial {row.number} {row.outcome}" for row in rows) or "no trial was run"
        last = next((row.error for row in rows if row.error), "")
        raise DegasError(f"study {name}: no trial got a score ({outcomes})\n{last}".strip())


def _ignore(event: Event) -> None:
    """Discard the event: the default of ``on_event``."""


@contextmanager
def _stop_by(should_stop: ShouldStop | None) -> Iterator[ShouldStop]:
    """Yield the function that asks whether to pause: the caller's, or one that sees SIGINT and SIGTERM.

    A second signal ends the study at once.
    """
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
