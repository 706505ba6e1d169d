"""Do trainings in bf16 end where those in float32 do? The ResNet and two genotypes, two seeds, both precisions.

Run ``python -m benchmarks.precision``; each result is kept below ``--home`` and found again, so that the table can be
made in pieces (``--seconds``) and goes on where it stopped. It prints JSON; ``--into docs/training.md`` puts the table
into the text. All are scored in float32, so that only the training differs.
"""

import hashlib
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.kept import gather, insert
from benchmarks.timing import report
from degas_ray.config import Config, ScoresConfig, resolve
from degas_ray.data import Pack, prepare
from degas_ray.gan import build_generator, generate, train
from degas_ray.precision import pace
from degas_ray.scores import load_extractor, reference_statistics, score
from degas_ray.space import Genotype, Space

RANDOM = "random"
GENERATORS = ("resnet", "degas-cifar10", RANDOM)
PRECISIONS = ("float32", "bf16")
NUMBERS = ("distance", "share_real", "recall", "coverage")  # the second is precision; that word is the numbers' here
MARK = "precision"


@dataclass(frozen=True)
class Cell:
    """One training of the table.

    Args:
        dataset: Its real images.
        generator: One of :data:`GENERATORS`.
        precision: What it is trained in.
        seed: Of the weights and every draw.
        sets: Settings besides the dataset's own, as ``full.steps=600``.
    """

    dataset: str
    generator: str
    precision: str
    seed: int
    sets: tuple[str, ...] = ()

    @property
    def config(self) -> Config:
        """Its settings: those of a promotion on this data set."""
        return resolve(sets=[f"dataset={self.dataset}", *self.sets, f"full.precision={self.precision}"])

    @property
    def what(self) -> str | Genotype:
        """What is built."""
        return Space().random(0) if self.generator == RANDOM else self.generator

    def file(self, folder: Path, threads: int) -> Path:
        """Return where its result is kept; other settings have another file."""
        facts = [self.config.full.model_dump(mode="json"), self.config.scores.model_dump(mode="json"), threads]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
        return folder / f"{self.dataset}-{self.generator}-{self.precision}-{self.seed}-{digest}.json"


def all_cells(dataset: str, sets: tuple[str, ...], generators: tuple[str, ...], seeds: int) -> Iterator[Cell]:
    """Yield the cells asked for; both precisions of a training come one after the other."""
    for seed in range(seeds):
        for generator in generators:
            for precision in PRECISIONS:
                yield Cell(dataset, generator, precision, seed, sets)


def measure(cell: Cell, home: Path) -> dict[str, Any]:
    """Train and score one cell."""
    full, scores = cell.config.full, cell.config.scores
    pack = prepare(cell.dataset, home, resolution=cell.config.resolution)
    generator = build_generator(cell.what, full, pack.resolution, seed=cell.seed)
    wall, cpu = time.monotonic(), time.process_time()
    result = train(full, generator, pack, seed=cell.seed)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    kept = result.averaged if result.averaged is not None else result.generator
    found = _scores(kept, scores, pack, home, cell.seed)
    return {**asdict(cell), **found, "outcome": result.outcome, "seconds": round(wall, 1), "cpu_seconds": round(cpu, 1)}


def _scores(generator: torch.nn.Module, config: ScoresConfig, pack: Pack, home: Path, seed: int) -> dict[str, float]:
    extractor = load_extractor(config.extractor, home / "cache", config.weights)
    reference = reference_statistics(pack, extractor, count=config.real, cache=home / "cache")
    images = generate(generator, config.samples, seed=seed, batch=config.batch, bn=config.bn)
    found = score(images, extractor, reference, splits=config.splits, seed=seed)
    values = (found.fid, found.precision, found.recall, found.coverage)
    return {name: round(value, 4) for name, value in zip(NUMBERS, values, strict=True)}


def markdown(rows: list[dict[str, Any]], seeds: int) -> str:
    """Return the table: a line for each generator and seed, float32 beside bf16; then the means."""
    lines = [
        "| generator | seed | distance: float32; bf16 | precision | recall | coverage | CPU seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    pairs = []
    for generator in GENERATORS:
        for seed in range(seeds):
            own = {row["precision"]: row for row in rows if (row["generator"], row["seed"]) == (generator, seed)}
            if len(own) < len(PRECISIONS):
                continue
            pair = [own[name] for name in PRECISIONS]
            pairs.append(pair)
            lines.append(f"| `{generator}` | {seed} | {' | '.join(_beside(pair))} |")
    if pairs:
        means = [
            {key: statistics.fmean(pair[place][key] for pair in pairs) for key in (*NUMBERS, "cpu_seconds")}
            for place in range(len(PRECISIONS))
        ]
        lines.append(f"| mean | | {' | '.join(_beside(means))} |")
    return "\n".join(lines)


def _beside(pair: list[dict[str, Any]]) -> Iterator[str]:
    for key in NUMBERS:
        yield "; ".join(f"{row[key]:,.0f}" if key == "distance" else f"{row[key]:.3f}" for row in pair)
    yield "; ".join(f"{row['cpu_seconds']:,.0f}" for row in pair)


@click.command()
@click.option("--home", type=click.Path(path_type=Path), default=Path("degas-runs"), show_default=True)
@click.option("--dataset", default="digits", show_default=True)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="A setting of the training or its scores.")
@click.option("--generator", "generators", multiple=True, type=click.Choice(GENERATORS), help="Only these.")
@click.option("--seeds", default=2, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--seconds", type=float, help="Begin no further training after so long; run it again to go on.")
@click.option("--into", type=click.Path(path_type=Path), metavar="FILE", help="Replace the table in a Markdown file.")
def main(
    home: Path,
    dataset: str,
    sets: tuple[str, ...],
    generators: tuple[str, ...],
    seeds: int,
    threads: int,
    seconds: float | None,
    into: Path | None,
) -> None:
    """Print distance, precision, recall and coverage of each training, float32 beside bf16."""
    torch.set_num_threads(threads)
    cells = list(all_cells(dataset, sets, generators or GENERATORS, seeds))
    home = home.absolute()
    rows = gather(
        cells,
        lambda cell: cell.file(home / "benchmarks" / "precision", threads),
        lambda cell, _: measure(cell, home),
        lambda row: f"{row['generator']} {row['precision']} {row['seed']}: {row['distance']:,.1f}",
        seconds,
    )
    if into is not None:
        insert(markdown(rows, seeds), into, MARK)
    report(
        {
            "benchmark": "precision",
            "dataset": dataset,
            "settings": sets,
            "convolution": asdict(pace(home / "cache", width=cells[0].config.full.width, threads=threads)),
            "missing": len(cells) - len(rows),
            "rows": rows,
        }
    )


if __name__ == "__main__":
    main()
