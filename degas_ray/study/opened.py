"""A study that is being worked on: opened, begun or gone on with, and closed."""

import os
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from degas_ray.config import Config, dump, flatten, stored_config
from degas_ray.data import Pack, doubts, prepare, quality, split
from degas_ray.errors import DegasError, DegasWarning, InputError
from degas_ray.files import read_json, write_json
from degas_ray.home import VERSION, StudyFolder, check_name, hold, hold_new, new_studies
from degas_ray.loop import Progress, ShouldStop
from degas_ray.precision import settled, words
from degas_ray.report import summary
from degas_ray.report.report import write_report
from degas_ray.results import Ledger
from degas_ray.runs.jobs import Resources
from degas_ray.runs.run import Context
from degas_ray.runs.work import find_extractor, judge, real_floor, train_second_judge
from degas_ray.study.events import Event, OnEvent
from degas_ray.study.placement import threads_of
from degas_ray.tracking import Tracker, Tracking, log_provenance, open_tracking, provenance, tags
from degas_ray.trials.ranges import tuned
from degas_ray.trials.short import take_known

HOLD_SECONDS = 2.0
STDERR = 2
PACKAGES = ("degas-ray", "torch", "ray", "optuna", "mlflow")


@dataclass(frozen=True)
class Prepared:
    """What a study needs and its workers will find ready: nothing of it belongs to the study.

    Args:
        config: The study's settings.
        pack: The training part of the images.
        tracking: The door to MLflow.
    """

    config: Config
    pack: Pack
    tracking: Tracking


@dataclass
class Opened:
    """A study that is being worked on.

    Args:
        context: What its workers are told.
        pack: The training part of the images.
        tracker: The study's own run.
        state: The content of ``study.json``.
        ledger: What was spent.
        on_event: Receives the events.
        should_stop: Asked whether to pause.
        resources: What the open session of Ray offers.
    """

    context: Context
    pack: Pack
    tracker: Tracker
    state: dict[str, Any]
    ledger: Ledger
    on_event: OnEvent
    should_stop: ShouldStop
    resources: Resources

    @property
    def folder(self) -> StudyFolder:
        """The study's folder."""
        return self.context.folder

    def save(self, **changes: Any) -> None:
        """Write ``study.json``."""
        self.state |= {"spent": asdict(self.ledger), **changes}
        write_json(self.folder.file, self.state)


def open_folder(config: Config | None, home: Path, name: str | None, resume: bool) -> StudyFolder:
    """Return the folder of a study; a new one is not made yet.

    Raises:
        InputError: For a name that is taken, or one that is not there, or settings that cannot be tuned.
    """
    if resume:
        if name is None:
            raise InputError("resume: which study? 'degas-ray tune --resume NAME'")
        folder = StudyFolder(home, name)
        folder.read()
        return folder
    if config is None:
        raise InputError("a new study needs a configuration")
    tuned(config)  # its faults come before anything is written
    folder = StudyFolder(home, name or next(new_studies(home, config.dataset)).name)
    check_name(folder.name)
    if folder.file.exists():
        raise _taken(folder.name)
    return folder


@contextmanager
def hold_study(folder: StudyFolder, dataset: str, *, resume: bool, named: bool) -> Iterator[StudyFolder]:
    """Yield the folder of a study that this process alone works on.

    Args:
        folder: From :func:`open_folder`.
        dataset: Of the study, which names it.
        resume: Whether it is there already.
        named: Whether the user chose its name; otherwise it has the next one where this one was taken meanwhile.

    Raises:
        InputError: Where another process has it.
    """
    if resume:
        with hold(folder.root, seconds=HOLD_SECONDS) as free:
            if not free:
                name = folder.name
                raise InputError(f"the study {name} is running in another process; wait for it, or stop that one")
            yield folder
        return
    folders = [folder.root] if named else new_studies(folder.home, dataset)
    with hold_new(folders, folder.file.name, seconds=HOLD_SECONDS if named else 0.0) as own:
        if own is None:
            raise _taken(folder.name)
        yield StudyFolder(folder.home, own.name)


def _taken(name: str) -> InputError:
    return InputError(
        f"there is a study {name} already; go on with 'degas-ray tune --resume {name}' or choose another --name"
    )


