"""Does a distance without a network order an experiment's generators as the Fréchet distance does?

Draws samples of every trained generator of an experiment that has been run in this home, and compares their patches
with those of the held-out images: sliced Wasserstein distances over a Laplacian pyramid, as the second judge of data
sets without labels does. Prints both distances of each group, and Spearman's correlation of the two over generators
with its bootstrap interval.

    python -m benchmarks.second_opinion --experiment searched-against-random-photos
"""

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import report
from degas_ray.data import prepare, split
from degas_ray.experiments import find_experiment, load_experiment
from degas_ray.experiments.rows import Row
from degas_ray.experiments.run import current_rows
from degas_ray.experiments.statistics import rank_agreement, units
from degas_ray.gan import generate, load_generator
from degas_ray.scores.metrics import sliced_distance


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="searched-against-random")
    parser.add_argument("--training", default="proxy")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--home", type=Path, default=Path("degas-runs"))
    args = parser.parse_args()
    experiment = load_experiment(find_experiment(args.experiment, Path("experiments")))
    trained = [row for row in current_rows(experiment) if row.training == args.training and row.fid is not None]
    training, held_out = split(prepare(experiment.training(args.training).dataset, args.home))
    assert held_out is not None, "experiments have more than 50 images"
    draw, count = np.random.default_rng(0), min(args.images, len(held_out))
    real, other = (part.images[draw.permutation(len(part))[:count]] for part in (held_out, training))
    seen = [replace(row, fid=sliced_distance(samples(row, args.home, count), real)) for row in trained]
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for name, rows in (("frechet", trained), ("sliced", seen)):
        for group in dict.fromkeys(row.group for row in rows):
            groups[group][name] = round(median(units([row for row in rows if row.group == group])), 1)
    agreement = rank_agreement(trained, seen)
    assert agreement is not None, "there are enough generators"
    low, high = agreement.low or 0.0, agreement.high or 0.0
    report(
        {"experiment": args.experiment, "training": args.training, "generators": agreement.count}
        | {"spearman": {"value": round(agreement.value, 2), "low": round(low, 2), "high": round(high, 2)}}
        | {"real against real": round(sliced_distance(other, real), 1), "medians": dict(groups)}
    )


def samples(row: Row, home: Path, count: int) -> NDArray[np.uint8]:
    """Return images of a trained generator, ``[N, R, R, 3]``."""
    generator, _ = load_generator(home / row.run / "generator.ckpt")
    return np.concatenate(list(generate(generator, count, seed=0, batch=100)))


if __name__ == "__main__":
    main()
