"""Runs in MLflow: opened once by the driver, found again by their key, written through a journal on disk."""

import os
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from degas_ray import figures
from degas_ray.errors import DegasWarning, InputError
from degas_ray.tracking import backend, delivery, journal, registry
from degas_ray.tracking.backend import Address, patiently
from degas_ray.tracking.delivery import Delivery, deliver_left_over
from degas_ray.tracking.records import Tracker, check_outcome, safe_name
from degas_ray.tracking.sender import Sender

Role = Literal["study", "trial", "promotion", "search", "train", "evaluate"]

OPEN_SECONDS = 20.0  # how long a command waits for a server at its start
OUTAGE_SECONDS = 180.0  # and in the middle of its work
FIRST_SECONDS = 10.0  # for the run id of a new run
FINISH_SECONDS = 20.0  # for the last records, before they are left to the next command
MIGRATION_SECONDS = 300.0
PAGE = 1000


@dataclass(frozen=True)
class Run:
    """What MLflow knows of a run.

    Args:
        run_id: MLflow's.
        name: For people.
        key: Of ours; one run has it.
        role: study, trial, promotion, search, train or evaluate.
        outcome: One of ``OUTCOMES``; empty while it runs.
        status: MLflow's: RUNNING, FINISHED, FAILED or KILLED.
        parent: The run id of its study; empty without one.
        params: As MLflow keeps them: text.
        metrics: The last value of each.
        tags: All of them.
        started: Seconds since 1970.
        seconds: How long it took; 0 while it runs.
    """

    run_id: str
    name: str
    key: str
    role: str
    outcome: str
    status: str
    parent: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    started: float
    seconds: float


class MlflowTracker:
    """A tracker whose records are on the disk when a call returns, and in MLflow about a second later.

    Args:
        address: Where the run is kept.
        header: Its name, role, key and parent.
    """

    def __init__(self, address: Address, header: Mapping[str, Any]) -> None:
        self._journal = journal.create(address.queue, header)
        self._delivery = Delivery(address, self._journal)
        self._sender = Sender(self._delivery)
        self._warned: set[str] = set()
        self._append({"op": "start"})
        self._sender.start()
        deadline = time.monotonic() + FIRST_SECONDS
        while not self.run_id and not self._sender.problem and time.monotonic() < deadline:
            time.sleep(journal.POLL_SECONDS)

    @property
    def run_id(self) -> str:
        """MLflow's run id; empty until a server that is down has given one."""
        return self._delivery.run_id

    def params(self, flat: Mapping[str, Any]) -> None:
        """Record settings by dotted name; text longer than MLflow takes is kept whole as an artifact."""
        self._append({"op": "params", "values": {key: str(value) for key, value in flat.items()}})

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record numbers at a step, each once; an infinity is drawn as a gap and named in the tag degas.non_finite."""
        texts = {key: repr(float(value)) for key, value in values.items()}
        self._append({"op": "metrics", "values": texts, "step": int(step), "time": _now()})

    def tags(self, values: Mapping[str, str]) -> None:
        """Record facts that may change."""
        self._append({"op": "tags", "values": {key: str(value) for key, value in values.items()}})

    def figure(self, figure: Figure, name: str) -> None:
        """Keep a figure as an artifact."""
        with self._file(name) as path:
            figures.save(figure, path)

    def image(self, array: NDArray[np.uint8], key: str, step: int) -> None:
        """Keep an image [H, W, 3] of a series; MLflow shows it in its grid, with a slider over steps."""
        from PIL import Image

        path = self._journal.new_file("image.png")
        Image.fromarray(array).save(path)
        self._append({"op": "image", "path": self._relative(path), "key": key, "step": int(step), "time": _now()})

    def text(self, text: str, name: str) -> None:
        """Keep a text as an artifact."""
        with self._file(name) as path:
            path.write_text(text, encoding="utf-8")

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file or a folder as it is now; what happens to it afterwards does not matter."""
        with self._file(f"{folder}/{path.name}" if folder else path.name) as target:
            if path.is_dir():
                shutil.copytree(path, target, copy_function=_link_or_copy)
            else:
                _link_or_copy(str(path), str(target))

    def finish(self, outcome: str) -> None:
        """Record the outcome and wait until all is sent; after an outage the rest goes with the next command."""
        self._append({"op": "finish", "outcome": check_outcome(outcome), "time": _now()})
        if not self._sender.close(FINISH_SECONDS):
            self._warn(
                f"MLflow cannot be reached ({self._sender.problem}); the last records of this run wait in "
                f"{self._journal.folder} and are sent by the next command with the same --home"
            )

    @contextmanager
    def _file(self, name: str) -> Iterator[Path]:
        name = safe_name(name)
        path = self._journal.new_file(Path(name).name)
        yield path
        parent = Path(name).parent
        folder = None if parent == Path() else parent.as_posix()
        self._append({"op": "file", "path": self._relative(path), "folder": folder})

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._journal.folder).as_posix()

    def _append(self, record: Mapping[str, Any]) -> None:
        try:
            self._journal.append(record)
        except OSError as error:
            self._warn(
                f"{error.strerror}: records of this run cannot be written to {self._journal.folder}; free space there"
            )
        self._sender.notify()
        if self._sender.problem:
            self._warn(
                f"MLflow cannot be reached ({self._sender.problem}); the run goes on, its records wait in "
                f"{self._journal.folder} and are sent in order when MLflow is back"
            )
        for problem in self._delivery.rejected:
            self._warn(f"MLflow refused a record ({problem}); it is kept in {self._delivery.rejected_file}")

    def _warn(self, message: str) -> None:
        kind = message.partition("(")[0]
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(message, DegasWarning, stacklevel=3)


