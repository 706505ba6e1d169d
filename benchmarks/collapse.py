"""Which recall and coverage mean that a generator has collapsed? Short trainings, labelled by eye, decide.

``train`` makes 46 generators of the digits with recipes from sound to broken and keeps, below ``--home``, a grid of
each, contact sheets of 12 grids whose names say nothing of the recipe, and ``rows.csv`` with every score. Somebody
looks at the sheets and writes ``labels.csv`` (``name,label``: sound, few shapes or no digits) before reading the
scores; ``join`` makes one table of both, ``experiments/results/collapse.csv`` by default. ``evaluate`` prints how often
thresholds on recall and coverage, relative to real images against real ones, are right.

    python -m benchmarks.collapse train --home /tmp/collapse
    python -m benchmarks.collapse join --home /tmp/collapse
    python -m benchmarks.collapse evaluate
"""

import argparse
import csv
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import stats

from benchmarks.timing import report
from degas_ray.config import ScoresConfig, TrainConfig
from degas_ray.data import Pack, prepare
from degas_ray.gan import build_generator, generate, train
from degas_ray.runs.work import judge, real_floor, sample_grid
from degas_ray.scores import score
from degas_ray.scores.floor import COVERAGE, RECALL
from degas_ray.space import Genotype, Space

TABLE = Path("experiments/results/collapse.csv")
SOUND = "sound"
SHEET, ENLARGED = 12, 2  # grids on a contact sheet, pixels a pixel
PLAIN: Mapping[str, Any] = {"width": 16, "critic_width": 16, "batch": 32, "generator_batch": 32, "critic_steps": 1}


@dataclass(frozen=True)
class Recipe:
    """One way to train, good or bad.

    Args:
        name: In the table.
        what: A generator's name, or ``random-N``: the space's genotype of that seed.
        seeds: How often.
        settings: Laid over :data:`PLAIN`.
    """

    name: str
    what: str
    seeds: int
    settings: Mapping[str, Any] = field(default_factory=dict)


CTGAN: Mapping[str, Any] = {"framework": "ctgan", "generator_batch": 64, "critic_steps": 2}
RECIPES = (
    Recipe("wgan-gp", "resnet", 3, {"framework": "wgan-gp", "steps": 400}),
    Recipe("wgan-gp", "degas-cifar10", 3, {"framework": "wgan-gp", "steps": 350}),
    Recipe("ctgan", "resnet", 3, {**CTGAN, "steps": 240}),
    Recipe("ctgan, latent of 16", "degas-cifar10", 3, {**CTGAN, "steps": 200, "latent_dim": 16}),
    Recipe("sngan", "resnet", 2, {"framework": "sngan", "lr": 5e-4, "critic_lr": 5e-4, "steps": 300}),
    Recipe("wgan-gp, width 32", "resnet", 3, {"framework": "wgan-gp", "steps": 240, "width": 32, "critic_width": 32}),
    Recipe("ctgan, averaged", "degas-cifar10", 2, {**CTGAN, "steps": 200, "ema": 0.98}),
    *(Recipe("wgan-gp", f"random-{seed}", 1, {"framework": "wgan-gp", "steps": 300}) for seed in range(4)),
    Recipe("ctgan, rates 1e-2", "resnet", 3, {**CTGAN, "steps": 100, "lr": 1e-2, "critic_lr": 1e-2}),
    Recipe(
        "wgan-gp, rates 1e-2", "degas-cifar10", 3, {"framework": "wgan-gp", "steps": 150, "lr": 0.01, "critic_lr": 0.01}
    ),
    Recipe("ctgan, 20 steps", "degas-cifar10", 3, {**CTGAN, "steps": 20}),
    Recipe("wgan-gp, latent of 1", "resnet", 3, {"framework": "wgan-gp", "steps": 200, "latent_dim": 1}),
    Recipe("ctgan, generator's rate 1e-2", "resnet", 3, {**CTGAN, "critic_steps": 1, "steps": 150, "lr": 1e-2}),
    Recipe("wgan-gp, no penalty", "resnet", 2, {"framework": "wgan-gp", "steps": 150, "gradient_penalty": 0.0}),
    Recipe("sngan, rates 1e-2", "resnet", 2, {"framework": "sngan", "steps": 150, "lr": 1e-2, "critic_lr": 1e-2}),
    *(
        Recipe("ctgan, rates 1e-2", f"random-{seed}", 1, {**CTGAN, "steps": 80, "lr": 0.01, "critic_lr": 0.01})
        for seed in range(2)
    ),
    Recipe(
        "wgan-gp, critic's rate 1e-2", "degas-cifar10", 2, {"framework": "wgan-gp", "steps": 150, "critic_lr": 1e-2}
    ),
)
SCORES = ("fid", "kid", "precision", "recall", "density", "coverage")


def main() -> None:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "sheets", "join", "evaluate"))
    parser.add_argument("--home", type=Path, default=Path("degas-runs"))
    parser.add_argument("--table", type=Path, default=TABLE)
    args = parser.parse_args()
    folder = args.home / "benchmarks" / "collapse"
    if args.what == "train":
        make_all(args.home, folder)
        contact_sheets(folder)
    elif args.what == "sheets":
        contact_sheets(folder)
    elif args.what == "join":
        write_table(args.table, joined(folder))
    else:
        report(evaluation(read_table(args.table)))


