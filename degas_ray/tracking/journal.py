"""Records on disk before they are sent: a killed process, a locked database or a server that is down loses nothing.

Each opening of a run has a folder of its own, ``QUEUE/RUN/000001``, with ``records.jsonl`` (append only), ``files/``
(what the records name) and ``sent`` (the bytes of records.jsonl that the server has). Its owner holds a lock on
records.jsonl; a folder whose lock is free was left behind by a process that ended, and may be claimed.
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
from pathlib import Path
from typing import Any

Record = dict[str, Any]

POLL_SECONDS = 0.02
LOCK_SECONDS = 60.0  # far longer than anything that is done under a lock here


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` among processes; it is freed when a holder dies.

    Raises:
        TimeoutError: Where another process still holds it after ``seconds``.
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
    """The records of one opening of a run, in order. Made by :func:`create` or :func:`claim`.

    Args:
        folder: Where it is.
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
        file.seek(0)
        whole = file.read()
        self._end = whole.rfind(b"\n") + 1
        file.truncate(self._end)  # a line that its writer did not finish
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
        """Note that the server has all records up to ``position``."""
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


def create(queue: Path, header: Mapping[str, Any]) -> Journal:
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


def claim(folder: Path) -> Journal | None:
    """Take over a journal whose owner has ended; ``None`` where the owner lives or the folder is gone."""
    with locked(folder.parent.parent / "lock", LOCK_SECONDS):
        if not (folder / "records.jsonl").exists():
            return None
        file = FileIO(folder / "records.jsonl", "a+")
        if not _try_lock(file):
            file.close()
            return None
    return Journal(folder, file)


def folders(queue: Path, key: str | None = None) -> list[Path]:
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
