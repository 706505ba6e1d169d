"""From images to a score: search a generator for scanned digits, train it, draw samples and score them."""

import argparse
from pathlib import Path

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
parser.add_argument("--steps", type=int, default=300, help="of the search and of the training")
parser.add_argument("--samples", type=int, default=1000, help="generated images, scored against as many real ones")
options = parser.parse_args()

config = resolve(sets=["dataset=digits", f"search.steps={options.steps}", f"proxy.steps={options.steps}"])
images, _held_out = split(prepare(config.dataset, options.home))

found = search(config.search, images, seed=0)
print(found.genotype)

generator = build_generator(found.genotype, config.proxy, images.resolution, seed=0)
trained = train(config.proxy, generator, images, seed=0)
samples = generate(trained.averaged or trained.generator, options.samples, seed=0)

cache = options.home / "cache"
extractor = load_extractor(config.scores.extractor, cache)
real = reference_statistics(images, extractor, count=options.samples, cache=cache)
print(score(samples, extractor, real).sentence())
