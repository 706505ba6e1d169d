"""Does a distance without a network order an experiment's generators as the Fréchet distance does?

Draws samples of every trained generator of an experiment that has been run in this home, and compares their patches
with those of the real images: sliced Wasserstein distances over a Laplacian pyramid (Karras et al., 2018, section 5;
1e3 times the mean over 7x7 patches at 32x32 and 16x16, 16 patches an image instead of 128). Prints both distances of
each group, and Spearman's correlation of the two over generators with its bootstrap interval.

    python -m benchmarks.second_opinion --experiment searched-against-random-photos
"""

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.timing import report
from degas_ray.data import prepare
from degas_ray.experiments import find_experiment, load_experiment
from degas_ray.experiments.rows import Row
from degas_ray.experiments.run import current_rows
from degas_ray.experiments.statistics import rank_agreement, units
from degas_ray.gan import generate, load_generator

SIDE, PATCHES, PROJECTIONS, SMALLEST = 7, 16, 512, 16


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
    pack = prepare(experiment.training(args.training).dataset, args.home)
    chosen = np.random.default_rng(0).permutation(len(pack.images))[: 2 * args.images]
    real, other = np.split(pack.images[chosen], [args.images])
    seen = [replace(row, fid=sliced_distance(samples(row, args.home, args.images), real)) for row in trained]
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


def sliced_distance(made: NDArray[np.uint8], real: NDArray[np.uint8]) -> float:
    """Return the mean over levels of the sliced Wasserstein distance of normalised patches, times 1e3."""
    levels = zip(pyramid(made), pyramid(real), strict=True)
    draw = torch.Generator().manual_seed(0)
    return 1e3 * float(np.mean([sliced(patches(a), patches(b), draw) for a, b in levels]))


def pyramid(images: NDArray[np.uint8]) -> list[Tensor]:
    """Return the bands of a Laplacian pyramid; the last one is what remains at the smallest side."""
    rest = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = torch.outer(line, line).expand(3, 1, 5, 5)
    bands = []
    while rest.shape[-1] > SMALLEST:
        small = F.conv2d(F.pad(rest, (2, 2, 2, 2), "reflect"), kernel, groups=3)[..., ::2, ::2]
        wide = torch.zeros_like(rest)
        wide[..., ::2, ::2] = 4 * small
        bands.append(rest - F.conv2d(F.pad(wide, (2, 2, 2, 2), "reflect"), kernel, groups=3))
        rest = small
    return [*bands, rest]


def patches(images: Tensor) -> Tensor:
    """Return patches at random places ``[N * PATCHES, 3 * SIDE * SIDE]``, each channel of mean 0 and deviation 1."""
    draw = torch.Generator().manual_seed(0)
    windows = images.unfold(2, SIDE, 1).unfold(3, SIDE, 1)  # [N, 3, rows, columns, SIDE, SIDE]
    count, _, rows, columns = windows.shape[:4]
    image = torch.arange(count).repeat_interleave(PATCHES)
    row, column = (torch.randint(most, (len(image),), generator=draw) for most in (rows, columns))
    found = windows[image, :, row, column]
    spread, mean = torch.std_mean(found, dim=(0, 2, 3), keepdim=True)
    return ((found - mean) / spread).flatten(1)


def sliced(a: Tensor, b: Tensor, draw: torch.Generator) -> float:
    """Return the mean Wasserstein distance of rows ``[N, D]`` along random directions."""
    total = 0.0
    for _ in range(PROJECTIONS // 128):  # some at a time: all of them would take gigabytes
        direction = F.normalize(torch.randn(a.shape[1], 128, generator=draw), dim=0)
        total += float(((a @ direction).sort(0).values - (b @ direction).sort(0).values).abs().mean())
    return total / (PROJECTIONS // 128)


if __name__ == "__main__":
    main()
