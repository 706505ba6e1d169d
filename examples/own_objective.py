"""A study with an objective of one's own: Optuna proposes the search's settings, coverage decides."""

import argparse
from pathlib import Path

import optuna

from degas_ray import (
    build_generator,
    generate,
    load_extractor,
    prepare,
    reference_statistics,
    resolve,
    score,
    split,
    train,
)
from degas_ray.search import search

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--home", type=Path, default=Path("degas-runs"), help="where packs and caches are kept")
parser.add_argument("--trials", type=int, default=8)
parser.add_argument("--steps", type=int, default=300, help="of each search and each training")
parser.add_argument("--samples", type=int, default=1000, help="generated images, scored against as many real ones")
options = parser.parse_args()

images, _held_out = split(prepare("digits", options.home))
extractor = load_extractor("efficientnet-lite0", options.home / "cache")
real = reference_statistics(images, extractor, count=options.samples, cache=options.home / "cache")


def coverage(trial: optuna.Trial) -> float:
    """Return the share of real images that have a generated one near by; larger is better."""
    config = resolve(
        sets=[f"search.steps={options.steps}", f"proxy.steps={options.steps}"],
        overrides={
            "search.lr": trial.suggest_float("search.lr", 0.01, 1.0, log=True),
            "search.entropy_penalty": trial.suggest_float("search.entropy_penalty", 0.0, 1.0),
        },
    )
    found = search(config.search, images, seed=trial.number)
    trial.set_user_attr("genotype", str(found.genotype))
    generator = build_generator(found.genotype, config.proxy, images.resolution, seed=0)
    trained = train(config.proxy, generator, images, seed=0)
    samples = generate(trained.averaged or trained.generator, options.samples, seed=0)
    return score(samples, extractor, real).coverage


study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
study.optimize(coverage, n_trials=options.trials)
print(f"coverage {study.best_value:.2f} with {study.best_params}")
print(study.best_trial.user_attrs["genotype"])
