"""``degas-ray stop``: pause a cluster's study."""

from pathlib import Path

import click

from degas_ray.cli.clusters import file_argument, opened
from degas_ray.cli.common import Verb, emit_json, home_option, json_option


@click.command(
    "stop",
    cls=Verb,
    examples={"stop cluster.yaml": "pause; then 'degas-ray launch cluster.yaml --resume' goes on"},
)
@file_argument
@home_option
@json_option
def command(file: Path, home: Path, as_json: bool) -> None:
    """Pause the study that runs: its workers write checkpoints, its results stay, the cluster stays up."""
    from degas_ray.cluster import pause_study

    cluster = opened(file, home)
    status = pause_study(cluster)
    study = cluster.state.study
    if as_json:
        emit_json({"study": study, "job": cluster.state.job, "job_status": status})
    elif status == "SUCCEEDED":
        click.echo(f"Study {study} had just ended.")
    else:
        click.echo(f"Study {study} is paused and kept. Go on with: degas-ray launch {file} --resume")
