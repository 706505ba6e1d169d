"""``degas-ray judge``: the second judge's classifier of a data set."""

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
    print_facts,
    quiet_option,
)
from degas_ray.cli.progress import open_view


@click.command(
    "judge",
    cls=Verb,
    examples={
        "judge --dataset digits": "train it, or say how good it is where it is there already",
        "judge --dataset folder:photos --json": "one's own images; their sub-directories are the classes",
    },
)
@config_options
@home_option
@quiet_option
@json_option
def command(home: Path, quiet: bool, as_json: bool, **options: Any) -> None:
    """Train the second judge's classifier of a data set with labels and say how accurate it is on held-out images.

    Studies, trainings and evaluations train it by themselves where it is missing: once for each data set in a home.
    Data sets without labels are judged by patches, which need no training.
    """
    config = build_config(options, {})
    from degas_ray.data import prepare, split
    from degas_ray.scores import classifier_of

    with open_view(f"judge  {config.dataset}", quiet=quiet) as view:
        training, held_out = split(prepare(config.dataset, home, **config.images()))

        def report(step: int, steps: int) -> None:
            view.update(config.dataset, phase="second judge", step=step, steps=steps)

        judge = classifier_of(training, home, report)
        view.update(config.dataset, state="completed", note=f"accuracy {100 * judge.accuracy:.1f} %")
    assert held_out is not None, "classifier_of refuses what has no held-out part"
    facts = {
        "dataset": config.dataset,
        "accuracy": judge.accuracy,
        "held_out": len(held_out),
        "training": len(training),
        "classes": len(training.classes),
        "features": judge.extractor.dim,
        "network": judge.extractor.weights_hash,
        "path": judge.path,
    }
    if as_json:
        emit_json(facts)
        return
    print_facts(
        {
            "classifier": f"of {config.dataset}: {len(training.classes)} classes, {judge.extractor.dim} features "
            f"[{judge.extractor.weights_hash}]",
            "accuracy": f"{100 * judge.accuracy:.1f} % of {len(held_out):,} held-out images",
            "trained on": f"{len(training):,} images",
            "kept": str(judge.path),
        }
    )
