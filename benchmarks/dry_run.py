"""What ``tune --dry-run`` says a study takes, against what the same study then takes, phase by phase.

Run ``python -m benchmarks.dry_run``; ``--busy 1`` keeps as many other processes computing during both. Both are real
command lines in processes of their own. A phase's seconds are those of its steps, scaled to its whole length, as the
run's records tell them; what a study does between its phases (workers that start, pictures, MLflow) is in the total.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from benchmarks.timing import report
from degas_ray.cores import sleep_while_waiting

PHASES = ("search", "proxy", "score", "full")
NAME = "dry-run"
CLI = (sys.executable, "-m", "degas_ray.cli.main")
SPIN = (sys.executable, "-c", "while True: pass")


def tune(home: Path, *options: str) -> dict[str, Any]:
    """Return what ``degas-ray tune --json`` prints."""
    command = [*CLI, "tune", "--home", str(home), "--quiet", "--json", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def spent(folder: Path) -> dict[str, float]:
    """Return the seconds of each phase of one trial, re-ranking or promotion, from the times in its records."""
    file = folder / "stats.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    seconds: dict[str, float] = {}
    for phase in ("search", "proxy", "full"):
        loop = [row for row in rows if any(key.startswith(f"{phase}/") for key in row) and f"{phase}/fid" not in row]
        loop = [row for row in loop if row["step"]]  # sizes are recorded as step 0
        if len(loop) > 1:
            first, last = loop[0], loop[-1]
            seconds[phase] = (last["time"] - first["time"]) / (last["step"] - first["step"]) * last["step"]
        scored = [row["time"] for row in rows if f"{phase}/fid" in row]
        if scored and loop:
            seconds["score"] = scored[0] - loop[-1]["time"]
    return seconds


def measured(study: Path) -> dict[str, float]:
    """Return the mean seconds of each phase over all that a study ran."""
    found = [spent(file.parent) for file in study.rglob("stats.jsonl")]
    return {
        phase: statistics.fmean(seconds[phase] for seconds in found if phase in seconds)
        for phase in PHASES
        if any(phase in seconds for seconds in found)
    }


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep so many other processes computing."""
    others = [subprocess.Popen(SPIN) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@click.command()
@click.option("--busy", "others", default=0, show_default=True, help="Other processes that compute meanwhile.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="A setting of the study; digits by default.")
def main(others: int, sets: tuple[str, ...]) -> None:
    """Print seconds as the dry run says and as the study took, and their ratio, as JSON."""
    sleep_while_waiting()
    options = [part for text in sets for part in ("--set", text)]
    with tempfile.TemporaryDirectory() as folder, busy(others):
        load, home = os.getloadavg()[0], Path(folder) / "home"
        plan = tune(home, *options, "--dry-run")
        began = time.monotonic()
        tune(home, *options, "--name", NAME)
        real = measured(home / "studies" / NAME) | {"total": time.monotonic() - began}
    said = {**plan["seconds"], "total": plan["total_seconds"]}
    report(
        {
            "benchmark": "dry_run",
            "settings": sets,
            "other_processes": others,
            "load_before": round(load, 2),
            "phases": {
                phase: {
                    "said": round(said[phase], 1),
                    "took": round(took, 1),
                    "said_by_took": round(said[phase] / took, 2),
                }
                for phase, took in real.items()
            },
        }
    )


if __name__ == "__main__":
    main()
