"""Recipes of each framework at equal CPU time: rates, critic steps, batch, latent, averaging, penalty; two seeds each.

Run ``python -m benchmarks.recipes``. Each recipe trains ``degas-cifar10`` for as many steps as take the CPU time of a
given number of the first recipe's, on one thread; their ratio is measured first, in turns, because a processor with a
busy neighbour is slower. Each result is kept below ``--home`` and found again.
``--into docs/training.md`` puts the tables into the text, ``--rows experiments/results/recipes.parquet`` keeps rows.
"""

import hashlib
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from benchmarks.kept import Row, gather, insert
from benchmarks.timing import report
from degas_ray.config import TrainConfig
from degas_ray.data import Pack, prepare, split
from degas_ray.gan import build_generator, generate, train
from degas_ray.gan.trainer import Trainer
from degas_ray.scores import Scores, load_extractor, reference_statistics, score

GENERATOR = "degas-cifar10"
EXTRACTOR = "efficientnet-lite0"
SAMPLES = 1000
SEEDS = (0, 1)
WARMUP, TIMED = 2, 9  # generator steps of each of two recipes
# Images, their size, and the steps of the first recipe whose CPU time is that of every training.
PLACES: Mapping[str, tuple[str, int, int]] = {"16x16": ("digits", 16, 300), "32x32": ("fashion-mnist", 32, 120)}

_ONE = {"critic_steps": 1, "batch": 64, "generator_batch": 64}
_32, _16 = ({"batch": count, "generator_batch": count} for count in (32, 16))
_CONSTANT = {"decay": "none", "ema": 0.99}
_FAST = {"lr": 2e-3, "critic_lr": 2e-3}
_R3GAN = {"framework": "r3gan", **_ONE, "gamma": 1.0}
_CTGAN = {"framework": "ctgan"}
_WGAN = {"framework": "wgan-gp"}
_SNGAN = {"framework": "sngan"}
_CAGAN = {"framework": "cagan"}
_SLOW = {"lr": 2e-4, "critic_lr": 4e-4}
_HALF = {"lr": 5e-4, "critic_lr": 5e-4}
# What is not named is the class default: width 32, 2 critic steps, 32 real and 64 generated images, rates of 1e-3 that
# fall linearly to 0, latents of 64, no averaging, gradient penalty 10.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "r3gan": _R3GAN,
    "r3gan, gamma 0.1": {**_R3GAN, "gamma": 0.1},
    "r3gan, latent 16": {**_R3GAN, "latent_dim": 16},
    "r3gan, averaged 0.99": {**_R3GAN, "ema": 0.99},
    "r3gan, rates 5e-4": {**_R3GAN, **_HALF},
    "r3gan, 32 images": {**_R3GAN, **_32},
    "r3gan, constant rates, averaged 0.99": {**_R3GAN, **_CONSTANT},
    "r3gan, 32 images, constant rates, averaged 0.99": {**_R3GAN, **_32, **_CONSTANT},
    "r3gan, 32 images, constant rates of 2e-3, averaged 0.99": {**_R3GAN, **_32, **_CONSTANT, **_FAST},
    "r3gan, 16 images, constant rates, averaged 0.99": {**_R3GAN, **_16, **_CONSTANT},
    "r3gan, 32 images, gamma 10": {**_R3GAN, **_32, "gamma": 10.0},
    "r3gan, gamma 1 to 0.1, beta2 to 0.99": {**_R3GAN, "gamma_end": 0.1, "beta2_end": 0.99},
    "r3gan, approximate penalty": {**_R3GAN, "penalty": "approximate"},
    "r3gan, 16 images, constant rates of 2e-3, averaged 0.99": {**_R3GAN, **_16, **_CONSTANT, **_FAST},
    "ctgan": _CTGAN,
    "ctgan, rates 2e-4 and 4e-4": {**_CTGAN, **_SLOW},
    "ctgan, latent 16": {**_CTGAN, "latent_dim": 16},
    "ctgan, 5 critic steps, rates 5e-4": {**_CTGAN, **_HALF, "critic_steps": 5},
    "ctgan, constant rates, averaged 0.99": {**_CTGAN, **_CONSTANT},
    "ctgan, 1 critic step, 32 images, constant rates, averaged 0.99": {**_CTGAN, **_ONE, **_32, **_CONSTANT},
    "ctgan, 2 critic steps, 16 images, constant rates, averaged 0.99": {**_CTGAN, **_16, **_CONSTANT},
    "ctgan, latent 16, rates 2e-4 and 4e-4": {**_CTGAN, **_SLOW, "latent_dim": 16},
    "wgan-gp": _WGAN,
    "wgan-gp, latent 16": {**_WGAN, "latent_dim": 16},
    "wgan-gp, 1 critic step, 32 images, constant rates, averaged 0.99": {**_WGAN, **_ONE, **_32, **_CONSTANT},
    "sngan": _SNGAN,
    "sngan, rates 2e-4 and 4e-4": {**_SNGAN, **_SLOW},
    "sngan, 1 critic step, 32 images, constant rates, averaged 0.99": {**_SNGAN, **_ONE, **_32, **_CONSTANT},
    "cagan": _CAGAN,
    "cagan, latent 16": {**_CAGAN, "latent_dim": 16},
    "cagan, 1 critic step, 32 images, constant rates, averaged 0.99": {**_CAGAN, **_ONE, **_32, **_CONSTANT},
}


