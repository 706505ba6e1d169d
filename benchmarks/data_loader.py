"""Images a second into training tensors: a pack and Batches against torchvision's ImageFolder and DataLoader.

Both deliver shuffled float batches [64, 3, R, R] in [-1, 1] of the same images. ImageFolder reads PNG files, as a
folder of images is usually read in PyTorch; DataLoader is given no workers and one a core, and the faster counts.

    python -m benchmarks.data_loader [--images 5000] [--resolution 32]
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pack = prepare("photos", folder / "home", resolution=arguments.resolution)
        picked = np.arange(arguments.images) * len(pack) // arguments.images  # from both photographs
        _write_folder(pack, picked, folder / "images")
        ours = prepare(f"folder:{folder / 'images'}", folder / "home", resolution=arguments.resolution)
        report(_measure(ours, folder / "images", arguments.rounds))


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
