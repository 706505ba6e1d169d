"""What predicts a proxy training's score: how well a network rebuilds images, what it makes so, or a shorter training?

Rebuilds each generator of an experiment alone, from fixed latents (the loss of the mixed search, but no mixture), and
prints Spearman's correlation of both signals with the experiment's distances, with bootstrap intervals. With
``--tries``, trains each for so many steps instead, as the search by single networks tries one.

    python -m benchmarks.search_signals
    python -m benchmarks.search_signals --experiment searched-against-random-photos --steps 100
    python -m benchmarks.search_signals --groups random random-any-size --tries 75 300
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.timing import report
from degas_ray.config import Config, TrainConfig
from degas_ray.data import Batches, Pack, prepare, split
from degas_ray.experiments import find_experiment, load_experiment
from degas_ray.experiments.run import current_rows
from degas_ray.experiments.statistics import Estimate, rank_agreement
from degas_ray.gan import build_generator
from degas_ray.gan.sampling import to_uint8
from degas_ray.runs.work import make_try
from degas_ray.scores import extract, kernel_distance, load_extractor, reference_statistics
from degas_ray.search.glo import project, reconstruction_loss, start_latents

IMAGES, SAMPLES, LR, SHARE = 8192, 1000, 3e-3, 0.5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="searched-against-random")
    parser.add_argument("--training", default="proxy")
    parser.add_argument("--groups", nargs="+", default=["random", "resnet", "published"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--tries", type=int, nargs="+", default=[], metavar="STEPS")
    parser.add_argument("--home", type=Path, default=Path("degas-runs"))
    args = parser.parse_args()
    experiment = load_experiment(find_experiment(args.experiment, Path("experiments")))
    judged = [
        row
        for row in current_rows(experiment)
        if row.training == args.training and row.group in args.groups and row.fid is not None
    ]
    pack, _ = split(prepare(experiment.config.dataset, args.home))
    genotypes = list(dict.fromkeys(row.genotype for row in judged))
    if args.tries:
        signals = {
            f"tried for {steps} steps": tried(genotypes, experiment.config, pack, args.home, steps)
            for steps in args.tries
        }
    else:
        width = experiment.training(args.training).full.width
        rebuilt = {genotype: rebuild(genotype, pack, args.home, width, args.steps) for genotype in genotypes}
        signals = {
            "reconstruction loss": {genotype: loss for genotype, (loss, _) in rebuilt.items()},
            "distance of samples": {genotype: distance for genotype, (_, distance) in rebuilt.items()},
        }
    found = {}
    for name, values in signals.items():
        measured = [replace(row, fid=values[row.genotype]) for row in judged]
        found[name] = spearman(rank_agreement(judged, measured))
    facts = {"experiment": args.experiment, "training": args.training, "spearman": found, "generators": len(genotypes)}
    report(facts if args.tries else {**facts, "steps": args.steps})


def spearman(found: Estimate | None) -> dict[str, float | None]:
    """Return a correlation with its interval."""
    assert found is not None, "there are enough generators"
    return {"value": round(found.value, 2), "low": round(found.low or 0.0, 2), "high": round(found.high or 0.0, 2)}


def tried(genotypes: Sequence[str], config: Config, pack: Pack, home: Path, steps: int) -> dict[str, float]:
    """Return how far each generator is from the real images after ``steps`` steps."""
    brief = config.search.model_copy(update={"try_steps": steps})
    attempt = make_try(config.model_copy(update={"search": brief}), pack, home)
    return {genotype: attempt(genotype, 0) for genotype in genotypes}


def rebuild(genotype: str, pack: Pack, home: Path, width: int, steps: int) -> tuple[float, float]:
    """Return the reconstruction loss at the end, and the kernel distance of samples from new latents."""
    config = TrainConfig(width=width, latent_dim=128)
    generator = build_generator(genotype, config, pack.resolution).train()
    latents = start_latents(pack.images[:IMAGES], config.latent_dim, "pca", 0)
    batches, weights = Batches(pack.images[:IMAGES], 32, 0), list(generator.parameters())
    adam, losses = torch.optim.Adam(weights, LR), []
    for step in range(steps):
        adam.param_groups[0]["lr"] = LR * (1 - step / steps)
        batch = batches.next()
        loss = reconstruction_loss(generator(latents[batch.indices]), batch.images, SHARE).mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    extractor = load_extractor("efficientnet-lite0", home / "cache")
    reference = reference_statistics(pack, extractor, count=2000, cache=home / "cache")
    images = [to_uint8(made) for made in samples(generator, latents)]
    return sum(losses[-30:]) / 30, kernel_distance(extract(images, extractor).features, reference.features)


def samples(generator: nn.Module, latents: Tensor) -> list[Tensor]:
    """Return images from latents drawn from the Gaussian that fits those of the images (GLO's way)."""
    draw = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(torch.cov(latents.T.double()) + 1e-6 * torch.eye(latents.shape[1])).float()
    with torch.no_grad():
        return [
            generator(project(latents.mean(0) + torch.randn(100, latents.shape[1], generator=draw) @ root.T))
            for _ in range(SAMPLES // 100)
        ]


if __name__ == "__main__":
    main()
