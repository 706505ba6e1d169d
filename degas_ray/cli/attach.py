"""``degas-ray attach``: come back to a study that runs on a cluster."""

from pathlib import Path

import click

from degas_ray.cli.clusters import file_argument, follow, opened
from degas_ray.cli.common import Verb, home_option
from degas_ray.errors import InputError


@click.command(
    "attach",
    cls=Verb,
    examples={"attach cluster.yaml": "follow the study; Ctrl-C leaves it running"},
)
@file_argument
@home_option
def command(file: Path, home: Path) -> None:
    """Follow the log of a cluster's last study from its beginning, until the study ends.

    Exit codes are those of the study: 0 done, 1 failed, 130 paused, or left running by Ctrl-C.
    """
    cluster = opened(file, home)
    if not cluster.state.job:
        raise InputError(f"no study was launched with {file} yet; type 'degas-ray launch {file}'")
    follow(cluster)
