"""``degas-ray down``: end a cluster and look that nothing is left."""

from pathlib import Path

import click

from degas_ray.cli.clusters import file_argument, opened, say, silent
from degas_ray.cli.common import Verb, emit_json, home_option, json_option, quiet_option
from degas_ray.errors import DegasError


@click.command("down", cls=Verb, examples={"down cluster.yaml": "pause the study, end every process, keep the results"})
@file_argument
@home_option
@quiet_option
@json_option
def command(file: Path, home: Path, quiet: bool, as_json: bool) -> None:
    """Pause the study where one runs, then end every process of the cluster on every host.

    Only processes that this cluster started are ended. Afterwards each host is looked at: exit code 1 where something
    is left, with its name. Results stay in the home directory.
    """
    from degas_ray.cluster import bring_down

    cluster = opened(file, home)
    left = bring_down(cluster, silent if quiet else say)
    if left:
        raise DegasError("these processes did not end:\n" + "\n".join(f"  {line}" for line in left))
    if as_json:
        emit_json({"cluster": cluster.file.name, "left": left})
    else:
        click.echo(f"The cluster {cluster.file.name} is down; no process of it is left.")
