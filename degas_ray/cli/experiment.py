"""``degas-ray experiment``: the paper's experiments and ours, from files."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from degas_ray.cli.common import (
    Verb,
    VerbGroup,
    emit_json,
    home_option,
    json_option,
    print_facts,
    print_table,
    print_words,
    quiet_option,
    stop_on_signals,
    suffix_of,
)
from degas_ray.cli.progress import open_view
from degas_ray.cli.watch import loop_progress
from degas_ray.errors import Interrupted

if TYPE_CHECKING:
    from degas_ray.experiments import Cost, Experiment

SCALES = ("full", "laptop")
FOLDER = Path("experiments")
_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=FOLDER,
    show_default=True,
    metavar="DIR",
    help="Where the experiments' files are; rows go to its results/.",
)
_scale = click.option(
    "--scale",
    type=click.Choice(SCALES),
    default="full",
    show_default=True,
    help="The file's own numbers, or its small ones.",
)


@click.group(
    "experiment",
    cls=VerbGroup,
    examples={
        "experiment list": "what there is",
        "experiment run cifar10 --dry-run": "what the paper's CIFAR-10 experiment would do and cost",
        "experiment run searched-against-random": "run it, or go on with it",
        "experiment report --out docs/evidence.md": "all that has rows, as a page with figures",
    },
)
def command() -> None:
    """Run the paper's experiments and ours from files, and report what came out.

    A file names groups of generators and the trainings that all of them get. Each search and each training is a row,
    and a row that is there is never computed again.
    """


@command.command(
    "list",
    cls=Verb,
    examples={"experiment list": "names, what each answers, rows so far", "experiment list --json": "the same as JSON"},
)
@_folder
@json_option
def list_(folder: Path, as_json: bool) -> None:
    """List the experiments and how many rows each has."""
    from degas_ray.experiments import list_experiments
    from degas_ray.experiments.files import load_scales
    from degas_ray.experiments.rows import read_rows

    rows = []
    for file in list_experiments(folder):
        for scale, experiment in load_scales(file).items():
            rows.append(
                {
                    "name": experiment.name,
                    "scale": scale,
                    "title": experiment.title,
                    "dataset": experiment.config.dataset,
                    "rows": len(read_rows(experiment.results)),
                    "file": file,
                }
            )
    if as_json:
        emit_json({"experiments": rows})
        return
    choice = {row["file"] for row in rows if row["scale"] != SCALES[0]}  # the others have nothing to choose
    scales = [row["scale"] if row["file"] in choice else "" for row in rows]
    shown = [
        (str(row["name"]), str(scale), str(row["rows"] or ""), str(row["dataset"]), str(row["title"]))
        for row, scale in zip(rows, scales, strict=True)
    ]
    print_table(("name", "--scale", "rows", "dataset", "what it answers"), shown, right=("rows",))


@command.command(
    "run",
    cls=Verb,
    examples={
        "experiment run cifar10 --dry-run": "rows, multiply-adds, hours and disk; nothing is run",
        "experiment run cifar10 --scale laptop": "the same file's small numbers",
        "experiment run my-own.yaml": "a file of yours",
    },
)
@click.argument("name")
@_folder
@_scale
@click.option("--dry-run", is_flag=True, help="Check the file and print what would be done and cost; run nothing.")
@home_option
@quiet_option
@json_option
def run_(name: str, folder: Path, scale: str, dry_run: bool, home: Path, quiet: bool, as_json: bool) -> None:
    """Run an experiment, or go on with it: NAME is a file's name without .yaml, or its path.

    It can be stopped at any time; the same command goes on from the last checkpoint.
    """
    from degas_ray.experiments import cost_of, find_experiment, load_experiment

    experiment = load_experiment(find_experiment(name, folder), scale)
    if dry_run:
        _print_plan(experiment, cost_of(experiment), as_json)
        return
    from degas_ray.experiments import report_on, run_experiment
    from degas_ray.experiments.run import Watch

    with stop_on_signals() as should_stop, open_view(f"experiment {experiment.name}", quiet=quiet) as view:

        def on_row(done: int, total: int, label: str) -> None:
            view.rename(f"experiment {experiment.name}: {done} of {total} rows, {label}")

        try:
            run_experiment(experiment, home, Watch(on_row, loop_progress(view), should_stop))
        except Interrupted:
            raise Interrupted(f"{experiment.name} was stopped; go on with '{experiment.command}'") from None
    found = report_on(experiment)
    if as_json:
        emit_json({**found.facts(), "results": experiment.results})
        return
    click.echo(found.markdown())


@command.command(
    "report",
    cls=Verb,
    examples={
        "experiment report searched-against-random": "tables on the terminal",
        "experiment report --out docs/evidence.md": "all that has rows, with figures beside the page",
    },
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_folder
@click.option("--scale", type=click.Choice(SCALES), help="This one alone.  [default: every scale that has rows]")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write a page, figures beside it: .md.")
@json_option
def report_(names: tuple[str, ...], folder: Path, scale: str | None, out: Path | None, as_json: bool) -> None:
    """Print medians with bootstrap intervals, parameters and multiply-adds of all groups, from the rows alone."""
    suffix_of(out, "--out", ".md")
    from degas_ray.errors import InputError
    from degas_ray.experiments import find_experiment, list_experiments, report_on
    from degas_ray.experiments.files import load_scales
    from degas_ray.experiments.report import write_report

    files = [find_experiment(name, folder) for name in names] or list_experiments(folder)
    chosen = [
        experiment
        for file in files
        for name, experiment in load_scales(file).items()
        if (scale is None or name == scale) and experiment.results.exists()
    ]
    if not chosen:
        wanted = f"{' and '.join(names) or folder}" + (f" at scale {scale}" if scale else "")
        command = f"degas-ray experiment run {names[0] if names else 'NAME'}"
        command += f" --scale {scale}" if scale == SCALES[1] else ""
        command += f" --folder {shlex.quote(str(folder))}" if folder != FOLDER else ""
        listed = "" if names else ", where 'degas-ray experiment list' has the names"
        raise InputError(f"{wanted}: there are no rows yet; make some with '{command}'{listed}")
    found = [report_on(experiment) for experiment in chosen]
    if out is not None:
        write_report(found, out)
    if as_json:
        emit_json({"reports": [item.facts() for item in found], "out": out})
    elif out is not None:
        click.echo(f"Written to {out}")
    else:
        click.echo("\n".join(item.markdown() for item in found))


def _print_plan(experiment: "Experiment", cost: "Cost", as_json: bool) -> None:
    from degas_ray.experiments.plan import members_of
    from degas_ray.experiments.rows import read_rows

    groups = {name: [m.name for m in members_of(experiment) if m.group == name] for name in experiment.generators}
    done = len(read_rows(experiment.results))
    if as_json:
        emit_json(
            {
                "experiment": experiment.name,
                "scale": experiment.scale,
                "config": experiment.config.model_dump(mode="json"),
                "generators": groups,
                "trainings": list(experiment.trainings),
                "searches": cost.searches,
                "planned_trainings": cost.trainings,
                "macs": cost.macs if cost.known else None,
                "hours": cost.hours if cost.known else None,
                "disk": cost.disk,
                "rows": done,
                "results": experiment.results,
            }
        )
        return
    print_words(f"{experiment.title}: {experiment.question}")
    print_words(f"The paper: {experiment.paper}")
    if experiment.caveat:
        print_words(f"Caveat: {experiment.caveat}")
    kinds = {name: experiment.generators[name].kind for name in groups}
    print_table(
        ("generators", "kind", "members"),
        [(name, kinds[name], ", ".join(members)) for name, members in groups.items()],
    )
    lines = []
    for name, training in experiment.trainings.items():
        full = experiment.training(name).full
        which = ", ".join(experiment.groups_of(name))
        if training.leaders is not None:
            which += f" (best {training.leaders.top} of each, by {training.leaders.of})"
        seeds = training.seeds if isinstance(training.seeds, int) else len(training.seeds)
        lines.append((name, f"{full.steps:,}", str(full.width), str(seeds), which))
    print_table(("training", "steps", "width", "seeds", "of"), lines, right=("steps", "width", "seeds"))
    print_facts({"cost": cost.sentence(), "rows": f"{done} there already, in {experiment.results}"})
