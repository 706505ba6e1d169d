"""One training on a GPU in bf16: steps a second without the compiler, compiled, and captured as CUDA graphs.

Run ``python -m benchmarks.gpu_training --out FOLDER`` on a machine with a GPU; it is meant to take less than ten
minutes. It trains each generator at width 128 on Fashion-MNIST at 32x32, writes a grid of its images and its scores
into the folder, and prints all of it as JSON. Without a GPU nothing is compiled and nothing captured, which shows only
that the script works.
"""

import time
from pathlib import Path
from typing import Any

import click
import torch
from PIL import Image
from torch import nn

from benchmarks.timing import report
from degas_ray.config import Config, resolve
from degas_ray.data import Pack, prepare, split
from degas_ray.figures import image_grid
from degas_ray.gan import build_generator, generate
from degas_ray.gan.trainer import Trainer
from degas_ray.scores import load_extractor, reference_statistics, score

WAYS = ("eager", "compiled", "captured")
WARMUP = 10  # steps: compilation, and the recording of the graphs
GRID = 64  # images


def trainer_for(what: str, way: str, config: Config, pack: Pack) -> Trainer:
    """Return a training of ``what`` that has not begun."""
    settings = config.full.model_copy(update={"compile": "on" if way == "captured" else "off"})
    trainer = Trainer(settings, build_generator(what, settings, pack.resolution, seed=0), pack, 0)
    if way == "compiled" and trainer.device.type == "cuda":
        trainer._critic_loss = torch.compile(trainer._critic_loss)
        trainer._generator_loss = torch.compile(trainer._generator_loss)
        trainer._images = torch.compile(trainer._images)
    return trainer


def advance(trainer: Trainer, steps: int) -> float:
    """Advance by ``steps`` and return the seconds that they took."""
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(steps):
        trainer.advance()
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def judge(generator: nn.Module, config: Config, pack: Pack, home: Path, out: Path) -> dict[str, float]:
    """Score a generator and write a grid of its images."""
    images = generate(generator, config.scores.samples, seed=0)
    first = next(iter(images))
    Image.fromarray(image_grid(first[:GRID], columns=8)).save(out)
    extractor = load_extractor(config.scores.extractor, home / "cache", None)
    reference = reference_statistics(pack, extractor, count=config.scores.real, cache=home / "cache")
    return score(generate(generator, config.scores.samples, seed=0), extractor, reference, seed=0).metrics()


@click.command()
@click.option("--dataset", default="fashion-mnist", show_default=True)
@click.option("--generators", default="degas-cifar10,resnet", show_default=True)
@click.option("--steps", default=3000, show_default=True, help="Steps of the training that is scored.")
@click.option("--timed", default=200, show_default=True, help="Steps that are timed for each way.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Settings, as for degas-ray tune.")
@click.option("--home", type=click.Path(path_type=Path), default=Path("degas-runs"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("gpu-training"), show_default=True)
def main(dataset: str, generators: str, steps: int, timed: int, sets: tuple[str, ...], home: Path, out: Path) -> None:
    """Print steps a second of each way, and the scores of a captured training."""
    wide = ["full.width=128", "full.critic_width=128", "full.batch=64", "full.generator_batch=64"]
    config = resolve(sets=[f"dataset={dataset}", *wide, "full.precision=bf16", f"full.steps={steps}", *sets])
    home = home.absolute()
    pack, _ = split(prepare(dataset, home, resolution=config.resolution))
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for what in generators.split(","):
        rows: dict[str, Any] = {}
        for way in WAYS:
            trainer = trainer_for(what, way, config, pack)
            warming = advance(trainer, min(WARMUP, steps))
            count = min(timed, steps - trainer.step)
            rows[way] = {
                "warm_up_seconds": round(warming, 1),
                "steps_a_second": round(count / advance(trainer, count), 2),
                "critic_loss": round(trainer.metrics()["critic_loss"], 4),
            }
        rest = advance(trainer, steps - trainer.step)  # the last way goes on to its end
        kept = trainer.averaged if trainer.averaged is not None else trainer.generator
        scores = judge(kept, config, pack, home, out / f"{what}.png")
        rows["scores"] = {name: round(value, 4) for name, value in scores.items()}
        rows["seconds_of_the_rest"] = round(rest, 1)
        found[what] = rows
    report({"benchmark": "gpu_training", "dataset": dataset, "steps": steps, "generators": found})


if __name__ == "__main__":
    main()
