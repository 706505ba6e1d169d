"""A cluster from its start to its end: Ray on every host, MLflow on the head, studies as jobs, nothing left behind."""

import json
import shlex
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from degas_ray.cluster import job as jobs
from degas_ray.cluster.file import ClusterFile
from degas_ray.cluster.hosts import Say
from degas_ray.cluster.keeper import Task
from degas_ray.cluster.opened import Cluster, answers, living_nodes, open_cluster
from degas_ray.cluster.state import State, changed, settings_file
from degas_ray.cluster.status import job_facts
from degas_ray.config import dump
from degas_ray.errors import DegasError, InputError
from degas_ray.ports import LOOPBACK, free_port, is_free

HEALTH_SECONDS = 300.0  # for every host to join
POLL_SECONDS = 0.5
PORTS = {"gcs": 6379, "dashboard": 8265, "tracking": 5000}  # of a head that is a host of its own
JOBS = "job"
HEAD = "head"  # as degas.tracking.host: the head's own address


def launch_study(cluster: Cluster, say: Say, *, resume: bool = False, cwd: Path | None = None) -> Cluster:
    """Start a cluster where it is not up, and a study on it as a job; its log is not waited for.

    Args:
        cluster: From :func:`open_cluster`.
        say: Told what is done.
        resume: Go on with the last study of this cluster, or with ``degas.name``.
        cwd: Where relative paths of the settings begin on this machine.

    Returns:
        The cluster with its study and job.

    Raises:
        InputError: Where a study runs already, or there is none to go on with.
        DegasError: Where a host does not join or a server does not start; what was started has been ended then.
    """
    study = _study_name(cluster, resume)
    cluster.folder.make_token()
    cluster.folder.authenticate()
    if not answers(cluster):
        cluster = _start(cluster, say)
    with cluster.client() as client:
        _refuse_second(client, cluster)
        settings = settings_file(cluster.folder, study, dump(cluster.file.config))
        number = sum(1 for item in client.list_jobs() if str(item.submission_id).startswith(f"{study}-{JOBS}"))
        name = f"{study}-{JOBS}-{number + 1}-{int(time.time())}"
        entry, upload = _entrypoint(cluster, study, settings, resume, cwd or Path.cwd())
        variables = {"DEGAS_RAY_TRACKING_URI": cluster.state.tracking}
        jobs.submit(client, entry, name, variables, upload)
    say(f"study {study} runs as the job {name}")
    studies = cluster.state.studies + int(not resume and cluster.file.degas.name is None)
    return cluster.with_state(study=study, job=name, studies=studies)


def pause_study(cluster: Cluster) -> str:
    """Pause the study that runs; its results and checkpoints stay. Return its job's last status.

    Raises:
        InputError: Where none runs.
    """
    with cluster.client() as client:
        status, _ = job_facts(client, cluster.state.job) if cluster.state.job else ("", "")
        if status not in ("PENDING", "RUNNING"):
            ended = f"; {cluster.state.study} has {status}" if status else ""
            raise InputError(f"no study runs on {cluster.file.name}{ended}")
        return jobs.stop_job(client, cluster.state.job)


def bring_down(cluster: Cluster, say: Say) -> list[str]:
    """Pause the study, end every process of the cluster on every host, and look that none is left.

    A study that cannot be paused is ended all the same: it can go on from its last checkpoints.

    Returns:
        The processes that are left, which should be none.
    """
    cluster.folder.authenticate()
    if cluster.state.started and answers(cluster):
        try:
            pause_study(cluster)
            say(f"study {cluster.state.study} is paused and kept")
        except InputError:
            pass  # none runs
        except DegasError as error:
            say(f"not paused: {error}")
    left = cluster.hosts.end(say)
    if not left:
        cluster.folder.write(changed(cluster.state, {"started": 0.0}))
    return left


def _start(cluster: Cluster, say: Say) -> Cluster:
    state = _with_ports(cluster.state, cluster.file)
    cluster = open_cluster(cluster.file, cluster.folder.home, state)
    with ExitStack() as undo:  # whatever ends the start, a signal too
        undo.callback(_undo_start, cluster, state, say)
        cluster.hosts.start(say)
        cluster = cluster.with_state(started=time.time())
        _wait_for_hosts(cluster, say)
        if cluster.file.degas.tracking.host == HEAD and cluster.file.degas.tracking.uri is None:
            address = cluster.hosts.run("hostname -I").split()[0]
            cluster = cluster.with_state(tracking=f"http://{address}:{_port(cluster.state.tracking)}")
        task = _keeper(cluster)
        if task.port or task.idle:
            say(f"starting MLflow at {cluster.state.tracking}" if task.port else "watching for idleness")
            cluster.hosts.run(
                f"{cluster.state.python} -m degas_ray.cluster.keeper {shlex.quote(json.dumps(asdict(task)))}"
            )
        undo.pop_all()
    return cluster


