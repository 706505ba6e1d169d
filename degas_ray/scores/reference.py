"""Statistics of the real images: computed once, kept by content, shared by every score."""

import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from degas_ray.errors import DegasWarning, InputError
from degas_ray.files import replacing
from degas_ray.scores.extractors import Extractor, locked
from degas_ray.scores.images import Images, ImageSet, ImageSource, image_set, read_batches
from degas_ray.scores.metrics import Array, Within, moments, square_root, within
from degas_ray.scores.protocol import METHOD

_LAYOUT = 1  # of the file; another one is another fingerprint
_CHOICE_SEED = 0  # which images are taken where not all are: the same for everyone


@dataclass(frozen=True, eq=False)
class Reference:
    """What a score needs to know of the real images.

    Args:
        mean: float64 ``[D]``.
        cov: float64 ``[D, D]``, unbiased.
        root: The symmetric square root of ``cov``.
        features: float32 ``[N, D]``.
        fingerprint: Of the images and of how they were measured.
    """

    mean: Array
    cov: Array
    root: Array
    features: Tensor
    within: Within
    fingerprint: str
    extractor: str
    weights_hash: str
    resizer: str
    precision: str = "float32"

    def __len__(self) -> int:
        return len(self.features)


def reference_statistics(
    source: ImageSource, extractor: Extractor, *, count: int | None = None, cache: Path, batch: int = 100
) -> Reference:
    """Return the statistics of real images, from the cache where they are known.

    Several processes may ask at once: one computes, the others wait and read.

    Args:
        source: The real images: a pack or its path, a folder of image files, or uint8 ``[N, H, W, 3]``.
        count: How many of them, drawn at random but always the same ones; None or more than there are: all.
        cache: The home's cache directory; ``references/`` in it is used.

    Raises:
        InputError: Fewer than 6 images.
        DataError: A source that cannot be read.
    """
    images = image_set(source)
    chosen = _choice(images.count, count)
    fingerprint = _fingerprint(images, extractor, len(chosen))
    path = cache / "references" / f"{fingerprint}.safetensors"
    with locked(path):
        tensors = _read(path) if path.exists() else None
        if tensors is None:
            tensors = _measure(read_batches(images, chosen, batch), extractor)
            with replacing(path) as file:
                file.write(save(tensors))
    return Reference(
        mean=tensors["mean"].numpy(),
        cov=tensors["cov"].numpy(),
        root=tensors["root"].numpy(),
        features=tensors["features"],
        within=Within(float(tensors["kernel"]), tensors["radii"]),
        fingerprint=fingerprint,
        extractor=extractor.name,
        weights_hash=extractor.weights_hash,
        resizer=extractor.resizer,
        precision=extractor.precision,
    )


def random_order(size: int) -> npt.NDArray[np.int64]:
    """Return the positions of images in a random order, the same for everyone; references take the first ones."""
    return np.random.default_rng(_CHOICE_SEED).permutation(size)


def _choice(size: int, count: int | None) -> npt.NDArray[np.int64]:
    if count is None or count >= size:
        return np.arange(size)
    if count < 1:
        raise InputError(f"scores.real: got {count}, expected 6 or more real images")
    return np.sort(random_order(size)[:count])


def _fingerprint(images: ImageSet, extractor: Extractor, count: int) -> str:
    how = [extractor.name, extractor.weights_hash, extractor.resizer]
    how += [extractor.precision] if extractor.precision != "float32" else []  # other fingerprints stay as they were
    parts = [_LAYOUT, METHOD, images.fingerprint(), count, _CHOICE_SEED, *how]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _measure(batches: Iterator[Images], extractor: Extractor) -> dict[str, Tensor]:
    features = torch.cat([extractor(images).features for images in batches])
    pairs = within(features)
    mean, cov = moments(features)
    return {
        "mean": torch.from_numpy(mean),
        "cov": torch.from_numpy(cov),
        "root": torch.from_numpy(square_root(cov)),
        "features": features,
        "kernel": torch.tensor(pairs.kernel, dtype=torch.float64),
        "radii": pairs.radii,
    }


def _read(path: Path) -> dict[str, Tensor] | None:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in ("mean", "cov", "root", "features", "kernel", "radii")}
    except (SafetensorError, OSError) as error:
        warnings.warn(f"{path} is damaged ({error}) and is computed anew", DegasWarning, stacklevel=3)
        return None
