"""One phase alone, with a run directory, tracking and resumption: what the verbs search and train call."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from degas_ray.config import Config, stored_config
from degas_ray.data import Pack, prepare, split
from degas_ray.errors import InputError
from degas_ray.files import read_json, write_json
from degas_ray.gan import HANDMADE
from degas_ray.home import check_name, hold, hold_new, numbered
from degas_ray.loop import OnProgress, ShouldStop
from degas_ray.precision import settled, words
from degas_ray.runs.full import TrainRun, record_start, train_fully
from degas_ray.runs.jobs import find_cluster
from degas_ray.runs.run import Attempt, Place, ignore, never
from degas_ray.runs.work import Found, find_extractor, judge, record_size, search_work, train_second_judge
from degas_ray.seeds import derive
from degas_ray.space import Genotype, find_genotype
from degas_ray.tracking import open_tracking, provenance, tags

TASK = "task.json"
WORKERS = "workers.json"
HOLD_SECONDS = 2.0


@dataclass(frozen=True)
class SearchRun:
    """A search that ended.

    Args:
        name: Of its folder.
        folder: Everything about it: settings, stats, figures, genotypes.
        run_id: In MLflow.
        found: The genotype and how decided it is.
        parameters: Of the generator at the proxy's width.
        macs: Multiply-adds for one image.
        pictures: What they show, to their files.
    """

    name: str
    folder: Path
    run_id: str
    found: Found
    parameters: int
    macs: int
    pictures: Mapping[str, str]

    outcome: ClassVar[str] = "completed"

    @property
    def genotype(self) -> Genotype:
        """What was found."""
        return self.found.genotype


Result = TypeVar("Result", SearchRun, TrainRun)


def run_search(
    config: Config,
    home: Path,
    *,
    name: str | None = None,
    resume: bool = False,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
) -> SearchRun:
    """Run one search and prune it.

    Args:
        config: Data, search and pruning settings.
        home: The home directory.
        name: Of the folder in ``HOME/runs``; ``search-1`` and so on by default.
        resume: Go on with the run ``name``.
        on_progress: Receives the progress.
        should_stop: Asked whether to stop.

    Raises:
        InputError: For a name that is taken, or one that is not there; for missing data.
        DivergedError: When the loss becomes non-finite.
        Interrupted: When ``should_stop`` said so; ``resume`` goes on.
    """

    return _alone("search", "", config, home, name, resume, on_progress, should_stop, _search)


def run_training(
    config: Config,
    what: str | Genotype,
    home: Path,
    *,
    name: str | None = None,
    resume: bool = False,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
) -> TrainRun:
    """Train one generator with the full settings and score it.

    Args:
        config: Data, ``full`` and scores settings.
        what: A genotype, anything that means one, ``resnet`` or ``dcgan``.
        home: The home directory.
        name: Of the folder in ``HOME/runs``; ``train-1`` and so on by default.
        resume: Go on with the run ``name``.
        workers: Processes that share each batch, on as many CPUs or GPUs; one by default, or as many as the run had.
        on_progress: Receives the progress.
        should_stop: Asked whether to stop.

    Raises:
        InputError: For a name that is taken, or one that is not there; for missing data or weights; for more workers
            than there is room for.
        DivergedError: When a loss becomes non-finite.
        Interrupted: When ``should_stop`` said so; ``resume`` goes on.
    """
    text = str(what) if isinstance(what, Genotype) or what in HANDMADE else str(find_genotype(what))
    if (workers or 1) > 1:
        find_cluster()
    work = partial(_train, workers=workers)
    return _alone("train", text, config, home, name, resume, on_progress, should_stop, work)


def _search(config: Config, what: str, pack: Pack, place: Place) -> SearchRun:
    found = search_work(config, pack, place, seed=derive(config.seed, "search"))
    proxy = config.proxy.model_copy(update={"supervised": False})
    parameters, macs = record_size(found.genotype, proxy, pack, place, "proxy")
    pictures = {"diagram": str(place.folder / "diagram.svg"), "alphas": str(place.folder / "alphas.png")}
    return SearchRun(place.folder.name, place.folder, place.tracker.run_id, found, parameters, macs, pictures)


def _train(config: Config, text: str, pack: Pack, place: Place, *, workers: int | None) -> TrainRun:
    what: str | Genotype = text if text in HANDMADE else Genotype.parse(text)
    seed = derive(config.seed, "full", text)
    if (count := _workers(workers, place.folder)) > 1:
        from degas_ray.runs.parallel import train_in_parallel

        record_start(config, what, pack, place)
        again = f"'degas-ray train --resume {place.folder.name}', or with fewer --workers"
        train_in_parallel(config, what, pack.path, place, workers=count, seed=seed, setting="--workers", again=again)
    return train_fully(config, what, pack, place, seed=seed)


def _workers(asked: int | None, folder: Path) -> int:
    """Return how many workers a training has, and remember it: a resumed one has as many unless told otherwise."""
    count = asked or int((read_json(folder / WORKERS) or {}).get("workers", 1))
    write_json(folder / WORKERS, {"workers": count})
    return count


def _alone(
    role: Literal["search", "train"],
    what: str,
    config: Config,
    home: Path,
    name: str | None,
    resume: bool,
    on_progress: OnProgress | None,
    should_stop: ShouldStop | None,
    work: Callable[[Config, str, Pack, Place], Result],
) -> Result:
    """Give ``work`` a run directory, a tracker and its images, and record how it ended."""
    home, on_progress = home.absolute(), on_progress or ignore
    runs = home / "runs"
    if resume:
        task = _task(runs, name, role)
        config, what = stored_config(task, runs / str(name) / TASK), task["what"]
    elif name is not None:
        check_name(name)
        if (runs / name / TASK).exists():
            raise _taken(name)
    config = settled(config, home)
    if role == "train":
        find_extractor(config.scores, home)  # before images are fetched for nothing
    pack, _ = split(prepare(config.dataset, home, **config.images()))
    if role == "train":
        if config.full.supervised and pack.labels is None:
            raise InputError(f"full.supervised: {config.dataset} has no labels; leave --supervised out")
        judge(config.scores, pack, home)  # missing weights are told before the training
        train_second_judge(pack, home, on_progress)
    tracking = open_tracking(home)
    with _hold(runs, role, name, resume) as folder:
        write_json(folder / TASK, {"role": role, "what": what, "config": config.model_dump(mode="json")})
        with Attempt(
            tracking,
            home,
            folder,
            role,
            folder.name,
            f"runs/{folder.name}",
            on_progress=on_progress,
            should_stop=should_stop or never,
        ) as attempt:
            facts = None if resume else provenance(config, pack.fingerprint)
            attempt.begin(config, facts, **({"what": what} if what else {}))
            attempt.tracker.tags({tags.NUMBERS: words(config)})
            result = work(config, what, pack, attempt.place())
            attempt.tracker.finish(result.outcome)
        return result


def _task(runs: Path, name: str | None, role: str) -> dict[str, Any]:
    """Return what the run ``name`` was begun with."""
    task = read_json(runs / name / TASK) if name else None
    if task is None or task["role"] != role:
        known = [path.parent.name for path in sorted(runs.glob(f"*/{TASK}")) if (read_json(path) or {})["role"] == role]
        raise InputError(f"no {role} run {name!r} in {runs.parent}; there is: {', '.join(known) or 'none yet'}")
    return task


@contextmanager
def _hold(runs: Path, role: str, name: str | None, resume: bool) -> Iterator[Path]:
    """Yield the run's folder, which this process alone works in: where it was not named, the next that is free."""
    if resume and name is not None:
        with hold(runs / name, seconds=HOLD_SECONDS) as free:
            if not free:
                raise InputError(f"the run {name} is going on in another process; wait for it, or stop that one")
            yield runs / name
        return
    folders = [runs / name] if name is not None else numbered(runs, role)
    with hold_new(folders, TASK, seconds=HOLD_SECONDS if name is not None else 0.0) as own:
        if own is None:
            raise _taken(str(name))
        yield own


def _taken(name: str) -> InputError:
    return InputError(f"there is a run {name} already; go on with --resume {name}, or choose another --name")