def _undo_start(cluster: Cluster, state: State, say: Say) -> None:
    say("the start failed: ending what was started")
    cluster.hosts.end(say)
    cluster.folder.write(changed(state, {"started": 0.0}))


def _keeper(cluster: Cluster) -> Task:
    state, degas = cluster.state, cluster.file.degas
    log = cluster.folder.root / "keeper.log" if cluster.file.here else Path("~/.degas-ray") / state.mark / "keeper.log"
    return Task(
        mark=state.mark,
        log=str(log),
        home=state.home,
        host=urlsplit(state.tracking).hostname or LOOPBACK,
        port=0 if degas.tracking.uri is not None else _port(state.tracking),
        dashboard=f"http://{LOOPBACK}:{state.dashboard}",
        idle=degas.idle_shutdown or 0.0,
        cloud=cluster.file.provider != "local",
    )


def _wait_for_hosts(cluster: Cluster, say: Say) -> None:
    """Wait until every host that the file asks for has joined, and not the head alone.

    Raises:
        DegasError: With those that have, where others do not in five minutes.
    """
    expected = 1 + int(cluster.file.workers.least)
    deadline = time.monotonic() + HEALTH_SECONDS
    seen = -1
    while time.monotonic() < deadline:
        nodes = living_nodes(cluster)
        if len(nodes) >= expected:
            say(f"{len(nodes)} of {expected} hosts are up")
            return
        if len(nodes) != seen and expected > 1:
            say(f"{len(nodes)} of {expected} hosts are up; waiting for the others")
            seen = len(nodes)
        time.sleep(POLL_SECONDS)
    there = ", ".join(node.node_ip for node in living_nodes(cluster)) or "none"
    raise DegasError(
        f"{expected} hosts should have joined within {HEALTH_SECONDS:.0f} s; there are: {there}. "
        f"'degas-ray doctor {cluster.file.path}' looks for what stops a host"
    )


def _refuse_second(client: Any, cluster: Cluster) -> None:
    for item in client.list_jobs():
        if item.submission_id == cluster.state.job and not item.status.is_terminal():
            file = cluster.file.path
            raise InputError(
                f"study {cluster.state.study} runs on {cluster.file.name}; follow it with 'degas-ray attach {file}', "
                f"or pause it with 'degas-ray stop {file}'"
            )


def _study_name(cluster: Cluster, resume: bool) -> str:
    degas, state, file = cluster.file.degas, cluster.state, cluster.file.path
    if resume:
        name = degas.name or state.study
        if not name:
            raise InputError(f"no study was launched with {file} yet; leave --resume out")
        return name
    if degas.name is None:
        number = state.studies + 1
        while cluster.file.here and (Path(state.home) / "studies" / f"{cluster.file.name}-{number}").exists():
            number += 1
        return f"{cluster.file.name}-{number}"
    if cluster.file.here and (Path(state.home) / "studies" / degas.name).exists():
        raise InputError(
            f"there is a study {degas.name} already; go on with 'degas-ray launch {file} --resume', "
            "or change degas.name"
        )
    return degas.name


def _entrypoint(cluster: Cluster, study: str, settings: Path, resume: bool, cwd: Path) -> tuple[str, str | None]:
    """Return the driver's command, and the folder that goes to a head which does not see this machine's files."""
    here = cluster.file.here
    words = [cluster.state.python, "-m", "degas_ray.cli.main", "tune", "--home", cluster.state.home]
    file = str(settings) if here else settings.name
    words += ["--resume", study] if resume else ["--name", study, "--config", file]
    enter = f"cd {shlex.quote(str(cwd))} && " if here else ""
    return f"{enter}exec {shlex.join(words)}", None if here else str(settings.parent)


def _with_ports(state: State, file: ClusterFile) -> State:
    """Return the state with every port settled; on this machine those of the last time, where they are free."""
    degas = file.degas
    wished = {"gcs": degas.ports.gcs, "dashboard": degas.ports.dashboard, "tracking": degas.tracking.port}
    before = {"gcs": state.gcs, "dashboard": state.dashboard, "tracking": _port(state.tracking)}
    ports: dict[str, int] = {}
    for name, port in wished.items():
        if not file.here:
            ports[name] = port or PORTS[name]
        elif port is None and before[name] and is_free(LOOPBACK, before[name]):
            ports[name] = before[name]
        else:
            ports[name] = free_port(LOOPBACK, port, f"degas.{'ports.' if name != 'tracking' else ''}{name}:")
    return changed(
        state,
        {
            "gcs": ports["gcs"],
            "dashboard": ports["dashboard"],
            "tracking": degas.tracking.uri or f"http://{degas.tracking.host}:{ports['tracking']}",
            "home": degas.storage.home or state.home,
            "python": degas.python or sys.executable,
        },
    )


def _port(address: str) -> int:
    text = address.rpartition(":")[2]
    return int(text) if text.isdigit() else 0