class Tracking:
    """The door to MLflow, for the driver (from :func:`open_tracking`) and, with its address, for any worker.

    Args:
        address: Where runs are kept; nothing is contacted before it is needed.
    """

    def __init__(self, address: Address) -> None:
        self.address = address

    def run(self, name: str, role: Role, *, key: str, parent: str | None = None) -> Tracker:
        """Start the run ``key``, or go on with it where it exists.

        Args:
            name: For people.
            role: What it is.
            key: One run has it for ever, such as ``study/NAME/trial/3``.
            parent: The run id of its study.

        Raises:
            InputError: For a key with quotes or line ends in it.
        """
        if not key or any(sign in key for sign in "'\"`\n\r"):
            raise InputError(f"run key: got {key!r}, expected a name without quotes")
        return MlflowTracker(
            self.address, {"op": "open", "name": name, "role": role, "key": key, "parent": parent, "time": _now()}
        )

    def find_run(self, run_id: str) -> Run:
        """Return a run by MLflow's id.

        Raises:
            InputError: Where there is none.
        """
        if not run_id.isalnum():
            raise InputError(
                f"run id: got {run_id!r}, expected 32 letters and digits as 'degas-ray train --json' prints"
            )
        found = patiently(
            lambda: self._search(f"attributes.run_id = '{run_id}'"), OUTAGE_SECONDS, f"look up run {run_id}"
        )
        if not found:
            raise InputError(
                f"there is no run {run_id} in {backend.public(self.address.uri)}; "
                "'degas-ray ui' lists the runs, --home names another place to look"
            )
        return found[0]

    def find_key(self, key: str) -> Run | None:
        """Return the run with this key, or ``None``."""
        found = patiently(lambda: self._search(f"tags.`degas.key` = '{key}'"), OUTAGE_SECONDS, f"look up {key}")
        return found[0] if found else None

    def runs(self, parent: str | None = None, role: Role | None = None) -> list[Run]:
        """Return runs, oldest first: the children of ``parent``, those of one role, or all."""
        terms = [f"tags.`mlflow.parentRunId` = '{parent}'"] if parent is not None else []
        terms += [f"tags.`degas.role` = '{role}'"] if role is not None else []
        return patiently(lambda: self._search(" and ".join(terms)), OUTAGE_SECONDS, "list runs")

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Return the (step, value) pairs of a metric, by step."""
        client = backend.client(self.address.uri)
        points = patiently(lambda: client.get_metric_history(run_id, metric), OUTAGE_SECONDS, f"read {metric}")
        return sorted((point.step, point.value) for point in points)

    def download(self, run_id: str, name: str) -> Path:
        """Return the local path of an artifact of a run, a file or a folder; a remote one is copied to the cache.

        Raises:
            InputError: Where the run has no such artifact.
        """
        return registry.download(self.address, run_id, safe_name(name))

    def close_run(self, run_id: str, outcome: str) -> None:
        """Give an outcome to a run whose process is gone and can say nothing more."""
        client = backend.client(self.address.uri)
        status = delivery.STATUS[check_outcome(outcome)]

        def close() -> None:
            client.set_tag(run_id, "degas.outcome", outcome)
            client.set_terminated(run_id, status)

        patiently(close, OUTAGE_SECONDS, f"close run {run_id}")

    def replay(self) -> int:
        """Send what ended processes left on the disk; return how many runs still wait, because MLflow is down.

        A study calls this before it reads its children; :func:`open_tracking` does as well.
        """
        waiting = 0
        for folder in journal.folders(self.address.queue):
            left = journal.claim(folder)
            if left is None:
                continue
            try:
                deliver_left_over(self.address, left)
            except backend.failures():
                waiting += 1
        return waiting

    def register(
        self, run_id: str, folder: Path, name: str, alias: str = "champion", tags: Mapping[str, str] | None = None
    ) -> int:
        """Make a version of the model ``name`` from a run's folder; see :func:`registry.register`."""
        return registry.register(self.address, run_id, folder, name, alias, tags or {})

    def resolve_model(self, uri: str) -> Path:
        """Return the local folder of ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``; see registry.resolve."""
        return registry.resolve(self.address, uri)

    def _search(self, text: str) -> list[Run]:
        client = backend.client(self.address.uri)
        runs: list[Run] = []
        token: str | None = None
        while True:
            page = client.search_runs(
                [self.address.experiment_id], text, max_results=PAGE, order_by=["start_time ASC"], page_token=token
            )
            runs += [_run(item) for item in page]
            token = page.token
            if not token:
                return runs