def make_all(home: Path, folder: Path) -> None:
    """Train and score what is not there yet, one row a generator."""
    (folder / "grids").mkdir(parents=True, exist_ok=True)
    pack, file = prepare("digits", home, resolution=16), folder / "rows.csv"
    done = {row["name"] for row in read_table(file)} if file.exists() else set()
    everything = [(recipe, seed) for recipe in RECIPES for seed in range(recipe.seeds)]
    names = [f"g{number:02d}" for number in range(len(everything))]
    random.Random(0).shuffle(names)  # a name says nothing of the recipe
    for (recipe, seed), name in zip(everything, names, strict=True):
        if name not in done:
            write_table(
                file, [*(read_table(file) if file.exists() else []), make(name, recipe, seed, pack, home, folder)]
            )


def make(name: str, recipe: Recipe, seed: int, pack: Pack, home: Path, folder: Path) -> dict[str, Any]:
    """Train one generator, keep its grid and return its scores."""
    config = TrainConfig.model_validate({**PLAIN, "device": "cpu", **recipe.settings})
    number = recipe.what.removeprefix("random-")
    what: str | Genotype = Space().random(int(number)) if number != recipe.what else recipe.what
    generator = build_generator(what, config, pack.resolution, seed=seed)
    began = time.process_time()
    result = train(config, generator, pack, seed=seed)
    seconds = time.process_time() - began
    kept = result.averaged if result.averaged is not None else result.generator
    Image.fromarray(sample_grid(kept, seed)).save(folder / "grids" / f"{name}.png")
    scores = ScoresConfig()
    extractor, reference = judge(scores, pack, home)
    found = score(generate(kept, scores.samples, seed=seed), extractor, reference, seed=seed)
    floor = real_floor(scores, pack, home)
    return {
        "name": name,
        "recipe": recipe.name,
        "generator": recipe.what,
        "seed": seed,
        "steps": config.steps,
        "cpu_seconds": round(seconds, 1),
        "watch": result.outcome,
        "diversity": round(result.history[-1]["diversity"], 4),
        **{key: round(getattr(found, key), 4) for key in SCORES},
        "floor_recall": round(floor.recall, 4),
        "floor_coverage": round(floor.coverage, 4),
        "floor_fid": round(floor.fid, 2),
    }


def contact_sheets(folder: Path) -> None:
    """Put the grids on sheets of :data:`SHEET`, four in a row, by name."""
    files = sorted((folder / "grids").glob("*.png"))
    for start in range(0, len(files), SHEET):
        grids = [np.asarray(Image.open(file).convert("RGB")) for file in files[start : start + SHEET]]
        size = max(grid.shape[0] for grid in grids) + 8
        sheet = np.full((3 * size, 4 * size, 3), 255, np.uint8)
        for index, grid in enumerate(grids):
            row, column = divmod(index, 4)
            sheet[row * size : row * size + len(grid), column * size : column * size + grid.shape[1]] = grid
        whole = Image.fromarray(sheet).resize(
            (sheet.shape[1] * ENLARGED, sheet.shape[0] * ENLARGED), Image.Resampling.NEAREST
        )
        whole.save(folder / f"sheet-{files[start].stem}.png")


def read_table(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a CSV file as text."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def joined(folder: Path) -> list[dict[str, Any]]:
    """Return the scores with the labels that somebody wrote beside them."""
    labels = {row["name"]: row["label"] for row in read_table(folder / "labels.csv")}
    return [{**row, "label": labels[row["name"]]} for row in read_table(folder / "rows.csv")]


def evaluation(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how often thresholds on recall are right, and the critic's diversity, with exact 95 % intervals.

    Args:
        rows: Of the table: a ``label`` of ``sound``, or in what way a generator is none.
    """
    broken = [row for row in rows if row["label"] != SOUND]
    sound = [row for row in rows if row["label"] == SOUND]

    def judged(called: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        return {
            "missed": share([row for row in broken if not called(row)], broken),
            "false alarms": share([row for row in sound if called(row)], sound),
        }

    shares = (0.001, 0.0025, RECALL, 0.01, 0.025, 0.05, 0.1)
    return {
        "generators": len(rows),
        "by the critic's diversity": judged(lambda row: row["watch"] == "collapsed"),
        **{f"recall below {own:g} of the floor's": judged(partial(below, recall=own)) for own in shares},
        "coverage alone": judged(lambda row: below(row, recall=math.inf)),
        "floor": {key: float(rows[0][f"floor_{key}"]) for key in ("fid", "recall", "coverage")},
        "wrong": {row["name"]: f"{row['label']}, {row['recipe']}" for row in rows if below(row) == (row in sound)},
    }


def below(row: Mapping[str, Any], recall: float = RECALL, coverage: float = COVERAGE) -> bool:
    """Return what :func:`degas_ray.scores.floor.is_collapsed` says with these shares."""
    low = float(row["recall"]) < recall * float(row["floor_recall"])
    return low and float(row["coverage"]) < coverage * float(row["floor_coverage"])


def share(some: Sequence[Any], every: Sequence[Any]) -> dict[str, Any]:
    """Return a share of a count with its interval (Clopper and Pearson)."""
    interval = stats.binomtest(len(some), len(every)).proportion_ci(0.95, "exact")
    return {"count": len(some), "of": len(every), "interval": [round(interval.low, 3), round(interval.high, 3)]}


if __name__ == "__main__":
    main()
