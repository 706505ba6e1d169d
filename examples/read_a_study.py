"""Read a finished study: its trials, its winner as a picture, and samples of its champion."""

import argparse
from pathlib import Path

import numpy as np

from degas_ray import Genotype, generate, load_generator, load_study
from degas_ray.figures import draw_genotype, save

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("study", help="the study's name, such as digits-1")
parser.add_argument("--home", type=Path, default=Path("degas-runs"), help="where the study is")
parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture and the samples")
options = parser.parse_args()

study = load_study(options.home, options.study)
for row in sorted(study.rows, key=lambda row: row.place):
    distance = f"{row.score:,.1f}" if row.score is not None else "no score"
    print(f"trial {row.number}: {row.outcome}, {distance}, {row.parameters:,} parameters")

winner = Genotype.parse(study.winner)
print(winner.describe())
save(draw_genotype(winner, 16), options.out / "winner.svg")

if study.promotion is not None:
    generator, _facts = load_generator(Path(study.promotion.folder) / "generator.ckpt")
    np.save(options.out / "samples.npy", np.concatenate(list(generate(generator, 64, seed=0))))
