"""A run's records on disk: the Tracker protocol, the run's folder, and the queue of what MLflow has not got yet.

A run's folder holds the records for people. The queue holds them, in order, until MLflow has them, so that a killed
process, a locked database or a server that is down loses nothing. Files are written once and linked from then on.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from degas_ray import figures
from degas_ray.errors import InputError
from degas_ray.files import put
from degas_ray.tracking import tags

Record = dict[str, Any]

OUTCOMES = ("completed", "pruned", "diverged", "collapsed", "failed", "interrupted")
POLL_SECONDS = 0.02
LOCK_SECONDS = 60.0  # far longer than anything that is done under a lock here


class Tracker(Protocol):
    """Where one run's records go. No method raises for an unreachable server, and each point is kept once."""

    @property
    def run_id(self) -> str:
        """The run's name to find it again; empty while a server that is down has not given one."""

    def params(self, flat: Mapping[str, Any]) -> None:
        """Record settings by dotted name; the first value of a name stays."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record numbers at a step; a name's second value at the same step is left out."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Record facts that may change, such as the genotype."""

    def figure(self, figure: Figure, name: str) -> None:
        """Keep a figure as ``name``, a relative path that ends in .png or .svg."""

    def image(self, array: NDArray[np.uint8] | Path, key: str, step: int) -> None:
        """Keep an image [H, W, 3], or a PNG file of one, of a series over steps, such as ``samples``."""

    def text(self, text: str, name: str) -> None:
        """Keep a text as ``name``, a relative path."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file, or a folder with all that is in it, below ``folder``."""

    def finish(self, outcome: str) -> None:
        """Record how the run ended: one of :data:`OUTCOMES`."""


def check_outcome(outcome: str) -> str:
    """Return ``outcome``.

    Raises:
        ValueError: If it is none of :data:`OUTCOMES`.
    """
    if outcome not in OUTCOMES:
        raise ValueError(f"outcome: got {outcome!r}, expected one of {', '.join(OUTCOMES)}")
    return outcome


def safe_name(name: str) -> str:
    """Return ``name`` as a relative POSIX path that stays below its run.

    Raises:
        InputError: For an absolute path, an empty one, or one with ``..``.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise InputError(f"artifact name: got {name!r}, expected a relative path without '..', such as diagram.png")
    return str(path)


class RunDirectory:
    """A run as plain files: ``params.json``, ``tags.json``, ``stats.jsonl`` (a line for each report), and artifacts.

    Opened again, it goes on: a half-written last line is dropped, and steps that are there are not written twice.
    With a :attr:`mirror` (see :func:`both`), records go there too. Files are written here and linked from the mirror.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mirror: Tracker | None = None
        path.mkdir(parents=True, exist_ok=True)
        self._stats = path / "stats.jsonl"
        if self._stats.exists():
            with self._stats.open("r+b") as file:
                _cut_torn_line(file)
        self._seen = {(key, row["step"]) for row in self.rows() for key in row}

    @property
    def run_id(self) -> str:
        """The mirror's name of the run; the folder's without a mirror."""
        return self.path.name if self.mirror is None else self.mirror.run_id

    def params(self, flat: Mapping[str, Any]) -> None:
        """Merge settings into ``params.json``; the first value of a name stays."""
        if self.mirror is not None:
            self.mirror.params(flat)
        self._write("params.json", {**flat, **self._read("params.json")})

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Append one line ``{"step": ..., "time": seconds, name: value, ...}``, on the disk before this returns."""
        if self.mirror is not None:
            self.mirror.metrics(values, step)
        fresh = {key: float(value) for key, value in values.items() if (key, step) not in self._seen}
        if not fresh:
            return
        self._seen.update((key, step) for key in fresh)
        with self._stats.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "time": round(time.time(), 3), **fresh}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> list[dict[str, Any]]:
        """Return the lines of ``stats.jsonl``."""
        text = self._stats.read_text(encoding="utf-8") if self._stats.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def tags(self, values: Mapping[str, str]) -> None:
        """Merge facts into ``tags.json``."""
        if self.mirror is not None:
            self.mirror.tags(values)
        self._write("tags.json", {**self._read("tags.json"), **values})

    def figure(self, figure: Figure, name: str) -> None:
        """Save a figure in the folder."""
        with self._file(name) as target:
            figures.save(figure, target)

    def image(self, array: NDArray[np.uint8] | Path, key: str, step: int) -> None:
        """Save ``images/KEY-STEP.png``."""
        target = self.path / safe_name(f"images/{key.replace('/', '-')}-{step:06d}.png")
        target.parent.mkdir(exist_ok=True)
        if isinstance(array, Path):
            put(array, target)
        else:
            temporary = target.with_name(f".{target.name}")
            Image.fromarray(array).save(temporary, format="png")
            temporary.replace(target)
        if self.mirror is not None:
            self.mirror.image(target, key, step)

    def text(self, text: str, name: str) -> None:
        """Write a text file, whole."""
        with self._file(name) as target:
            _write(target, text)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file or a folder here; what is here already stays."""
        with self._file(f"{folder}/{path.name}" if folder else path.name) as target:
            if not (target.exists() and target.samefile(path)):
                put(path, target, link=path.is_relative_to(self.path))

    def finish(self, outcome: str) -> None:
        """Write the outcome into ``tags.json``."""
        check_outcome(outcome)
        if self.mirror is not None:
            self.mirror.finish(outcome)
        self._write("tags.json", {**self._read("tags.json"), tags.OUTCOME: outcome})

    @contextmanager
    def _file(self, name: str) -> Iterator[Path]:
        """Yield where to write an artifact; the mirror gets it afterwards."""
        name = safe_name(name)
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        yield target
        if self.mirror is not None:
            self.mirror.artifact(target, name.rpartition("/")[0] or None)

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        _write(self.path / name, json.dumps(values, indent=2, default=str) + "\n")


