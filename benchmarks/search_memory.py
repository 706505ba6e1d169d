"""Peak memory of one search step, ours against plain ops, each in a fresh process.

Run ``python -m benchmarks.search_memory``. The figure is the growth of the resident set from just before the first
step to its highest point during two steps, as the kernel accounts it (VmHWM), so it holds everything: activations,
gradients and the libraries' scratch space.
"""

import json
import subprocess
import sys
from pathlib import Path

import click
import torch

from benchmarks.search_step import step
from benchmarks.timing import report
from degas_ray.search import Supernet, accelerate


def resident(field: str) -> float:
    """Return a size of this process in MiB: ``VmRSS`` now, ``VmHWM`` at its highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def measure(mixed: str, width: int, batch: int, resolution: int, n: int, threads: int) -> float:
    """Return the growth in MiB."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    supernet = Supernet(n, width, 128, resolution, mixed="plain" if mixed == "plain" else "merged")
    forward = accelerate(supernet) if mixed == "merged" else supernet
    z, target = torch.randn(batch, 128), torch.rand(batch, 3, resolution, resolution) * 2 - 1
    tiny = step(forward, supernet, z[:2], target[:2])
    tiny()  # libraries load their code and thread pools
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest point so far
    before = resident("VmRSS")
    run = step(forward, supernet, z, target)
    run()
    run()
    return resident("VmHWM") - before


@click.command()
@click.option("--width", default=16, show_default=True)
@click.option("--batch", default=64, show_default=True)
@click.option("--resolution", default=32, show_default=True)
@click.option("-n", "n", default=1, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--only", hidden=True, type=click.Choice(["plain", "merged"]))
def main(width: int, batch: int, resolution: int, n: int, threads: int, only: str | None) -> None:
    """Print both figures and their ratio as JSON."""
    sizes = {"width": width, "batch": batch, "resolution": resolution, "n": n}
    if only:
        print(json.dumps(measure(only, width, batch, resolution, n, threads)))
        return
    command = [sys.executable, "-m", "benchmarks.search_memory", "-n", str(n), "--threads", str(threads)]
    command += ["--width", str(width), "--batch", str(batch), "--resolution", str(resolution)]
    figures = {
        name: json.loads(subprocess.run([*command, "--only", name], check=True, capture_output=True, text=True).stdout)
        for name in ("plain", "merged")
    }
    torch.set_num_threads(threads)
    report(
        {
            "benchmark": "search_memory",
            "sizes": sizes,
            "peak_mib": {name: round(value, 1) for name, value in figures.items()},
            "ours_over_plain": round(figures["merged"] / figures["plain"], 2),
        }
    )


if __name__ == "__main__":
    main()
