"""How often the main job ends in a collapsed champion: the same study with other seeds, each through the CLI.

Run ``python -m benchmarks.champions --studies 20 --rows FILE``. The row of each study stays below ``--home`` and is
found again, so the table can be made in several runs. Seeds begin at 1, since the main job has 0.
"""

import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

import click
import pandas as pd

from benchmarks.kept import Row, gather
from benchmarks.timing import processor, report
from degas_ray.report.result import load_study
from degas_ray.scores import Scores


def measure(seed: int, _: list[Row], dataset: str, home: Path) -> Row:
    """Run the study of one seed and read what its champion is worth."""
    name = f"champion-{seed}"
    command = (sys.executable, "-m", "degas_ray", "tune", "--dataset", dataset, "--quiet")
    subprocess.run([*command, "--seed", str(seed), "--name", name, "--home", str(home)], check=True)
    found = load_study(home, name)
    champion = found.promotion
    if champion is None:
        raise click.ClickException(f"{name} has promoted nothing")
    scores = Scores.from_json(champion.scores).recorded()
    return {
        "seed": seed, "dataset": dataset, "processor": processor(),
        "collapsed_champion": not found.crowned, "refused": len(found.collapsed), "genotype": champion.genotype,
        **{key: scores[key] for key in ("fid", "recall", "coverage")},
        "recognised": scores.get("second_recognised"), "seconds": found.seconds, "verdict": found.verdict[0],
    }  # fmt: skip


@click.command()
@click.option("--dataset", default="digits", show_default=True)
@click.option("--studies", default=20, show_default=True)
@click.option("--hours", type=float, help="Begin no study after so long.")
@click.option("--home", type=click.Path(path_type=Path), default=Path("degas-runs"), show_default=True)
@click.option("--rows", "kept", type=click.Path(path_type=Path), metavar="FILE", help="Write all rows as CSV.")
def main(dataset: str, studies: int, hours: float | None, home: Path, kept: Path | None) -> None:
    """Print how many studies end in a collapsed champion, and the medians of the champions' scores."""
    home = home.absolute()
    folder = home / "benchmarks" / "champions"
    rows = gather(
        range(1, studies + 1),
        lambda seed: folder / f"{dataset}-{seed}.json",
        partial(measure, dataset=dataset, home=home),
        lambda row: f"seed {row['seed']}: {row['verdict']}",
        hours * 3600 if hours is not None else None,
    )
    if not rows:
        raise click.UsageError(f"--studies: got {studies}, expected at least 1, and time for it")
    if kept is not None:
        pd.DataFrame(rows).to_csv(kept, index=False, lineterminator="\n")
    medians = {
        key: statistics.median(row[key] for row in rows if row[key] is not None)
        for key in ("fid", "recall", "coverage", "recognised", "seconds")
    }
    report(
        {
            "studies": len(rows),
            "collapsed champions": sum(row["collapsed_champion"] for row in rows),
            "studies that refused a collapsed candidate": sum(row["refused"] > 0 for row in rows),
            "medians": medians,
            "worst": {"fid": max(row["fid"] for row in rows), "recall": min(row["recall"] for row in rows)},
        }
    )


if __name__ == "__main__":
    main()
