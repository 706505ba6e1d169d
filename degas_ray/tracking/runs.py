"""Runs in MLflow: opened once by the driver, found again by their key."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from degas_ray.errors import InputError
from degas_ray.tracking import backend, journal, registry, tags
from degas_ray.tracking.backend import Address, patiently
from degas_ray.tracking.delivery import deliver_left_over
from degas_ray.tracking.experiment import open_experiment
from degas_ray.tracking.mlflow_tracker import MlflowTracker, now
from degas_ray.tracking.records import Tracker, safe_name

Role = Literal["study", "trial", "promotion", "search", "train", "evaluate"]

URI_VARIABLE = "DEGAS_RAY_TRACKING_URI"
OPEN_SECONDS = 20.0  # how long a command waits for a server at its start
OUTAGE_SECONDS = 180.0  # and in the middle of its work
MIGRATION_SECONDS = 300.0
PAGE = 1000


@dataclass(frozen=True)
class Run:
    """What MLflow knows of a run.

    Args:
        run_id: MLflow's.
        name: For people.
        key: Our own unique name of the run, such as ``NAME/trials/0003``.
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


class Tracking:
    """The door to MLflow, for the driver (from :func:`open_tracking`) and, with its address, for any worker.

    Args:
        address: Where runs are kept; nothing is contacted before it is needed.
    """

    def __init__(self, address: Address) -> None:
        self.address = address

    def run(self, name: str, role: Role, *, key: str, parent: str | None = None, pause: float = 0.0) -> Tracker:
        """Start the run ``key``, or go on with it where it exists.

        Args:
            name: For people.
            role: What it is.
            key: One run has it for ever, such as ``study/NAME/trial/3``.
            parent: The run id of its study.
            pause: Seconds between two sendings of its records, where that is to be more than one.

        Raises:
            InputError: For a key with quotes or line ends in it.
        """
        if not key or any(sign in key for sign in "'\"`\n\r"):
            raise InputError(f"run key: got {key!r}, expected a name without quotes")
        return MlflowTracker(
            self.address,
            {
                "op": "open",
                "address": self.address.mark,
                "name": name,
                "role": role,
                "key": key,
                "parent": parent,
                "time": now(),
            },
            pause,
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
        found = patiently(lambda: self._search(f"tags.`{tags.KEY}` = '{key}'"), OUTAGE_SECONDS, f"look up {key}")
        return found[0] if found else None

    def runs(self, parent: str | None = None, role: Role | None = None) -> list[Run]:
        """Return runs, oldest first: the children of ``parent``, those of one role, or all."""
        terms = [f"tags.`{tags.PARENT}` = '{parent}'"] if parent is not None else []
        terms += [f"tags.`{tags.ROLE}` = '{role}'"] if role is not None else []
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

    def replay(self) -> int:
        """Send what ended processes left on the disk; return how many runs still wait, because MLflow is down.

        :func:`open_tracking` calls this, so each command begins with what the one before it could not send.
        """
        waiting = 0
        for folder in journal.folders(self.address.queue):
            try:
                deliver_left_over(self.address, folder)
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
        uri: Of an MLflow server or database; by default the one that :data:`URI_VARIABLE` names, which a cluster's
            launcher sets, and else the home's own SQLite database. A server knows where its artifacts go; those of a
            database go to the home.
        experiment: MLflow's name for all runs of this tool.

    Raises:
        InputError: Where the address is wrong, out of date, or nobody answers there.
    """
    home = home.absolute()
    uri = (os.environ.get(URI_VARIABLE) or None) if uri is None else uri
    uri = backend.database_uri(home) if uri is None else backend.check_uri(uri)
    # A database keeps no files, and MLflow would put them into the folder that the command was typed in.
    artifacts = None if uri.startswith("http") else backend.artifact_root(home)
    try:
        with journal.locked(home / "tracking" / "database.lock", MIGRATION_SECONDS):
            experiment_id = open_experiment(uri, experiment, artifacts, OPEN_SECONDS)
    except OSError as error:
        raise InputError(f"home: cannot write to {home} ({error.strerror or error}); choose another --home") from error
    tracking = Tracking(Address(home, uri, experiment_id))
    tracking.replay()
    return tracking


def _run(item: Any) -> Run:
    found = item.data.tags
    info = item.info
    return Run(
        run_id=info.run_id,
        name=info.run_name,
        key=found.get(tags.KEY, ""),
        role=found.get(tags.ROLE, ""),
        outcome=found.get(tags.OUTCOME, ""),
        status=info.status,
        parent=found.get(tags.PARENT, ""),
        params=dict(item.data.params),
        metrics=dict(item.data.metrics),
        tags=dict(found),
        started=info.start_time / 1000,
        seconds=(info.end_time - info.start_time) / 1000 if info.end_time else 0.0,
    )
