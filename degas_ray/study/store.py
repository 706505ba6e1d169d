"""A study on disk: one folder that holds all that its resumption needs.

``HOME/studies/NAME``: ``study.json`` (settings, what was spent), ``optuna.journal``, ``trials/0003`` (a run directory
with checkpoints and, at its end, ``result.json``), ``rerank/HASH-SEED``, ``promotion/HASH``, ``trained/KEY.json`` (the
scores of a genotype under these settings), ``floor.json`` and ``yardstick/resnet`` (what a distance is read against),
``stop`` (asks the workers to pause). Ray's own files are no part of it.
"""

import fcntl
import itertools
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from degas_ray.errors import InputError
from degas_ray.files import checked
from degas_ray.files import read_json as read_json
from degas_ray.files import write_json as write_json

VERSION = 1
COLLAPSED = "collapsed"
_KEYS = {"config": dict, "trials": int, "spent": dict}  # of study.json
_SPENT = ("seconds", "gpu_seconds")
Size = Annotated[int, Field(ge=0, lt=2**63)]
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


@dataclass(frozen=True)
class Row:
    """What became of one trial.

    Args:
        number: Its number in Optuna and its folder's name.
        outcome: completed, pruned, diverged, collapsed or failed.
        params: The tuned values by dotted key.
        seed: The trial's; every other seed in it is derived from this one.
        genotype: Text, empty where the search did not end.
        n: Normal maps between up-sampled ones.
        scores: The proxy's scores with their protocol, as JSON; empty where there are none.
        distances: The Fréchet distance of each proxy training of the genotype.
        parameters: Of the generator at the proxy's width.
        macs: Multiply-adds for one image.
        entropy: Mean entropy of softmax(alpha) at the beginning and the end, as shares of the uniform one.
        seconds: Spent in all attempts together.
        reused: The work whose scores these are, where the genotype had been trained before.
        milestones: Generator steps to Fréchet distances along the way.
        run_id: In MLflow.
        error: Why it failed, for people; the traceback where there is one.
    """

    number: int
    outcome: str
    params: Mapping[str, Any]
    seed: int
    genotype: str = ""
    n: int = 0
    scores: Mapping[str, Any] = field(default_factory=dict)
    distances: tuple[float, ...] = ()
    parameters: Size = 0
    macs: Size = 0
    entropy: tuple[float, float] | None = None
    seconds: float = 0.0
    reused: str = ""
    milestones: Mapping[str, float] = field(default_factory=dict)
    run_id: str = ""
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that :meth:`StudyFolder.row` reads."""
        return asdict(self)

    @property
    def score(self) -> float | None:
        """The mean Fréchet distance of the proxy trainings, or ``None`` without one."""
        return sum(self.distances) / len(self.distances) if self.distances else None

    @property
    def place(self) -> tuple[bool, bool, float, int]:
        """What rows are sorted by: best first, then what collapsed, those without a score last."""
        return self.score is None, not self.sound, self.score or 0.0, self.number

    @property
    def sound(self) -> bool:
        """Whether it has a score and its images are not copies of a few."""
        return self.score is not None and self.outcome != COLLAPSED

    def ended(self, front: Collection[int]) -> str:
        """Return the outcome with what a table says beside it.

        Args:
            front: Numbers of the trials on the Pareto front.
        """
        said = [word for word, holds in (("reused", self.reused), ("front", self.number in front)) if holds]
        return self.outcome + (f" ({', '.join(said)})" if said else "")

    def objectives(self, names: Sequence[str]) -> tuple[float, ...]:
        """Return what a study minimises, empty where the trial has no scores."""
        if self.score is None:
            return ()
        values = {"fid": self.score, "parameters": float(self.parameters), "macs": float(self.macs)}
        return tuple(values[name] for name in names)


class StudyFolder:
    """The paths of one study.

    Args:
        home: The home directory.
        name: The study's name.
    """

    def __init__(self, home: Path, name: str) -> None:
        self.home, self.name = home, name
        self.root = home / "studies" / name
        self.file = self.root / "study.json"
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
        path = self.trial(number) / "result.json"
        value = read_json(path)
        return checked(Row, value, path) if value is not None else None

    def rows(self) -> list[Row]:
        """Return all finished trials, by number."""
        numbers = sorted(int(path.name) for path in (self.root / "trials").glob("[0-9]*"))
        return [row for number in numbers if (row := self.row(number)) is not None]


def list_studies(home: Path) -> list[str]:
    """Return the names of all studies, oldest first."""
    return [path.parent.name for path in sorted((home / "studies").glob("*/study.json"), key=_age)]


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
