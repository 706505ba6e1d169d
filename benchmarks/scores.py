"""Scores of 10,000 images against 10,000 real ones, both folders of PNG files: ours against clean-fid.

All judge by EfficientNet-lite0 at 64x64 with the same weights, and resize in the same way:

- ``clean_fid``: ``cleanfid.fid.compute_fid`` with the network as its package builds it, without workers and with one a
  core; the faster counts;
- ``clean_fid_our_network``: the same with this project's folded network, so that only the rest differs;
- ``ours_first``: ``degas_ray.scores`` with an empty cache, so the real images are measured too;
- ``ours``: the same once the real images are known, as they are in a study from its second score on.

clean-fid computes the Fréchet distance; ours computes it and KID, IS, precision, recall, density and coverage.

    python -m benchmarks.scores [--images 10000] [--rounds 5]
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cleanfid.fid import compute_fid
from cleanfid.resize import make_resizer
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

from benchmarks.timing import alternate, report
from degas_ray.scores import Extractor, image_batches, load_extractor, reference_statistics, score
from degas_ray.scores.networks import efficientnet_lite0_path

SIZE = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _write_folder(folder / "real", arguments.images, 0)
        _write_folder(folder / "fake", arguments.images, 1)
        report({"benchmark": "scores", "images": arguments.images, **_measure(folder, arguments.rounds)})


def _measure(folder: Path, rounds: int) -> dict[str, object]:
    extractor = load_extractor("efficientnet-lite0", folder / "cache")
    packaged, workers = _Packaged(), len(os.sched_getaffinity(0))
    distances: dict[str, float] = {}
    ways = {
        "clean_fid": partial(_clean_fid, folder, packaged, 0),
        "clean_fid_workers": partial(_clean_fid, folder, packaged, workers),
        "clean_fid_our_network": partial(_clean_fid, folder, lambda resized: extractor._run(resized)[0], 0),
        "ours_first": partial(_ours, folder, extractor, forget=True),
        "ours": partial(_ours, folder, extractor, forget=False),
    }

    def noting(name: str, way: Callable[[], float]) -> Callable[[], object]:
        return lambda: distances.update({name: way()})

    seconds = alternate({name: noting(name, way) for name, way in ways.items()}, rounds=rounds, warmup=0)
    best = min(seconds["clean_fid"], seconds["clean_fid_workers"])
    same = seconds["clean_fid_our_network"]
    return {
        "rounds": rounds,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "distances": distances,
        "largest_difference": max(distances.values()) - min(distances.values()),
        "ratio": round(best / seconds["ours"], 2),
        "ratio_first": round(best / seconds["ours_first"], 2),
        "ratio_same_network": round(same / seconds["ours"], 2),
        "ratio_same_network_first": round(same / seconds["ours_first"], 2),
    }


class _Packaged(torch.nn.Module):
    """EfficientNet-lite0 as its package runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = EfficientNet.from_name("efficientnet-lite0", image_size=SIZE)
        self.net.load_state_dict(torch.load(efficientnet_lite0_path(), weights_only=True))
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net.extract_features((images - 127) / 128).mean((2, 3))


def _clean_fid(folder: Path, network: Callable[[torch.Tensor], torch.Tensor], workers: int) -> float:
    return float(
        compute_fid(
            str(folder / "fake"),
            str(folder / "real"),
            custom_feat_extractor=network,
            custom_fn_resize=make_resizer("PIL", False, "bicubic", (SIZE, SIZE)),
            device="cpu",
            num_workers=workers,
            verbose=False,
        )
    )


def _ours(folder: Path, extractor: Extractor, *, forget: bool) -> float:
    if forget:
        shutil.rmtree(folder / "cache", ignore_errors=True)
    reference = reference_statistics(folder / "real", extractor, cache=folder / "cache")
    return score(image_batches(folder / "fake"), extractor, reference).fid


def _write_folder(folder: Path, count: int, seed: int) -> None:
    """Write PNG files of 32x32 pixels: random colours, smooth and with a little noise, as photographs are."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for index in range(count):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC), dtype=np.float32)
        noisy = (image + rng.normal(0, 4 + 4 * seed, image.shape)).clip(0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{index:05}.png")


if __name__ == "__main__":
    main()