@dataclass(frozen=True)
class Cell:
    """One training.

    Args:
        place: A key of :data:`PLACES`.
        recipe: A key of :data:`RECIPES`.
        seed: Seeds the weights and every draw.
    """

    place: str
    recipe: str
    seed: int

    def config(self, steps: int) -> TrainConfig:
        """Return the settings for so many generator steps."""
        return TrainConfig.model_validate({**RECIPES[self.recipe], "steps": steps, "device": "cpu"})

    def file(self, folder: Path) -> Path:
        """Return where the result is kept; other settings have another file."""
        facts = [self.config(1).model_dump(mode="json"), PLACES[self.place], GENERATOR, EXTRACTOR, SAMPLES]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        return folder / f"{self.place}-{self.seed}-{digest}.json"


def steps_for(cell: Cell, pack: Pack, steps: int) -> int:
    """Return how many generator steps take the CPU time of ``steps`` of the first recipe."""
    if cell.recipe == next(iter(RECIPES)):
        return steps
    trainers = []
    for recipe in (next(iter(RECIPES)), cell.recipe):
        config = replace(cell, recipe=recipe).config(1_000_000)
        trainers.append(Trainer(config, build_generator(GENERATOR, config, pack.resolution), pack, 0))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(WARMUP + TIMED):
        for trainer, own in zip(trainers, times, strict=True):
            began = time.process_time()
            trainer.advance()
            own.append(time.process_time() - began)
    base, own_median = (statistics.median(own[WARMUP:]) for own in times)
    return max(1, round(steps * base / own_median))


def scored(generator: nn.Module, pack: Pack, cache: Path, seed: int) -> Scores:
    """Return the scores of samples against as many real images."""
    extractor = load_extractor(EXTRACTOR, cache, None)
    reference = reference_statistics(pack, extractor, count=SAMPLES, cache=cache)
    return score(generate(generator, SAMPLES, seed=seed), extractor, reference, seed=seed)


