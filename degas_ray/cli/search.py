"""``degas-ray search``: one search."""

from pathlib import Path
from typing import Any

import click

from degas_ray.cli.common import (
    Verb,
    build_config,
    config_options,
    emit_json,
    home_option,
    json_option,
    quiet_option,
    refuse_with_resume,
    saying_how_to_resume,
    stop_on_signals,
)
from degas_ray.cli.progress import open_view
from degas_ray.cli.results import print_search, search_facts
from degas_ray.cli.watch import loop_progress
from degas_ray.errors import InputError


@click.command(
    "search",
    cls=Verb,
    examples={
        "search": "the embedded digits",
        "search --steps 2000 -n 2 --json": "longer, two normal maps a stage, facts as JSON",
        "search --dataset fashion-mnist --paths mixed": "all operations at once, as the paper does",
        "search --dataset folder:photos --resolution 32 --name photos": "your own images",
        "search --resume photos": "go on with a search that was stopped",
    },
)
@config_options
@click.option("-n", "n", type=int, metavar="N", help="Normal maps a stage, 1 to 3.  [default: 1]")
@click.option("--steps", type=int, metavar="N", help="Steps of each kind, weights and alphas, where paths are mixed.")
@click.option("--paths", metavar="mixed|sampled", help="All operations at once, or network by network.")
@click.option("--networks", type=int, metavar="N", help="Networks that are tried, where paths are sampled.")
@click.option("--width", type=int, metavar="N", help="Channels of every map.")
@click.option("--pick", metavar="last|best-margin", help="The genotype of which report.  [default: last]")
@click.option("--name", metavar="RUN", help="Name of the run.  [default: search and a number]")
@click.option("--resume", metavar="RUN", help="Go on with a run, under the settings that it was begun with.")
@home_option
@quiet_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    n: int | None,
    steps: int | None,
    paths: str | None,
    networks: int | None,
    width: int | None,
    pick: str | None,
    name: str | None,
    resume: str | None,
    home: Path,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Search a generator: train a mixture of all operations (GLO-DARTS) and prune it, or try networks one by one.

    The run's folder keeps settings, statistics, the genotype of every report, figures and checkpoints.
    """
    refuse_with_resume(ctx, resume)
    overrides = {
        "search.n": n,
        "search.steps": steps,
        "search.paths": paths,
        "search.networks": networks,
        "search.width": width,
        "prune.pick": pick,
    }
    config = build_config(options, overrides)
    _refuse_what_is_not_used(config.dataset, config.search.paths, steps, networks)
    from degas_ray.study import run_search

    title = f"search  {resume or name or config.dataset}"
    resumable = saying_how_to_resume("search", resume or name, home)
    with resumable, stop_on_signals() as should_stop, open_view(title, quiet=quiet) as view:
        run = run_search(
            config,
            home,
            name=resume or name,
            resume=resume is not None,
            on_progress=loop_progress(view),
            should_stop=should_stop,
        )
    if as_json:
        emit_json(search_facts(run))
    else:
        print_search(run, home)


def _refuse_what_is_not_used(dataset: str, paths: str, steps: int | None, networks: int | None) -> None:
    """Say so where a length was given that the search does not have.

    Raises:
        InputError: With the option that is meant.
    """
    if paths == "sampled" and steps is not None:
        raise InputError(
            f"--steps {steps}: {dataset} is searched network by network; "
            f"give --networks N, or --paths mixed with --steps {steps}"
        )
    if paths == "mixed" and networks is not None:
        raise InputError(
            f"--networks {networks}: {dataset} is searched with all operations at once; "
            f"give --steps N, or --paths sampled with --networks {networks}"
        )
