"""``degas-ray tune``: a study over trials, from images to a champion."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from degas_ray.cli.common import (
    Verb,
    build_config,
    config_options,
    emit_json,
    home_option,
    json_option,
    print_facts,
    print_table,
    quiet_option,
    refuse_with_resume,
)
from degas_ray.cli.progress import duration, open_view
from degas_ray.cli.results import print_study, require_champion, study_facts
from degas_ray.cli.watch import study_events

if TYPE_CHECKING:
    from degas_ray.runs.jobs import Needs
    from degas_ray.study import Plan

_UNITS = {"s": 1 / 3600, "m": 1 / 60, "h": 1.0, "d": 24.0}


def _hours(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value.strip())
    if match is None or not float(match[1]):
        raise click.BadParameter(f"got {value!r}, expected a number with s, m, h or d, such as 90m or 2h")
    return float(match[1]) * _UNITS[match[2]]


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [name.strip() for name in value.split(",")]


@click.command(
    "tune",
    cls=Verb,
    examples={
        "tune": "the embedded study: digits, a few minutes on two cores",
        "tune --dataset stl --name stl-first --trials 12": "STL-10 at 48x48",
        "tune --dataset cifar10 --dry-run": "what a study would do and cost; nothing is run",
        "tune --strategy evolution --trials 16": "no searches: genotypes crossed and mutated by their proxy's score",
        "tune --resume digits-1": "go on with a study that was stopped, from its last checkpoints",
        "tune --resume digits-1 --extend-trials 4": "four trials more",
        "tune --set search.steps=1000 --set study.tune=[search.lr,search.alpha_lr]": "other settings",
    },
)
@config_options
@click.option("--name", metavar="STUDY", help="Name of the study.  [default: the dataset and a number]")
@click.option("--trials", type=int, metavar="N", help="Trials to run.")
@click.option(
    "--strategy",
    metavar="NAME",
    help="glo-darts: a search in each trial, as search.paths says; random, evolution or reinforce: a genotype in "
    "each.  [default: glo-darts]",
)
@click.option(
    "--objectives", metavar="A,B", callback=_names, help="fid, or fid with parameters or macs (Pareto front)."
)
@click.option(
    "--early-stop",
    is_flag=True,
    default=None,
    help="End trainings worse than most at 25 and 50 % of the steps.",
)
@click.option("--max-parameters", type=int, metavar="N", help="Larger generators are not trained.")
@click.option("--repeats", type=int, metavar="N", help="Proxy trainings of each genotype, to measure noise.")
@click.option("--time-budget", metavar="TIME", callback=_hours, help="No new trials after so long, such as 90m or 2h.")
@click.option("--on-finish", metavar="COMMAND", help="Run this when the study ends.")
@click.option("--resume", metavar="STUDY", help="Go on with a study, under the settings that it was begun with.")
@click.option("--extend-trials", type=click.IntRange(1), metavar="N", help="With --resume: trials more than before.")
@click.option(
    "--dry-run", is_flag=True, help="Print settings, trials, time and disk; run nothing, write nothing but caches."
)
@home_option
@quiet_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str | None,
    trials: int | None,
    strategy: str | None,
    objectives: list[str] | None,
    early_stop: bool | None,
    max_parameters: int | None,
    repeats: int | None,
    time_budget: float | None,
    on_finish: str | None,
    resume: str | None,
    extend_trials: int | None,
    dry_run: bool,
    home: Path,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Search over trials with Ray Tune, re-rank the best, train the winner to full length and register it.

    A trial is one search (all operations at once for digits, network by network from 32x32 on: search.paths), a short
    training of the generator that it ends in, and scores. Optuna proposes the search's settings, Ray Tune runs trials
    side by side, MLflow records them.
    """
    refuse_with_resume(ctx, resume, "extend_trials")
    if extend_trials is not None and resume is None:
        raise click.UsageError("--extend-trials goes with --resume STUDY; for a new study use --trials")
    overrides = {
        "study.trials": trials,
        "study.strategy": strategy,
        "study.objectives": objectives,
        "study.early_stop": early_stop,
        "study.max_parameters": max_parameters,
        "study.repeats": repeats,
        "study.budget.hours": time_budget,
        "study.on_finish": on_finish,
    }
    config = build_config(options, overrides) if resume is None else None
    if dry_run and config is not None:
        from degas_ray.study import make_plan

        _print_plan(make_plan(config, home), as_json)
        return
    from degas_ray.study import run_study

    title = f"tune  {resume or name or options['dataset'] or 'digits'}"
    with open_view(title, quiet=quiet) as view:
        result = run_study(
            config,
            home,
            name=resume or name,
            resume=resume is not None,
            extend=extend_trials or 0,
            on_event=study_events(view),
        )
    if as_json:
        emit_json(study_facts(result, home))
    else:
        print_study(result, home)
    require_champion(result)


def _print_plan(plan: "Plan", as_json: bool) -> None:
    from degas_ray.config import dump
    from degas_ray.precision import words

    if as_json:
        emit_json(
            {
                "config": plan.config.model_dump(mode="json"),
                "images": plan.images,
                "data": plan.data,
                "trials": plan.trials,
                "concurrent": plan.placement.concurrent,
                "placement": asdict(plan.placement),
                "seconds": plan.seconds,
                "total_seconds": plan.total_seconds,
                "disk": plan.disk,
                "misfits": [asdict(misfit) for misfit in plan.misfits],
            }
        )
        return
    click.echo(dump(plan.config))
    _print_trials(plan.trials)
    images = f"{plan.images:,} images, " if plan.images is not None else ""
    print_facts(
        {
            "data": f"{plan.config.dataset}: {images}{plan.data}",
            "a trial": ", ".join(f"{phase} {duration(plan.seconds[phase])}" for phase in ("search", "proxy", "score")),
            "promotion": duration(plan.seconds["full"]) if plan.config.study.promote else "off",
            "placement": _placement(plan),
            "precision": words(plan.config),
            **({"not here": "; ".join(map(str, plan.misfits))} if plan.misfits else {}),
            "in all": f"about {duration(plan.total_seconds)}",
            "disk": f"about {plan.disk / 1e6:,.0f} MB",
        }
    )


def _placement(plan: "Plan") -> str:
    """Return what is reserved for each part of the study, and how many run side by side on a machine like this one."""
    place = plan.placement
    halves = {"a trial": (place.training, place.searches)}
    if place.apart:
        halves = {"a search": (place.search, place.searches), "a proxy training": (place.training, place.trainings)}
    parts = [f"{what} on {_needs(needs)}, {count} side by side" for what, (needs, count) in halves.items()]
    if plan.config.study.promote:
        parts.append(f"the promotion on {_needs(place.promotion)}")
    return "; ".join(parts)


def _needs(needs: "Needs") -> str:
    cpus = f"{needs.cpus:g} CPU{'s' if needs.cpus > 1 else ''}"
    return cpus + (f" and {needs.gpus:g} GPU{'s' if needs.gpus > 1 else ''}" if needs.gpus else "")


def _print_trials(trials: Sequence[Mapping[str, Any]]) -> None:
    """Print what is tuned, a row a setting and a column a trial, in as many tables as the terminal needs."""
    keys = list(trials[0])
    room = max(1, (shutil.get_terminal_size().columns - max(map(len, keys)) - 4) // 12)
    for start in range(0, len(trials), room):
        shown = trials[start : start + room]
        columns = [f"trial {start + index}" for index in range(len(shown))]
        print_table(("tuned", *columns), [(key, *(_short(values[key]) for values in shown)) for key in keys], columns)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