def measure(cell: Cell, home: Path, before: list[Row]) -> Row:
    """Train and score one cell, for as many steps as another seed of the recipe has had."""
    dataset, resolution, base = PLACES[cell.place]
    pack, _ = split(prepare(dataset, home, resolution=resolution))
    known = [row["steps"] for row in before if (row["place"], row["recipe"]) == (cell.place, cell.recipe)]
    steps = known[0] if known else steps_for(cell, pack, base)
    config = cell.config(steps)
    generator = build_generator(GENERATOR, config, pack.resolution, seed=cell.seed)
    began = time.process_time()
    result = train(config, generator, pack, seed=cell.seed)
    seconds = time.process_time() - began
    kept = result.averaged if result.averaged is not None else result.generator
    found = scored(kept, pack, home / "cache", cell.seed)
    numbers = {name: round(value, 5) for name, value in found.metrics().items()}
    settings = json.dumps(config.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    done = {"steps": steps, "cpu_seconds": round(seconds, 1), "outcome": result.outcome, "settings": settings}
    return {**asdict(cell), "framework": config.framework, "dataset": dataset, **done, **numbers}


def cells_of(places: tuple[str, ...], recipes: tuple[str, ...]) -> Iterator[Cell]:
    """Yield the cells asked for, the seeds of a recipe one after the other."""
    for place in places:
        for recipe in recipes:
            for seed in SEEDS:
                yield Cell(place, recipe, seed)


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return a table a place, the recipes of each framework by their mean distance."""
    parts = []
    for place, (dataset, _, steps) in PLACES.items():
        lines = [
            f"**{dataset}, {place}, in the CPU time of {steps:,} steps of the recipe `r3gan`:**",
            "",
            "| recipe | steps | distance of each seed | mean | precision | recall | coverage | CPU seconds |",
            "|---|---|---|---|---|---|---|---|",
        ]
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            if row["place"] == place:
                groups.setdefault(row["recipe"], []).append(row)
        order = {recipe: (group[0]["framework"], _mean(group, "fid")) for recipe, group in groups.items()}
        for recipe in sorted(groups, key=order.__getitem__):
            group = groups[recipe]
            cells = [
                recipe,
                f"{group[0]['steps']:,}",
                ", ".join(f"{row['fid']:,.0f}" for row in group),
                f"{_mean(group, 'fid'):,.0f}",
                *(f"{_mean(group, name):.3f}" for name in ("precision", "recall", "coverage")),
                f"{_mean(group, 'cpu_seconds'):.0f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    return statistics.fmean(row[name] for row in rows)


@click.command()
@click.option("--home", type=click.Path(path_type=Path), default=Path("degas-runs"), show_default=True)
@click.option("--place", "places", multiple=True, type=click.Choice(list(PLACES)), help="Only these.")
@click.option("--recipe", "recipes", multiple=True, type=click.Choice(list(RECIPES)), help="Only these.")
@click.option("--seconds", type=float, help="Begin no further training after so long; run it again to go on.")
@click.option("--into", type=click.Path(path_type=Path), metavar="FILE", help="Replace the tables in a Markdown file.")
@click.option("--rows", "kept", type=click.Path(path_type=Path), metavar="FILE", help="Write all rows as Parquet.")
def main(
    home: Path,
    places: tuple[str, ...],
    recipes: tuple[str, ...],
    seconds: float | None,
    into: Path | None,
    kept: Path | None,
) -> None:
    """Print what each recipe reaches."""
    torch.set_num_threads(1)
    cells = list(cells_of(places or tuple(PLACES), recipes or tuple(RECIPES)))
    home = home.absolute()
    rows = gather(
        cells,
        lambda cell: cell.file(home / "benchmarks" / "recipes"),
        lambda cell, before: measure(cell, home, before),
        lambda row: f"{row['place']} {row['recipe']} {row['seed']}: {row['steps']} steps, {row['fid']:,.0f}",
        seconds,
    )
    if into is not None:
        insert(markdown(rows), into, "recipes")
    if kept is not None:
        pq.write_table(pa.Table.from_pylist(rows), kept)
    click.echo(markdown(rows), err=True)
    report({"benchmark": "recipes", "generator": GENERATOR, "missing": len(cells) - len(rows), "rows": rows})


if __name__ == "__main__":
    main()
