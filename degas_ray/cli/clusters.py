"""What the verbs of clusters share: the file, following a study's log, facts."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from degas_ray.errors import DegasError, Interrupted

if TYPE_CHECKING:
    from degas_ray.cluster import Cluster, ClusterFile

F = TypeVar("F", bound=Callable[..., Any])


def file_argument(command: F) -> F:
    """Add the argument that names a cluster's YAML."""
    return click.argument("file", type=click.Path(path_type=Path), metavar="CLUSTER.YAML")(command)


def opened(file: Path, home: Path, experiment: Path | None = None) -> "Cluster":
    """Return the cluster that a file describes."""
    from degas_ray.cluster import open_cluster, read_cluster

    return open_cluster(read_cluster(file, experiment), home)


def say(text: str) -> None:
    """Tell what is being done, beside the results."""
    click.echo(click.style("· ", dim=True) + text, err=True)


def silent(text: str) -> None:
    """Tell nothing."""


def follow(cluster: "Cluster", *, aside: bool = False, quiet: bool = False) -> None:
    """Print a study's log until its job ends.

    Args:
        cluster: With its job.
        aside: Print it on stderr, since stdout holds JSON.
        quiet: Wait, and print nothing of it.

    Raises:
        Interrupted: After Ctrl-C, which leaves the study running, or where the study was paused.
        DegasError: Where the study failed.
    """
    from degas_ray.cluster import attach_job

    file, study = cluster.file.path, cluster.state.study
    show = silent if quiet else lambda text: click.echo(text, nl=False, err=aside)
    try:
        with cluster.client() as client:
            status = attach_job(client, cluster.state.job, show)
    except KeyboardInterrupt:
        raise Interrupted(
            f"study {study} goes on; come back with 'degas-ray attach {file}', pause it with 'degas-ray stop {file}'"
        ) from None
    if status == "STOPPED":
        raise Interrupted(f"study {study} is paused and kept; go on with 'degas-ray launch {file} --resume'")
    if status != "SUCCEEDED":
        said = f"'degas-ray logs {file}' prints what it said" if quiet else "what it said is above"
        raise DegasError(f"the job of study {study} failed; {said}. Go on with 'degas-ray launch {file} --resume'")


def plan_facts(file: "ClusterFile", home: Path) -> dict[str, Any]:
    """Return what a launch would start, and what that costs."""
    price, budget, workers = file.price, file.config.study.budget, file.workers
    return {
        "cluster": file.name,
        "provider": file.provider,
        "here": file.here,
        "workers": [int(workers.least), int(workers.most)],
        "home": file.degas.storage.home or str(home),
        "tracking": file.degas.tracking.uri or f"on the head, {file.degas.tracking.host}",
        "dataset": file.config.dataset,
        "trials": file.config.study.trials,
        "dollars_per_hour": [price.least, price.most] if price is not None else None,
        "budget": budget.model_dump(),
        "idle_shutdown_seconds": file.degas.idle_shutdown,
    }


def plan_lines(facts: dict[str, Any]) -> dict[str, str]:
    """Return the same for people."""
    least, most = facts["workers"]
    workers = "no workers" if not most else f"{least} to {most} workers" if least != most else f"{most} workers"
    head = "one head on this machine, loopback only" if facts["here"] else f"one head by {facts['provider']}"
    price = facts["dollars_per_hour"]
    budget = {key: value for key, value in facts["budget"].items() if value is not None and key != "dollars_per_hour"}
    idle = facts["idle_shutdown_seconds"]
    return {
        "cluster": facts["cluster"],
        "hosts": f"{head}, {workers}",
        "study": f"{facts['trials']} trials on {facts['dataset']}",
        "home": facts["home"],
        "MLflow": facts["tracking"],
        "price": dollars(price) if price is not None else "unknown: the file names no degas.prices",
        "budget": ", ".join(f"{value:g} {key.replace('_', ' ')}" for key, value in budget.items()) or "none",
        "idle": f"the cluster ends after {idle / 60:g} minutes without a study" if idle else "the cluster stays up",
    }


def dollars(price: Any) -> str:
    """Return a price an hour, or a span of it."""
    least, most = price
    span = f"${least:,.2f}" if least == most else f"${least:,.2f} to ${most:,.2f}"
    return f"{span} an hour"


def rule() -> str:
    """Return a line as wide as the terminal, at most 80 columns."""
    return "─" * min(80, shutil.get_terminal_size().columns)