def both(mirror: Tracker, directory: RunDirectory) -> Tracker:
    """Return ``directory`` with a mirror, which gets all its records from now on."""
    directory.mirror = mirror
    return directory


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` among processes; it is freed when a holder dies.

    Raises:
        TimeoutError: If another process still holds it after ``seconds``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    with FileIO(path, "a") as file:
        while not _try_lock(file):
            if time.monotonic() > deadline:
                raise TimeoutError(f"another process has held {path} for {seconds:.0f} s")
            time.sleep(POLL_SECONDS)
        yield


class Journal:
    """The records of one opening of a run that wait for MLflow, in order.

    Made by :func:`create_journal` or :func:`claim_journal`. Its folder, ``QUEUE/RUN/000001``, has ``records.jsonl``
    (append only), ``files/`` (what the records name) and ``sent`` (the bytes of records.jsonl that MLflow has). Its
    owner holds a lock on records.jsonl; a folder whose lock is free was left behind by a process that ended, and may be
    claimed.

    Args:
        folder: Made already.
        file: ``records.jsonl``, open and locked.
    """

    def __init__(self, folder: Path, file: FileIO) -> None:
        self.folder = folder
        self._file = file
        self._mutex = threading.Lock()
        self._held: list[bytes] = []
        self._files = 0
        sent = folder / "sent"
        self._sent = int(sent.read_text(encoding="ascii")) if sent.exists() else 0
        whole = _cut_torn_line(file)
        self._end = len(whole)
        self.header: Record = json.loads(whole[: whole.find(b"\n") + 1] or b"{}")

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record; it is on the disk when this returns.

        Raises:
            OSError: On a full disk; the record is kept in memory and written before the next one.
        """
        with self._mutex:
            self._held.append(json.dumps(record).encode() + b"\n")
            while self._held:
                try:
                    if self._file.write(self._held[0]) != len(self._held[0]):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
                    os.fsync(self._file.fileno())
                except OSError:
                    self._file.truncate(self._end)
                    raise
                self._end += len(self._held.pop(0))

    def new_file(self, name: str) -> Path:
        """Return a fresh path below ``files/`` that ends in ``name``; its folder is made."""
        with self._mutex:
            self._files += 1
            path = self.folder / "files" / f"{time.time_ns()}-{self._files}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def pending(self, limit: int) -> list[tuple[int, Record]]:
        """Return up to ``limit`` records that are not sent, each with what to give :meth:`commit` after sending it."""
        with self._mutex:
            end = self._end
        found: list[tuple[int, Record]] = []
        with (self.folder / "records.jsonl").open("rb") as file:
            file.seek(self._sent)
            for line in file:
                position = (found[-1][0] if found else self._sent) + len(line)
                if position > end or len(found) == limit:
                    break
                found.append((position, json.loads(line)))
        return found

    def commit(self, position: int) -> None:
        """Note that MLflow has all records up to ``position``."""
        self._sent = position
        temporary = self.folder / "sent.new"
        temporary.write_text(str(position), encoding="ascii")
        temporary.replace(self.folder / "sent")

    def close(self, *, remove: bool) -> None:
        """Give up the lock; with ``remove``, take the folder away first."""
        if remove:
            run = self.folder.parent
            with locked(run.parent / "lock", LOCK_SECONDS):
                shutil.rmtree(self.folder)
                if not any(run.iterdir()):
                    run.rmdir()
        self._file.close()


def create_journal(queue: Path, header: Mapping[str, Any]) -> Journal:
    """Make the newest journal of the run that ``header["key"]`` names, with ``header`` as its first record."""
    parent = queue / _folder_name(header["key"])
    with locked(queue / "lock", LOCK_SECONDS):
        parent.mkdir(parents=True, exist_ok=True)
        number = max((int(path.name) for path in parent.iterdir()), default=0) + 1
        folder = parent / f"{number:06d}"
        folder.mkdir()
        file = FileIO(folder / "records.jsonl", "a+")
        assert _try_lock(file), "a journal that was just made is locked"
    journal = Journal(folder, file)
    journal.append(header)
    journal.header = dict(header)
    return journal


def claim_journal(folder: Path) -> Journal | None:
    """Take over a journal whose owner has ended; ``None`` where the owner lives or the folder is gone."""
    with locked(folder.parent.parent / "lock", LOCK_SECONDS):
        if not (folder / "records.jsonl").exists():
            return None
        file = FileIO(folder / "records.jsonl", "a+")
        if not _try_lock(file):
            file.close()
            return None
    return Journal(folder, file)


def journal_folders(queue: Path, key: str | None = None) -> list[Path]:
    """Return the journals of the run ``key``, or of all runs, oldest first."""
    pattern = f"{_folder_name(key) if key is not None else '*'}/[0-9]*"
    return sorted(queue.glob(pattern), key=lambda path: (path.parent.name, int(path.name)))


def _folder_name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:24]


def _try_lock(file: FileIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _cut_torn_line(file: IO[bytes] | FileIO) -> bytes:
    """Truncate ``file`` after its last whole line, where its writer died in the middle of one; return what is left."""
    file.seek(0)
    whole = file.read()
    end = whole.rfind(b"\n") + 1
    if end < len(whole):
        file.truncate(end)
    return whole[:end]


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
