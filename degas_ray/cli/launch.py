"""``degas-ray launch``: a cluster, and a study on it."""

from pathlib import Path

import click

from degas_ray.cli.clusters import file_argument, follow, opened, plan_facts, plan_lines, say, silent
from degas_ray.cli.common import Verb, emit_json, home_option, json_option, print_facts, quiet_option


@click.command(
    "launch",
    cls=Verb,
    examples={
        "launch cluster.yaml": "this machine as a cluster: Ray, MLflow, a study on digits, its champion",
        "launch cluster.yaml --dry-run": "check the file; print what would be started and what it costs",
        "launch cluster.yaml --experiment experiments/stl.yaml --detach": "another study; do not follow its log",
        "launch cluster.yaml --resume": "go on with the last study after 'stop', 'down' or a failure",
    },
)
@file_argument
@click.option(
    "--experiment",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings of the study as YAML, in the place of degas.experiment.",
)
@click.option("--resume", is_flag=True, help="Go on with the last study, under the settings that it was begun with.")
@click.option("--detach", is_flag=True, help="Return once the study runs; 'degas-ray attach' follows its log.")
@click.option("--dry-run", is_flag=True, help="Check the file and print hosts, price and budget; start nothing.")
@home_option
@quiet_option
@json_option
def command(
    file: Path,
    experiment: Path | None,
    resume: bool,
    detach: bool,
    dry_run: bool,
    home: Path,
    quiet: bool,
    as_json: bool,
) -> None:
    """Start a cluster where it is not up, run a study on it, and follow its log.

    CLUSTER.YAML is Ray's own, with a section 'degas:' for the study, its budget, prices, storage and tracking.
    Ctrl-C leaves the study running. 'degas-ray stop' pauses it, 'degas-ray down' ends everything.
    """
    cluster = opened(file, home, experiment)
    if dry_run:
        facts = plan_facts(cluster.file, home)
        if as_json:
            emit_json({**facts, "config": cluster.file.config.model_dump(mode="json")})
        else:
            print_facts(plan_lines(facts))
        return
    from degas_ray.cluster import launch_study

    tell = silent if quiet else say
    cluster = launch_study(cluster, tell, resume=resume)
    state = cluster.state
    tell(f"MLflow: {state.tracking}")
    if not detach:
        tell(f"following the log; Ctrl-C leaves the study running, 'degas-ray attach {file}' comes back")
        follow(cluster, aside=as_json, quiet=quiet)
    if as_json:
        emit_json({"cluster": cluster.file.name, "study": state.study, "job": state.job, "tracking": state.tracking})
    elif detach:
        click.echo(f"Study {state.study} runs. Follow it with: degas-ray attach {file}")
    else:
        tell(f"the cluster stays up for the next study; end it with 'degas-ray down {file}'")