def prepare_study(config: Config | None, folder: StudyFolder, on_event: OnEvent) -> Prepared:
    """Find the images, the judge's weights and the tracking database, before anything of the study is written.

    Args:
        config: Of a new study; its precision is decided here for all workers. ``None`` when a study is resumed: its
            stored settings are used.
        folder: The study's.
        on_event: Told where the second judge has to be trained first.

    Raises:
        InputError: Where one of them is missing or does not fit.
    """
    state = None
    if config is None:
        state = folder.read()
        config = stored_config(state, folder.file)
    config = settled(config, folder.home, threads_of(config))
    find_extractor(config.scores, folder.home)  # before images are fetched for nothing
    whole = prepare(config.dataset, folder.home, **config.images())
    pack, _ = split(whole)
    _check(config, pack, state)
    if state is None and (against := doubts(whole, quality(whole))):
        listed = "\n".join(f"  {doubt}" for doubt in against)
        warnings.warn(f"{config.dataset} may not be worth training on:\n{listed}", DegasWarning, stacklevel=2)
    # Workers find the real images' statistics and the second judge in the cache: trained by the first of them, the
    # classifier would hold up the others, and its time would count as a trial's.
    judge(config.scores, pack, folder.home)
    train_second_judge(pack, folder.home, partial(_tell_once, on_event))
    real_floor(config.scores, pack, folder.home)
    return Prepared(config, pack, open_tracking(folder.home))


def _tell_once(on_event: OnEvent, progress: Progress) -> None:
    if progress.step == 1:
        told = "the second judge, a small classifier, is trained: once for each data set in this home"
        on_event(Event("message", text=told))


def begin(
    prepared: Prepared,
    folder: StudyFolder,
    extend: int,
    on_event: OnEvent,
    should_stop: ShouldStop,
    resources: Resources,
) -> Opened:
    """Open the study's run and write ``study.json``."""
    config, pack, address = prepared.config, prepared.pack, prepared.tracking.address
    state = read_json(folder.file)
    tracker = prepared.tracking.run(folder.name, "study", key=folder.name)
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
        tracker.tags({tags.NUMBERS: words(config)})
        tracker.text(dump(config), "config.yaml")
        facts = provenance(config, pack.fingerprint)
        log_provenance(tracker, facts)
        write_json(folder.provenance, facts)
    if not folder.floor.exists():
        write_json(folder.floor, real_floor(config.scores, pack, folder.home).to_json())
    take_known(config, pack, folder)
    context = Context(folder.home, folder.name, config, pack.path, address.uri, address.experiment_id, tracker.run_id)
    study = Opened(context, pack, tracker, state, Ledger(**state["spent"]), on_event, should_stop, resources)
    attempt = int(state.get("attempt", 0)) + 1
    study.save(trials=state["trials"] + extend, run_id=tracker.run_id, status="running", attempt=attempt)
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
            f"the images of {config.dataset} have changed since study {state['name']} began, or a version that held no "
            "images out began it; put the old ones back, or begin a new study"
        )


def end(study: Opened, outcome: str, status: str) -> None:
    """Record how a study ended, for now or for good, and run what ``study.on_finish`` says."""
    try:
        folder, config = study.folder, study.context.config
        summary.record(study.tracker, config, folder, study.pack.resolution)
        if status == "finished":
            _report(study)
    finally:  # whatever cannot be told of it, it has ended
        study.tracker.finish(outcome)
        study.save(status=status)
    command = config.study.on_finish
    if command is not None and status != "paused":
        facts = {"DEGAS_RAY_STUDY": folder.name, "DEGAS_RAY_HOME": str(folder.home), "DEGAS_RAY_STATUS": status}
        # What it prints goes to stderr: stdout is for the study's own results.
        done = subprocess.run(command, shell=True, check=False, env={**os.environ, **facts}, stdout=STDERR)
        if done.returncode:
            study.on_event(Event("message", text=f"on_finish: {command!r} ended with exit code {done.returncode}"))


def _report(study: Opened) -> None:
    """Keep the study's page in MLflow, or say why there is none: all that it shows is kept anyway."""
    name = study.folder.name
    try:
        study.tracker.text(write_report(study.folder.home, name), "report.html")
    except (DegasError, OSError) as error:
        told = f"the report cannot be written: {error}; 'degas-ray report {name}' tries it again"
        study.on_event(Event("message", text=told))
