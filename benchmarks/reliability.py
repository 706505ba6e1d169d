"""How reliable one short training is as a judge of generators: several seeds of each, scored as they go.

Run ``python -m benchmarks.reliability --dataset fashion-mnist --steps 100,150,200``. Reliability is the intraclass
correlation ICC(1) of the log distance: the share of its variance that lies between generators, not between seeds. Each
training is scored at all ``--steps`` on its averaged weights, which a constant rate makes as good as ending there. Each
result is kept below ``--home`` and found again.
"""

import hashlib
import json
import math
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.kept import gather
from benchmarks.timing import report
from degas_ray.config import resolve
from degas_ray.data import Pack, prepare, split
from degas_ray.gan import build_generator, generate
from degas_ray.gan.trainer import Trainer
from degas_ray.scores import load_extractor, reference_statistics, score
from degas_ray.scores.reliability import intraclass_correlation
from degas_ray.space import Space

NAMED = ("resnet", "degas-cifar10", "degas-stl10")


def architecture(name: str) -> Any:
    """Return the generator that a name such as ``resnet`` or ``random-3`` means."""
    kind, _, number = name.partition("random-")
    return name if kind else Space().random(int(number))


def measure(what: str, seed: int, marks: list[int], sets: list[str], pack: Pack, home: Path) -> list[dict[str, Any]]:
    """Train one generator and score it at each of ``marks``."""
    config = resolve(sets=sets)
    train = config.proxy.model_copy(update={"steps": max(marks)})
    trainer = Trainer(train, build_generator(architecture(what), train, pack.resolution, seed=seed), pack, seed)
    extractor = load_extractor(config.scores.extractor, home / "cache", None)
    reference = reference_statistics(pack, extractor, count=config.scores.real, cache=home / "cache")
    rows, spent = [], 0.0
    for mark in sorted(marks):
        began = time.process_time()
        while trainer.step < mark:
            trainer.advance()
        spent += time.process_time() - began
        kept = trainer.averaged if trainer.averaged is not None else trainer.generator
        samples = generate(kept, config.scores.samples, seed=seed)
        found = score(samples, extractor, reference, seed=seed).metrics()
        numbers = {name: round(value, 5) for name, value in found.items()}
        rows.append({"what": what, "seed": seed, "steps": mark, "cpu_seconds": round(spent, 1), **numbers})
    return rows


@click.command()
@click.option("--dataset", default="fashion-mnist", show_default=True)
@click.option("--steps", default="100,200", show_default=True, metavar="A,B", help="Generator steps at which to score.")
@click.option("--randoms", default=9, show_default=True, help="Random genotypes beside the three named generators.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Settings, as for degas-ray tune.")
@click.option("--home", type=click.Path(path_type=Path), default=Path("degas-runs"), show_default=True)
@click.option("--rows", "kept", type=click.Path(path_type=Path), metavar="FILE", help="Write all rows as Parquet.")
def main(
    dataset: str, steps: str, randoms: int, seeds: int, sets: tuple[str, ...], home: Path, kept: Path | None
) -> None:
    """Print the reliability of one seed at each number of steps."""
    torch.set_num_threads(1)
    home, marks = home.absolute(), sorted(int(part) for part in steps.split(","))
    all_sets = [f"dataset={dataset}", *sets]
    pack, _ = split(prepare(dataset, home, resolution=resolve(sets=all_sets).resolution))
    folder = home / "benchmarks" / "reliability"
    names = (*NAMED, *(f"random-{number}" for number in range(randoms)))
    settings = json.dumps([resolve(sets=all_sets).proxy.model_dump(mode="json"), marks, dataset], sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:10]
    parts = gather(
        [(what, seed) for seed in range(seeds) for what in names],
        lambda cell: folder / f"{digest}-{cell[0]}-{cell[1]}.json",
        lambda cell, _: {"rows": measure(*cell, marks, all_sets, pack, home)},
        lambda part: ", ".join(
            f"{row['what']} {row['seed']} {row['steps']}: {row['fid']:,.0f}" for row in part["rows"]
        ),
    )
    rows = [row for part in parts for row in part["rows"]]
    found = []
    for mark in marks:
        own = [row for row in rows if row["steps"] == mark]
        groups = [[math.log(row["fid"]) for row in own if row["what"] == what] for what in names]
        seconds = statistics.fmean(row["cpu_seconds"] for row in own)
        known = intraclass_correlation(groups)
        found.append({"steps": mark, "seconds": seconds, "reliability": None if known is None else asdict(known)})
    if kept is not None:
        pq.write_table(pa.Table.from_pylist(rows), kept)
    report({"benchmark": "reliability", "settings": all_sets, "generators": names, "seeds": seeds, "found": found})


if __name__ == "__main__":
    main()
