"""``degas-ray train``: one generator to full length."""

import json
from pathlib import Path
from typing import Any

import click

from degas_ray.cli.arguments import GENOTYPE_HELP, HANDMADE_HELP, find_architecture
from degas_ray.cli.common import (
    Verb,
    build_config,
    config_options,
    emit_json,
    home_option,
    json_option,
    nearest,
    quiet_option,
    refuse_with_resume,
    saying_how_to_resume,
    stop_on_signals,
)
from degas_ray.cli.progress import open_view
from degas_ray.cli.results import print_train, train_facts
from degas_ray.cli.watch import loop_progress
from degas_ray.errors import InputError

# Options that are settings of the full-length training.
_FULL = (
    "steps",
    "width",
    "critic_width",
    "latent_dim",
    "scale_latent",
    "batch",
    "framework",
    "supervised",
    "milestones",
)


def _shares(ctx: click.Context, param: click.Parameter, value: str | None) -> list[float] | None:
    if value is None:
        return None
    try:
        return [float(share) for share in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"got {value!r}, expected shares of the steps, such as 0.25,0.5") from None


@click.command(
    "train",
    cls=Verb,
    help="Train one generator against a critic, score it, and keep it for sampling.\n\n"
    f"{GENOTYPE_HELP}\n\n{HANDMADE_HELP}",
    examples={
        "train degas-cifar10": "the paper's CIFAR-10 generator on the embedded digits",
        "train random --seed 3 --dataset fashion-mnist --steps 2000": "a random genotype",
        "train resnet --supervised": "CT-GAN's generator, conditional on the label",
        "train degas-stl10 --dataset stl --preset ctgan-paper --name stl-full": "the paper's length; wants a GPU",
        "train degas-cifar10 --dataset stl --scale-latent": "transfer: CIFAR-10's generator at 48x48",
        "train degas-cifar10 --dataset cifar10 --preset ctgan-paper --workers 4": "four GPUs that share each batch",
        "train --resume stl-full": "go on with a training that was stopped",
    },
)
@click.argument("genotype", required=False)
@config_options
@click.option(
    "-n", "n", type=click.IntRange(1, 3), metavar="N", default=1, show_default=True, help="Normal maps, for 'random'."
)
@click.option("--steps", type=int, metavar="N", help="Generator steps.")
@click.option("--width", type=int, metavar="N", help="Channels of the generator.")
@click.option("--critic-width", type=int, metavar="N", help="Channels of the critic.")
@click.option("--latent-dim", type=int, metavar="N", help="Length of a latent vector.")
@click.option(
    "--scale-latent",
    is_flag=True,
    default=None,
    help="Take --latent-dim as that for 32x32 and scale it by the resolution: 128 becomes 192 at 48x48.",
)
@click.option("--batch", type=int, metavar="N", help="Real images a critic step.")
@click.option("--framework", metavar="NAME", help="r3gan, ctgan, wgan-gp, sngan or cagan.  [default: r3gan]")
@click.option("--preset", metavar="NAME", help="An original's own numbers, such as ctgan-paper.")
@click.option("--supervised", is_flag=True, default=None, help="Condition on the labels.")
@click.option(
    "--milestones", metavar="A,B", callback=_shares, help="Score at these shares of the steps, such as 0.25,0.5."
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Processes that share each batch, on as many CPUs or GPUs of this machine or a cluster.  [default: 1]",
)
@click.option("--name", metavar="RUN", help="Name of the run.  [default: train and a number]")
@click.option("--resume", metavar="RUN", help="Go on with a run, under the settings that it was begun with.")
@home_option
@quiet_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    genotype: str | None,
    n: int,
    preset: str | None,
    workers: int | None,
    name: str | None,
    resume: str | None,
    home: Path,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    refuse_with_resume(ctx, resume, "workers")
    if (genotype is None) == (resume is None):
        raise click.UsageError("give a GENOTYPE, such as degas-cifar10, or --resume RUN")
    if preset is not None:
        options["sets"] = (*_preset(preset), *options["sets"])
    config = build_config(options, {f"full.{key}": options[key] for key in _FULL})
    # A resumed run knows what it trains.
    what = "resnet" if genotype is None else find_architecture(genotype, home, seed=config.seed, n=n)
    from degas_ray.study import run_training

    resumable = saying_how_to_resume("train", resume or name, home)
    with (
        resumable,
        stop_on_signals() as should_stop,
        open_view(f"train  {resume or name or genotype}", quiet=quiet) as view,
    ):
        run = run_training(
            config,
            what,
            home,
            name=resume or name,
            resume=resume is not None,
            workers=workers,
            on_progress=loop_progress(view),
            should_stop=should_stop,
        )
    if as_json:
        emit_json(train_facts(run))
    else:
        print_train(run, home)


def _preset(name: str) -> list[str]:
    from degas_ray.gan import PRESETS

    if name not in PRESETS:
        hint = nearest(name, PRESETS) or f"; there are: {', '.join(PRESETS)}"
        raise InputError(f"--preset: there is none called {name!r}{hint}")
    return [f"full.{key}={json.dumps(value)}" for key, value in PRESETS[name].items()]
