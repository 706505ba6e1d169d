"""``degas-ray status``: how a cluster and its study stand."""

from dataclasses import asdict
from pathlib import Path

import click

from degas_ray.cli.clusters import dollars, file_argument, opened
from degas_ray.cli.common import Verb, emit_json, home_option, json_option, print_facts


@click.command(
    "status",
    cls=Verb,
    examples={"status cluster.yaml": "hosts, study, addresses, price", "status cluster.yaml --json": "for scripts"},
)
@file_argument
@home_option
@json_option
def command(file: Path, home: Path, as_json: bool) -> None:
    """Print which hosts of a cluster are up, what its study does, and what the hosts cost."""
    from degas_ray.cluster import find_status

    status = find_status(opened(file, home))
    if as_json:
        emit_json(asdict(status))
        return
    facts = {"cluster": f"{status.cluster}, {'up' if status.up else 'down'}"}
    if status.up:
        facts["hosts"] = f"{status.nodes} of {status.expected}, {status.cpus:g} CPUs, {status.gpus:g} GPUs"
        facts["since"] = f"{status.hours:.1f} h"
    if status.dollars_per_hour is not None:
        facts["price"] = dollars(status.dollars_per_hour)
    if status.study:
        facts["study"] = f"{status.study} {status.job_status.lower()}".rstrip()
    if status.last:
        facts["last line"] = status.last
    if status.up:
        facts |= {"MLflow": status.tracking, "dashboard": f"{status.dashboard} (on the head)"}
    else:
        facts["next"] = f"degas-ray launch {file}{' --resume' if status.study else ''}"
    print_facts(facts)
