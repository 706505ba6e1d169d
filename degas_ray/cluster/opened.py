"""A cluster that is described: its file, what is known of it here, and how to reach it."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degas_ray.cluster.file import ClusterFile
from degas_ray.cluster.hosts import Here, Hosts
from degas_ray.cluster.state import ClusterFolder, State, changed
from degas_ray.errors import DegasError, InputError

# They tell of web sockets and uploads.
CHATTY = ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")


@dataclass(frozen=True)
class Cluster:
    """A cluster that its file describes, up or not.

    Args:
        file: Its YAML.
        folder: What this machine knows of it.
        state: The same, read.
        hosts: How to reach it.
    """

    file: ClusterFile
    folder: ClusterFolder
    state: State
    hosts: Hosts

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Yield Ray's client for jobs.

        Raises:
            InputError: Where the cluster is not up.
            DegasError: Where it stops answering meanwhile.
        """
        down = InputError(f"the cluster {self.file.name} is not up; type 'degas-ray launch {self.file.path}'")
        if not self.state.started:
            raise down
        self.folder.authenticate()
        from ray.job_submission import JobSubmissionClient
        from requests import RequestException

        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        with self.hosts.reach() as address:
            try:
                client = JobSubmissionClient(address)
            except ConnectionError:
                raise down from None
            try:
                yield client
            except RequestException as error:
                raise DegasError(
                    f"the cluster {self.file.name} has stopped answering ({error}); "
                    f"'degas-ray status {self.file.path}' looks what is still up"
                ) from error

    def with_state(self, **changes: Any) -> "Cluster":
        """Return the cluster with other facts, which are kept on the disk."""
        state = changed(self.state, changes)
        self.folder.write(state)
        return open_cluster(self.file, self.folder.home, state)


def open_cluster(file: ClusterFile, home: Path, state: State | None = None) -> Cluster:
    """Return a cluster; nothing is contacted or started.

    Args:
        file: Its YAML.
        home: The home directory on this machine.
        state: Facts to use in the place of those on the disk.
    """
    folder = ClusterFolder(home, file.name)
    state = state or folder.read() or _first_state(file, folder)
    if file.here:
        return Cluster(file, folder, state, Here(file, folder, state))
    from degas_ray.cluster.ssh import OverSsh

    return Cluster(file, folder, state, OverSsh(file, folder, state))


def living_nodes(cluster: Cluster) -> list[Any]:
    """Return Ray's nodes that are alive; none where the cluster does not answer."""
    from ray.util.state import list_nodes
    from ray.util.state.exception import RayStateApiException

    try:
        with cluster.hosts.reach() as address:
            nodes = list_nodes(address=address, timeout=10, raise_on_missing_output=False)
    except (RayStateApiException, OSError, RuntimeError):  # the last also where a cloud has no head any more
        return []
    return [node for node in nodes if node.state == "ALIVE"]


def answers(cluster: Cluster) -> bool:
    """Return whether a cluster that was started is up."""
    return bool(cluster.state.started) and bool(living_nodes(cluster))


def _first_state(file: ClusterFile, folder: ClusterFolder) -> State:
    degas = file.degas
    home = degas.storage.home or str(folder.home)
    return State(mark=folder.mark, python=degas.python or sys.executable, home=home, gcs=0, dashboard=0, tracking="")
