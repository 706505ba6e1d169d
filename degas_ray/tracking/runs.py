"""The door to MLflow: runs, found again by their key, and the models that they registered."""

import difflib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from degas_ray.errors import InputError
from degas_ray.files import put
from degas_ray.tracking import backend, tags
from degas_ray.tracking.backend import Address, open_experiment, patiently
from degas_ray.tracking.mirror import MlflowTracker, deliver_left_over, now
from degas_ray.tracking.record import Tracker, journal_folders, locked, safe_name

Role = Literal["study", "trial", "promotion", "search", "train", "evaluate"]

URI_VARIABLE = "DEGAS_RAY_TRACKING_URI"
OPEN_SECONDS = 20.0  # how long a command waits for a server at its start
MIGRATION_SECONDS = 300.0
PAGE = 1000
MODEL_FOLDER = "generator"  # the artifact folder of a registered generator
MODEL_URI = re.compile(r"models:/(?P<name>[^/@'\"]+)(?:/(?P<version>[1-9][0-9]{0,17})|@(?P<alias>[A-Za-z0-9_-]+))")


@dataclass(frozen=True)
class Run:
    """What MLflow knows of a run."""

    run_id: str  # MLflow's
    name: str  # for people
    key: str  # degas-ray's unique name of the run, such as NAME/trials/0003
    role: str  # one of Role
    outcome: str  # one of OUTCOMES; empty while it runs
    status: str  # MLflow's: RUNNING, FINISHED, FAILED or KILLED
    parent: str  # the run id of its study; empty without one
    params: Mapping[str, str]
    metrics: Mapping[str, float]  # the last value of each
    tags: Mapping[str, str]
    started: float  # seconds since 1970
    seconds: float  # 0 while it runs


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
        header = {"op": "open", "address": self.address.mark, "name": name, "role": role, "key": key, "parent": parent}
        return MlflowTracker(self.address, {**header, "time": now()}, pause)

    def find_run(self, run_id: str) -> Run:
        """Return a run by MLflow's id.

        Raises:
            InputError: Where there is none.
        """
        if not run_id.isalnum():
            raise InputError(
                f"run id: got {run_id!r}, expected 32 letters and digits as 'degas-ray train --json' prints"
            )
        found = self._search(f"attributes.run_id = '{run_id}'", f"look up run {run_id}")
        if not found:
            raise InputError(
                f"there is no run {run_id} in {backend.public(self.address.uri)}; "
                "'degas-ray ui' lists the runs, --home names another place to look"
            )
        return found[0]

    def find_key(self, key: str) -> Run | None:
        """Return the run with this key, or ``None``."""
        found = self._search(f"tags.`{tags.KEY}` = '{key}'", f"look up {key}")
        return found[0] if found else None

    def runs(self, parent: str | None = None, role: Role | None = None) -> list[Run]:
        """Return runs, oldest first: the children of ``parent``, those of one role, or all."""
        terms = [f"tags.`{tags.PARENT}` = '{parent}'"] if parent is not None else []
        terms += [f"tags.`{tags.ROLE}` = '{role}'"] if role is not None else []
        return self._search(" and ".join(terms), "list runs")

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Return the (step, value) pairs of a metric, by step."""
        client = backend.client(self.address.uri)
        points = patiently(lambda: client.get_metric_history(run_id, metric), f"read {metric}")
        return sorted((point.step, point.value) for point in points)

    def download(self, run_id: str, name: str) -> Path:
        """Return the local path of an artifact of a run, a file or a folder; a remote one is copied to the cache.

        Raises:
            InputError: If the run has no such artifact.
        """
        name = safe_name(name)
        client = backend.client(self.address.uri)
        root = patiently(lambda: client.get_run(run_id).info.artifact_uri, f"look up run {run_id}")
        return self._local(f"{root}/{name}", self.address.home / "cache" / "artifacts" / run_id / name, name)

    def replay(self) -> int:
        """Send what ended processes left on the disk; return how many runs still wait, because MLflow is down.

        :func:`open_tracking` calls this, so each command begins with what the one before it could not send.
        """
        waiting = 0
        for folder in journal_folders(self.address.queue):
            try:
                deliver_left_over(self.address, folder)
            except backend.failures():
                waiting += 1
        return waiting

    def register(
        self, run_id: str, folder: Path, name: str, alias: str = "champion", tags: Mapping[str, str] | None = None
    ) -> int:
        """Put ``folder`` into the run's artifacts and make a registry version of it; again gives the same version.

        Args:
            run_id: The run that made the model.
            folder: The model's files; README.md in it, its card, becomes the version's description.
            name: Of the registered model.
            alias: Moved to this version.
            tags: Such as scores, their protocol and the genotype.

        Returns:
            The version, from 1.

        Raises:
            InputError: If the folder is not there.
            DegasError: If MLflow cannot be reached for three minutes.
        """
        if not folder.is_dir():
            raise InputError(f"model folder: got {folder}, which is no folder")
        card = folder / "README.md"
        text = card.read_text(encoding="utf-8") if card.exists() else ""
        client = backend.client(self.address.uri)

        def work() -> int:
            root = client.get_run(run_id).info.artifact_uri
            if not client.search_registered_models(f"name = '{name}'"):
                client.create_registered_model(name, description="Generators found by degas-ray")
            versions = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
            if (store := backend.local_path(self.address, root)) is None:
                client.log_artifacts(run_id, str(folder), MODEL_FOLDER)
            else:
                put(folder, store / MODEL_FOLDER, link=self.address.owns(folder))
            source = f"{root}/{MODEL_FOLDER}"
            version = versions[0] if versions else client.create_model_version(name, source, run_id, description=text)
            for key, value in (tags or {}).items():
                client.set_model_version_tag(name, version.version, key, value)
            client.set_registered_model_alias(name, alias, version.version)
            return int(version.version)

        return patiently(work, f"register {name}")

    def resolve_model(self, uri: str) -> Path:
        """Return the local folder of ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

        One on a remote server is copied to the cache.

        Raises:
            InputError: For another form, an unknown name, version or alias, or a version whose files are gone.
        """
        match = MODEL_URI.fullmatch(uri)
        if not match:
            raise InputError(f"model: got {uri!r}, expected models:/NAME@champion or models:/NAME/3")
        client = backend.client(self.address.uri)
        name = match["name"]
        models = patiently(lambda: _all_pages(client.search_registered_models), "list models")
        model = next((model for model in models if model.name == name), None)
        if model is None:
            known = [model.name for model in models]
            near = difflib.get_close_matches(name, known, n=1) or known[:5]
            hint = f"there are: {', '.join(near)}" if near else "none is registered; 'degas-ray tune' makes one"
            raise InputError(f"there is no model {name!r} in {backend.public(self.address.uri)}; {hint}")
        versions = patiently(
            lambda: _all_pages(lambda **more: client.search_model_versions(f"name = '{name}'", **more)),
            f"list the versions of {name}",
        )
        wanted = match["version"] or str(model.aliases.get(match["alias"], ""))
        found = next((version for version in versions if str(version.version) == wanted), None)
        if found is None:
            names = [str(version.version) for version in versions] + [f"@{alias}" for alias in model.aliases]
            raise InputError(f"{uri} is not there; {name!r} has: {', '.join(sorted(names)) or 'no version'}")
        return self._local(found.source, self.address.home / "cache" / "models" / f"{name}-{found.version}", uri)

    def _local(self, source: str, target: Path, what: str) -> Path:
        path = backend.local_path(self.address, source) or _fetched(self.address.uri, source, target, what)
        if path.exists():
            return path
        raise InputError(f"{what}: its files are not at {path}; was the home moved? They stay where they were written")

    def _search(self, text: str, what: str) -> list[Run]:
        client, experiments = backend.client(self.address.uri), [self.address.experiment_id]

        def search(**more: Any) -> Any:
            return client.search_runs(experiments, text, max_results=PAGE, order_by=["start_time ASC"], **more)

        return [_run(item) for item in patiently(lambda: _all_pages(search), what)]


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
        with locked(home / "tracking" / "database.lock", MIGRATION_SECONDS):
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


def _fetched(uri: str, source: str, target: Path, what: str) -> Path:
    if target.exists():
        return target
    backend.client(uri)  # whose settings must be there before MLflow is imported
    from mlflow.artifacts import download_artifacts

    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)

    def fetch() -> Path:
        return Path(download_artifacts(artifact_uri=source, dst_path=str(partial), tracking_uri=uri))

    try:
        patiently(fetch, f"send {what}").replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _all_pages(search: Callable[..., Any]) -> list[Any]:
    page = search()
    found = list(page)
    while page.token:
        page = search(page_token=page.token)
        found += page
    return found
