"""Short real trainings: every framework on two datasets with three seeds, scored before and after.

Run ``python -m benchmarks.frameworks``; each result is kept below ``--home`` and found again, so that the table can be
made in pieces (``--seconds``) and goes on where it stopped. It prints JSON; ``--into docs/training.md`` puts the table
into the text. The start is the untrained generator with the weights from which the training begins.
"""

import hashlib
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

from benchmarks.kept import gather, insert
from benchmarks.timing import report
from degas_ray.config import TrainConfig
from degas_ray.data import Pack, prepare, split
from degas_ray.gan import FRAMEWORKS, build_generator, generate, train
from degas_ray.scores import load_extractor, reference_statistics, score

GENERATOR = "degas-cifar10"
EXTRACTOR = "efficientnet-lite0"
SAMPLES = 1000
FACTOR = 1.25  # by which every training must improve on its start
RESOLUTION = 16  # the digits' own, and what makes clothes cheap enough
SIZES: Mapping[str, Mapping[str, int]] = {
    "digits": {"width": 32, "critic_width": 32, "steps": 150},
    "fashion-mnist": {"width": 32, "critic_width": 32, "steps": 150},
}


@dataclass(frozen=True)
class Cell:
    """One training of the table.

    Args:
        dataset: Its real images.
        framework: What it is trained with.
        seed: Of the weights and every draw.
    """

    dataset: str
    framework: str
    seed: int

    @property
    def config(self) -> TrainConfig:
        """Its settings."""
        return TrainConfig.model_validate({"framework": self.framework, "device": "cpu", **SIZES[self.dataset]})

    def file(self, folder: Path) -> Path:
        """Return where its result is kept; other settings have another file."""
        settings = json.dumps(
            [self.config.model_dump(mode="json"), GENERATOR, RESOLUTION, EXTRACTOR, SAMPLES], sort_keys=True
        )
        digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
        return folder / f"{self.dataset}-{self.framework}-{self.seed}-{digest}.json"


def all_cells(datasets: tuple[str, ...], frameworks: tuple[str, ...], seeds: int) -> Iterator[Cell]:
    """Yield the cells asked for, a seed at a time, so that an unfinished table is even."""
    for seed in range(seeds):
        for dataset in datasets:
            for framework in frameworks:
                yield Cell(dataset, framework, seed)


def distance(generator: nn.Module, pack: Pack, cache: Path, seed: int) -> float:
    """Return the Fréchet distance of samples to as many real images."""
    extractor = load_extractor(EXTRACTOR, cache, None)
    reference = reference_statistics(pack, extractor, count=SAMPLES, cache=cache)
    return score(generate(generator, SAMPLES, seed=seed), extractor, reference, seed=seed).fid


def measure(cell: Cell, home: Path) -> dict[str, Any]:
    """Train and score one cell."""
    pack, _ = split(prepare(cell.dataset, home, resolution=RESOLUTION))
    generator = build_generator(GENERATOR, cell.config, pack.resolution, seed=cell.seed)
    start = distance(generator, pack, home / "cache", cell.seed)
    began = time.process_time()
    result = train(cell.config, generator, pack, seed=cell.seed)
    seconds = time.process_time() - began
    end = distance(result.generator, pack, home / "cache", cell.seed)
    measured = {"start": round(start, 1), "end": round(end, 1), "factor": round(start / end, 2)}
    return {**asdict(cell), **measured, "outcome": result.outcome, "cpu_seconds": round(seconds, 1)}


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table: a line for each dataset and framework, its seeds side by side."""
    lines = [
        "| dataset | framework | seeds | start → end of each | factors | least | mean end | CPU seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for dataset in SIZES:
        for framework in FRAMEWORKS:
            own = [row for row in rows if (row["dataset"], row["framework"]) == (dataset, framework)]
            if not own:
                continue
            factors = [row["factor"] for row in own]
            cells = [
                dataset,
                f"`{framework}`",
                ", ".join(str(row["seed"]) for row in own),
                "; ".join(f"{row['start']:,.0f} → {row['end']:,.0f}" for row in own),
                ", ".join(f"{factor:.2f}" for factor in factors),
                f"{min(factors):.2f}",
                f"{statistics.mean(row['end'] for row in own):,.0f}",
                f"{sum(row['cpu_seconds'] for row in own):,.0f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command()
@click.option("--home", type=click.Path(path_type=Path), default=Path("degas-runs"), show_default=True)
@click.option("--dataset", "datasets", multiple=True, type=click.Choice(list(SIZES)), help="Only these.")
@click.option("--framework", "frameworks", multiple=True, type=click.Choice(list(FRAMEWORKS)), help="Only these.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--seconds", type=float, help="Begin no further training after so long; run it again to go on.")
@click.option("--into", type=click.Path(path_type=Path), metavar="FILE", help="Replace the table in a Markdown file.")
def main(
    home: Path,
    datasets: tuple[str, ...],
    frameworks: tuple[str, ...],
    seeds: int,
    threads: int,
    seconds: float | None,
    into: Path | None,
) -> None:
    """Print each training's distance before and after."""
    torch.set_num_threads(threads)
    cells = list(all_cells(datasets or tuple(SIZES), frameworks or tuple(FRAMEWORKS), seeds))
    home = home.absolute()
    rows = gather(
        cells,
        lambda cell: cell.file(home / "benchmarks" / "frameworks"),
        lambda cell, _: measure(cell, home),
        lambda row: f"{row['dataset']} {row['framework']} {row['seed']}: {row['start']} to {row['end']}",
        seconds,
    )
    if into is not None:
        insert(markdown(rows), into, "frameworks")
    report(
        {
            "benchmark": "frameworks",
            "generator": GENERATOR,
            "resolution": RESOLUTION,
            "sizes": SIZES,
            "score": f"Fréchet distance on {EXTRACTOR} features, {SAMPLES} samples against {SAMPLES} real images",
            "missing": len(cells) - len(rows),
            "least_factor": min((row["factor"] for row in rows), default=None),
            "stated_factor": FACTOR,
            "rows": rows,
        }
    )


if __name__ == "__main__":
    main()
