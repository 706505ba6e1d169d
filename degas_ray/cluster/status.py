"""How a cluster and its study stand, and what the study says."""

import time
from dataclasses import dataclass
from typing import Any

from degas_ray.cluster import job as jobs
from degas_ray.cluster.opened import Cluster, living_nodes
from degas_ray.errors import InputError
from degas_ray.ports import LOOPBACK


@dataclass(frozen=True)
class Status:
    """How a cluster stands.

    Args:
        cluster: Its name.
        up: Whether it answers.
        nodes: Hosts that have joined.
        expected: Hosts that the file asks for, at least.
        cpus: Of all of them.
        gpus: Of all of them.
        study: The last one.
        job: Its Ray job.
        job_status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED; empty without one.
        tracking: Address of MLflow.
        dashboard: Address of Ray's dashboard, on the head's loopback.
        hours: Since the start.
        dollars_per_hour: Of the hosts that there are at least, and of all that there may be.
        last: The last line of the study's log.
    """

    cluster: str
    up: bool
    nodes: int
    expected: int
    cpus: float
    gpus: float
    study: str
    job: str
    job_status: str
    tracking: str
    dashboard: str
    hours: float
    dollars_per_hour: tuple[float, float] | None
    last: str


def find_status(cluster: Cluster) -> Status:
    """Return how a cluster stands; a cluster that does not answer is not up."""
    file, state = cluster.file, cluster.state
    cluster.folder.authenticate()
    nodes = living_nodes(cluster) if state.started else []
    status = last = ""
    if nodes and state.job:
        with cluster.client() as client:
            status, last = job_facts(client, state.job)
    price = file.price
    return Status(
        cluster=file.name,
        up=bool(nodes),
        nodes=len(nodes),
        expected=1 + int(file.workers.least),
        cpus=sum(node.resources_total.get("CPU", 0.0) for node in nodes),
        gpus=sum(node.resources_total.get("GPU", 0.0) for node in nodes),
        study=state.study,
        job=state.job,
        job_status=status,
        tracking=state.tracking,
        dashboard=f"http://{LOOPBACK}:{state.dashboard}",
        hours=(time.time() - state.started) / 3600 if nodes else 0.0,
        dollars_per_hour=(price.least, price.most) if price is not None else None,
        last=last,
    )


def read_log(cluster: Cluster) -> str:
    """Return what the last study has said so far.

    Raises:
        InputError: Where there is none on this cluster.
    """
    if not cluster.state.job:
        file = cluster.file.path
        raise InputError(f"no study was launched with {file} yet; type 'degas-ray launch {file}'")
    with cluster.client() as client:
        try:
            return jobs.without_preamble(client.get_job_logs(cluster.state.job))
        except RuntimeError:
            raise InputError(
                f"the cluster was started anew since {cluster.state.study}; its log is gone, its results are not"
            ) from None


def job_facts(client: Any, job: str) -> tuple[str, str]:
    """Return the status of a job and the last line of its log; both empty where the cluster does not know it."""
    try:
        status = str(client.get_job_status(job).value)
        lines = jobs.without_preamble(client.get_job_logs(job)).rstrip().splitlines()
    except RuntimeError:
        return "", ""  # of a cluster that was started anew since
    return status, lines[-1] if lines else ""
