"""``degas-ray promote``: a study's winner, or any other genotype of it, trained to full length and registered."""

from pathlib import Path

import click

from degas_ray.cli.arguments import SEEDLESS_HELP, find_genotype
from degas_ray.cli.common import Verb, emit_json, home_option, json_option, quiet_option
from degas_ray.cli.progress import open_view
from degas_ray.cli.results import print_study, require_champion, study_facts
from degas_ray.cli.watch import study_events


@click.command(
    "promote",
    cls=Verb,
    help="Train a study's winner to full length, score it, and register it in MLflow as champion.\n\n"
    "Another genotype can be chosen: --trial takes the one of a trial, --genotype any. The last one promoted is "
    "@champion, and what 'sample', 'export' and 'evaluate' take by the study's name; 'compare' and 'report' show the "
    f"winner, and 'compare' takes the MLflow run id of any promotion.\n\n{SEEDLESS_HELP}",
    examples={
        "promote digits-1": "the winner of a study that ran without promotion, or was stopped before it",
        "promote digits-1 --trial 2": "what trial 2 found",
    },
)
@click.argument("study")
@click.option("--trial", type=click.IntRange(0), metavar="N", help="The genotype of this trial.")
@click.option("--genotype", metavar="GENOTYPE", help="This genotype.")
@home_option
@quiet_option
@json_option
def command(study: str, trial: int | None, genotype: str | None, home: Path, quiet: bool, as_json: bool) -> None:
    if trial is not None and genotype is not None:
        raise click.UsageError("give --trial or --genotype, not both")
    from degas_ray.study import promote_genotype

    chosen = find_genotype(genotype, home) if genotype is not None else None
    with open_view(f"promote  {study}", quiet=quiet) as view:
        result = promote_genotype(home, study, genotype=chosen, trial=trial, on_event=study_events(view))
    if as_json:
        emit_json(study_facts(result, home))
    else:
        print_study(result, home)
    require_champion(result)
