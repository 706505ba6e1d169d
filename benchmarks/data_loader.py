"""Images a second into training tensors: a pack and Batches against torchvision's ImageFolder and DataLoader.

Both deliver shuffled float batches [64, 3, R, R] in [-1, 1] of the same images. ImageFolder reads PNG files, as a
folder of images is usually read in PyTorch; DataLoader is given no workers and one a core, and the faster counts.
Packing the same folder is measured too, and beside another checkout where ``--before`` names one: a process of each,
in turns.

    python -m benchmarks.data_loader [--images 5000] [--resolution 32] [--before CHECKOUT]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.timing import alternate, report
from degas_ray.data import Batches, Pack, prepare

BATCH = 64
ROOT = Path(__file__).parents[1]
PACKER = """
import sys, tempfile
from pathlib import Path
from degas_ray.data import prepare
for line in sys.stdin:
    with tempfile.TemporaryDirectory() as home:
        prepare(f"folder:{sys.argv[1]}", Path(home), resolution=int(sys.argv[2]))
    print(flush=True)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="whose packing is measured beside ours")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pack = prepare("photos", folder / "home", resolution=arguments.resolution)
        picked = np.arange(arguments.images) * len(pack) // arguments.images  # from both photographs
        _write_folder(pack, picked, folder / "images")
        ours = prepare(f"folder:{folder / 'images'}", folder / "home", resolution=arguments.resolution)
        trees = {"now": ROOT} | ({"before": arguments.before.absolute()} if arguments.before else {})
        packing = _packing(trees, folder / "images", ours, arguments.rounds)
        report(_measure(ours, folder / "images", arguments.rounds) | packing)


def _measure(pack: Pack, folder: Path, rounds: int) -> dict[str, object]:
    batches = len(pack) // BATCH
    loader = iter(Batches(pack, BATCH, seed=0))
    functions = {"ours": _consume((batch.images for batch in loader), batches)}
    workers = sorted({0, len(os.sched_getaffinity(0))})
    for count in workers:
        functions[f"torchvision_{count}_workers"] = _consume(_torchvision(folder, count), batches)
    medians = alternate(functions, rounds=rounds)
    best = min(seconds for name, seconds in medians.items() if name != "ours")
    return {
        "benchmark": "data_loader",
        "images": len(pack),
        "resolution": pack.resolution,
        "batch": BATCH,
        "rounds": rounds,
        "images_per_second": {name: round(batches * BATCH / seconds) for name, seconds in medians.items()},
        "ratio": round(best / medians["ours"], 1),
    }


def _packing(trees: dict[str, Path], folder: Path, pack: Pack, rounds: int) -> dict[str, object]:
    """Return the images that each tree packs a second, and the ratio of ours to those before."""
    command = [sys.executable, "-c", PACKER, str(folder), str(pack.resolution)]
    with ExitStack() as stack:
        packers = {}
        for name, tree in trees.items():
            environment = {**os.environ, "PYTHONPATH": str(tree)}
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            packers[name] = _packs(stack.enter_context(process))
        rates = {name: len(pack) / seconds for name, seconds in alternate(packers, rounds=rounds).items()}
    found: dict[str, object] = {"packed_a_second": {name: round(rate) for name, rate in rates.items()}}
    return found | ({"packing_ratio": round(rates["now"] / rates["before"], 2)} if "before" in rates else {})


def _packs(process: subprocess.Popen[str]) -> Callable[[], object]:
    """Return a function that has a process pack the folder once more."""
    assert process.stdin is not None
    assert process.stdout is not None
    into, out = process.stdin, process.stdout

    def once() -> None:
        into.write("\n")
        into.flush()
        assert out.readline(), "the process ended"

    return once


def _torchvision(folder: Path, workers: int) -> Iterator[Tensor]:
    """Yield images without end; workers stay alive between epochs."""
    scale = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)])
    loader = DataLoader(
        ImageFolder(str(folder), scale),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return (images for images, _ in chain.from_iterable(repeat(loader)))


def _consume(images: Iterator[Tensor], batches: int) -> Callable[[], object]:
    return lambda: [batch.shape for batch in islice(images, batches)]


def _write_folder(pack: Pack, picked: np.ndarray, folder: Path) -> None:
    assert pack.labels is not None
    for name in pack.classes:
        (folder / name).mkdir(parents=True)
    for number, index in enumerate(picked):
        place = folder / pack.classes[pack.labels[index]] / f"{number:06d}.png"
        Image.fromarray(pack.images[index]).save(place)


if __name__ == "__main__":
    main()
