"""What a run says of itself: the Tracker protocol, and a run directory that needs no server."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from degas_ray import figures
from degas_ray.errors import InputError
from degas_ray.tracking import tags

OUTCOMES = ("completed", "pruned", "diverged", "collapsed", "failed", "interrupted")


class Tracker(Protocol):
    """Where one run's records go. Nothing here raises for an unreachable server, and each point is kept once."""

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

    def image(self, array: NDArray[np.uint8], key: str, step: int) -> None:
        """Keep an image [H, W, 3] of a series over steps, such as ``samples``."""

    def text(self, text: str, name: str) -> None:
        """Keep a text as ``name``, a relative path."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file, or a folder with all that is in it, below ``folder``."""

    def finish(self, outcome: str) -> None:
        """Say how the run ended: one of :data:`OUTCOMES`."""


def check_outcome(outcome: str) -> str:
    """Return ``outcome``.

    Raises:
        ValueError: Where it is none of :data:`OUTCOMES`.
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

    Opened again, it goes on: a line that was cut off is dropped, and steps that are there are not written twice.

    Args:
        path: The folder; it is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._stats = path / "stats.jsonl"
        self._seen = {(key, row["step"]) for row in self._repair() for key in row}

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    def params(self, flat: Mapping[str, Any]) -> None:
        """Merge settings into ``params.json``; the first value of a name stays."""
        self._merge("params.json", flat, keep=True)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Append one line ``{"step": ..., "time": seconds, name: value, ...}``, on the disk before this returns."""
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
        return list(_lines(self._stats))

    def tags(self, values: Mapping[str, str]) -> None:
        """Merge facts into ``tags.json``."""
        self._merge("tags.json", values, keep=False)

    def figure(self, figure: Figure, name: str) -> None:
        """Save a figure in the folder."""
        figures.save(figure, self._target(name))

    def image(self, array: NDArray[np.uint8], key: str, step: int) -> None:
        """Save ``images/KEY-STEP.png``."""
        target = self._target(f"images/{key.replace('/', '-')}-{step:06d}.png")
        temporary = target.with_name(f".{target.name}")
        Image.fromarray(array).save(temporary, format="png")
        temporary.replace(target)

    def text(self, text: str, name: str) -> None:
        """Write a text file, whole."""
        _write(self._target(name), text)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file or a folder here; what is here already stays."""
        target = self._target(f"{folder}/{path.name}" if folder else path.name)
        if target.exists() and target.samefile(path):
            return
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            temporary = target.with_name(f".{target.name}")
            shutil.copyfile(path, temporary)
            temporary.replace(target)

    def finish(self, outcome: str) -> None:
        """Write the outcome into ``tags.json``."""
        self.tags({tags.OUTCOME: check_outcome(outcome)})

    def _target(self, name: str) -> Path:
        target = self.path / safe_name(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _merge(self, name: str, values: Mapping[str, Any], *, keep: bool) -> None:
        path = self.path / name
        old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        new = {**values, **old} if keep else {**old, **values}
        _write(path, json.dumps(new, indent=2, default=str) + "\n")

    def _repair(self) -> Iterator[dict[str, Any]]:
        if not self._stats.exists():
            return
        whole = self._stats.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):  # the writer died in the middle of a line
            with self._stats.open("r+b") as file:
                file.truncate(end)
        yield from _lines(self._stats)


class _Both:
    def __init__(self, trackers: tuple[Tracker, ...]) -> None:
        self._trackers = trackers

    @property
    def run_id(self) -> str:
        return self._trackers[0].run_id

    def params(self, flat: Mapping[str, Any]) -> None:
        for tracker in self._trackers:
            tracker.params(flat)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        for tracker in self._trackers:
            tracker.metrics(values, step)

    def tags(self, values: Mapping[str, str]) -> None:
        for tracker in self._trackers:
            tracker.tags(values)

    def figure(self, figure: Figure, name: str) -> None:
        for tracker in self._trackers:
            tracker.figure(figure, name)

    def image(self, array: NDArray[np.uint8], key: str, step: int) -> None:
        for tracker in self._trackers:
            tracker.image(array, key, step)

    def text(self, text: str, name: str) -> None:
        for tracker in self._trackers:
            tracker.text(text, name)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        for tracker in self._trackers:
            tracker.artifact(path, folder)

    def finish(self, outcome: str) -> None:
        for tracker in self._trackers:
            tracker.finish(outcome)


def both(*trackers: Tracker) -> Tracker:
    """Return one tracker that writes to all of ``trackers``, in order; its run id is the first one's."""
    return _Both(trackers)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
