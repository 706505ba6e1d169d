"""How the time and the memory of a search step grow with n, width, resolution, batch and the number of images.

Run ``python -m benchmarks.search_scale``. Every row is a real search (both half-steps, optimizers, latents, loader) on
made-up images in a process of its own; time is the median of its steps, memory the growth of the resident set from
just before the first step to its highest point (VmHWM), so the images and the table of latents are not in it.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.search_memory import resident
from benchmarks.timing import report
from degas_ray.config import PruneConfig, SearchConfig
from degas_ray.data import Pack
from degas_ray.search.searcher import Searcher

# What differs from the first row, one thing at a time.
BASE = {"n": 1, "width": 16, "resolution": 32, "batch": 64, "images": 10_000}
ROWS = (
    {},
    {"n": 2},
    {"n": 3},
    {"width": 8},
    {"width": 32},
    {"width": 64},
    {"resolution": 16},
    {"resolution": 48},
    {"batch": 32},
    {"batch": 128},
    {"images": 1_000},
    {"images": 105_000},
    {"images": 200_000},
)


def measure(n: int, width: int, resolution: int, batch: int, images: int, steps: int, threads: int) -> dict[str, float]:
    """Return the median milliseconds and the growth in MiB of a step."""
    torch.set_num_threads(threads)
    pixels = np.random.default_rng(0).integers(0, 256, (images, resolution, resolution, 3), dtype=np.uint8)
    pack = Pack(pixels, None, (), "random", resolution, "random", Path("random"))
    config = SearchConfig(n=n, width=width, batch=batch, latent_dim=128, steps=steps + 1, latent_start="gaussian")
    loop = Searcher(config, pack, seed=0, pruning=PruneConfig())
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest point so far
    before = resident("VmRSS")
    loop.advance()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        loop.advance()
        seconds.append(time.perf_counter() - start)
    return {"ms": 1e3 * float(np.median(seconds)), "mib": resident("VmHWM") - before}


@click.command()
@click.option("--steps", default=15, show_default=True, help="Timed steps of each row.")
@click.option("--threads", default=2, show_default=True)
@click.option("--only", hidden=True, help="One row, as JSON.")
def main(steps: int, threads: int, only: str | None) -> None:
    """Print a table as JSON."""
    if only:
        print(json.dumps(measure(**json.loads(only), steps=steps, threads=threads)))
        return
    table = []
    for change in ROWS:
        row = {**BASE, **change}
        command = [sys.executable, "-m", "benchmarks.search_scale", "--steps", str(steps), "--threads", str(threads)]
        done = subprocess.run([*command, "--only", json.dumps(row)], check=True, capture_output=True, text=True)
        figures = json.loads(done.stdout)
        table.append({**row, "ms": round(figures["ms"], 1), "mib": round(figures["mib"], 1)})
    torch.set_num_threads(threads)
    report({"benchmark": "search_scale", "steps": steps, "rows": table})


if __name__ == "__main__":
    main()
