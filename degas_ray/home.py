"""The folders and files of a home, and locks: a study's folder holds all that resuming it needs.

``HOME/studies/NAME``: ``study.json`` (settings, what was spent), ``optuna.journal``, ``trials/0003`` (a run directory
with checkpoints and, at its end, ``result.json``), ``rerank/HASH-SEED``, ``promotion/HASH``, ``trained/KEY.json`` (the
scores of a genotype under these settings), ``floor.json`` and ``yardstick/resnet`` (what a distance is read against),
``stop`` (asks the workers to pause). Ray's own files are no part of it.
"""

import fcntl
import itertools
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from degas_ray.errors import InputError
from degas_ray.files import checked, read_json
from degas_ray.results import Promotion, Rerun, Row

T = TypeVar("T")
GENERATOR = "generator.ckpt"
BEST = "best.ckpt"  # of the generators that were scored along a training
LAST = "last.ckpt"  # the end of a training: generator, critic, optimisers
RESULT = "result.json"  # of a job of a study
TASK = "task.json"  # of a run that no study began: its kind and its settings
SCORES = "scores.json"
GENOTYPE = "genotype.json"
FOUND = "search.json"  # what a search found
SPENT = "spent.json"  # seconds of all executions of a run
FAILURE = "failure.json"  # what a job failed of
WORKERS = "workers.json"  # how many processes share a training
MILESTONES = "milestones.json"  # scores along a training
STUDY = "study.json"

VERSION = 1
_KEYS = {"config": dict, "trials": int, "spent": dict}  # of study.json
_SPENT = ("seconds", "gpu_seconds")
LOCK = ".lock"
LOCK_SECONDS = 30.0  # a worker of a killed driver is gone well before
POLL_SECONDS = 0.1


@contextmanager
def hold(folder: Path, *, seconds: float | None = None) -> Iterator[bool]:
    """Hold ``folder`` for this process alone; yield whether that was possible within ``seconds``.

    It is tried for :data:`LOCK_SECONDS` by default. The kernel frees the lock with the process, however that ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + (LOCK_SECONDS if seconds is None else seconds)
    with (folder / LOCK).open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
                time.sleep(POLL_SECONDS)
            else:
                break
        yield True


@contextmanager
def hold_new(folders: Iterable[Path], mark: str, *, seconds: float = 0.0) -> Iterator[Path | None]:
    """Hold the first of ``folders`` in which nothing was begun; yield which, or ``None`` where there is none.

    Two commands that start together see the same folder free: which of them has it is known under its lock alone.

    Args:
        folders: In order.
        mark: The file that is in a folder once something was begun there.
        seconds: To wait for each.
    """
    for folder in folders:
        with hold(folder, seconds=seconds) as free:
            if free and not (folder / mark).exists():
                yield folder
                return
    yield None


class StudyFolder:
    """The paths of one study.

    Args:
        home: The home directory.
        name: The study's name.
    """

    def __init__(self, home: Path, name: str) -> None:
        self.home, self.name = home, name
        self.root = home / "studies" / name
        self.file = self.root / STUDY
        self.journal = self.root / "optuna.journal"
        self.stop = self.root / "stop"
        self.provenance = self.root / "provenance.json"
        self.floor = self.root / "floor.json"
        self.yardstick = self.root / "yardstick" / "resnet"

    def trial(self, number: int) -> Path:
        """Return the folder of a trial."""
        return self.root / "trials" / f"{number:04d}"

    def trained(self, key: str) -> Path:
        """Return the file of the scores that a genotype got under some settings."""
        return self.root / "trained" / f"{key}.json"

    def read(self) -> dict[str, Any]:
        """Return ``study.json``.

        Raises:
            InputError: Where there is no such study, or another release wrote it.
        """
        content = read_json(self.file)
        if content is None:
            known = ", ".join(list_studies(self.home))
            there = f"there is: {known}" if known else "there are none yet; 'degas-ray tune' makes one"
            raise InputError(f"no study {self.name!r} in {self.home}; {there}")
        if content.get("version") != VERSION:
            raise InputError(f"{self.file} has version {content.get('version')!r}, this degas-ray reads {VERSION}")
        spent = content.get("spent")
        faults = [key for key, kind in _KEYS.items() if not isinstance(content.get(key), kind)]
        if isinstance(spent, dict) and not all(isinstance(spent.get(key), int | float) for key in _SPENT):
            faults.append("spent")
        if faults:
            raise InputError(
                f"{self.file} is not a file that degas-ray wrote: {', '.join(faults)}: missing or of another type; "
                "restore it, or begin a new study"
            )
        return content

    def row(self, number: int) -> Row | None:
        """Return what became of a trial, or ``None`` while it is not over."""
        return read_result(Row, self.trial(number))

    def rows(self) -> list[Row]:
        """Return all finished trials, by number."""
        numbers = sorted(int(path.name) for path in (self.root / "trials").glob("[0-9]*"))
        return [row for number in numbers if (row := self.row(number)) is not None]

    def reruns(self) -> list[Rerun]:
        """Return the re-rankings that are over."""
        folders = sorted(path.parent for path in self.root.glob(f"rerank/*/{RESULT}"))
        return [rerun for folder in folders if (rerun := read_result(Rerun, folder)) is not None]

    def promotion(self, genotype_hash: str) -> Promotion | None:
        """Return the promotion of a genotype, or ``None`` where there is none yet."""
        return read_result(Promotion, self.root / "promotion" / genotype_hash)


def read_result(kind: type[T], folder: Path) -> T | None:
    """Return what the work in ``folder`` left in :data:`RESULT`, ``None`` while it is not over.

    Raises:
        InputError: Where the file is damaged.
    """
    path = folder / RESULT
    value = read_json(path)
    return checked(kind, value, path) if value is not None else None


def list_studies(home: Path) -> list[str]:
    """Return the names of all studies, oldest first."""
    return [path.parent.name for path in sorted((home / "studies").glob(f"*/{STUDY}"), key=_age)]


def new_studies(home: Path, dataset: str) -> Iterator[Path]:
    """Return folders for a new study: the dataset and a number, as long as one is asked for."""
    base = "".join(c if c.isalnum() else "-" for c in dataset.rpartition("/")[2].lower()).strip("-") or "study"
    return numbered(home / "studies", base)


def numbered(parent: Path, base: str) -> Iterator[Path]:
    """Yield ``parent/base-1`` and so on, those left out that something is in."""
    for number in itertools.count(1):
        folder = parent / f"{base}-{number}"
        if not folder.exists() or (folder.is_dir() and all(path.name == LOCK for path in folder.iterdir())):
            yield folder


def check_name(name: str) -> None:
    """Refuse a name that is no plain folder name.

    Raises:
        InputError: With what is allowed.
    """
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    if not name or not set(name) <= allowed or name.startswith(".") or len(name) > 100:
        raise InputError(
            f"name: got {name!r}, expected up to 100 letters, digits, dots, dashes and underscores, such as digits-1"
        )


def _age(path: Path) -> float:
    return path.stat().st_mtime