def open_tracking(home: Path, uri: str | None = None, experiment: str = "degas-ray") -> Tracking:
    """Create the database and the experiment where they are missing, once whoever else does the same, and open them.

    Args:
        home: The home directory.
        uri: Of an MLflow server or database; the home's own SQLite database by default.
        experiment: MLflow's name for all runs of this tool.

    Raises:
        InputError: Where the address is wrong, out of date, or nobody answers there.
    """
    home = home.absolute()
    own = uri is None or uri == backend.database_uri(home)
    address_uri = backend.database_uri(home) if uri is None else backend.check_uri(uri)
    with journal.locked(home / "tracking" / "database.lock", MIGRATION_SECONDS):
        experiment_id = registry.open_experiment(
            address_uri, experiment, backend.artifact_root(home) if own else None, OPEN_SECONDS
        )
    tracking = Tracking(Address(home, address_uri, experiment_id))
    tracking.replay()
    return tracking


def _run(item: Any) -> Run:
    tags = item.data.tags
    info = item.info
    return Run(
        run_id=info.run_id,
        name=info.run_name,
        key=tags.get("degas.key", ""),
        role=tags.get("degas.role", ""),
        outcome=tags.get("degas.outcome", ""),
        status=info.status,
        parent=tags.get("mlflow.parentRunId", ""),
        params=dict(item.data.params),
        metrics=dict(item.data.metrics),
        tags=dict(tags),
        started=info.start_time / 1000,
        seconds=(info.end_time - info.start_time) / 1000 if info.end_time else 0.0,
    )


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
    return target


def _now() -> int:
    return int(time.time() * 1000)
