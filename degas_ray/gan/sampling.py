"""Samples: images from a generator in constant memory, with batch statistics that leave the generator as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from degas_ray.errors import InputError


def generate(
    generator: nn.Module,
    count: int,
    *,
    seed: int,
    batch: int = 100,
    bn: Literal["batch", "running"] = "batch",
    labels: npt.ArrayLike | None = None,
    device: torch.device | str | None = None,
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield ``count`` images, a batch at a time.

    The latents come from ``seed`` alone, whatever the device. Every forward pass has ``batch`` images, the last one too
    (the surplus is thrown away), so that batch statistics always see as many.

    Args:
        generator: From :func:`build_generator`, :func:`train` or :func:`load_generator`; not changed.
        seed: Of latents, and of labels where none are given.
        batch: Images a pass (CT-GAN samples with 100).
        bn: Normalise with the ``batch``'s own statistics, as CT-GAN's code does, or with the ``running`` ones.
        labels: For a conditional generator: [count] classes; drawn uniformly by default.
        device: Where to run; where the generator is by default.

    Returns:
        An iterator of uint8 arrays [B, R, R, 3], B at most ``batch``.

    Raises:
        InputError: For labels that do not fit.
    """
    if count < 1 or batch < 1:
        raise InputError(f"samples: got {count} in batches of {batch}, expected 1 or more of each")
    asked = _labels(generator, count, labels)
    return _generate(generator, count, seed, batch, bn, asked, device)


def _generate(
    generator: nn.Module,
    count: int,
    seed: int,
    batch: int,
    bn: Literal["batch", "running"],
    asked: Tensor | None,
    device: torch.device | str | None,
) -> Iterator[npt.NDArray[np.uint8]]:
    own_place = next((parameter.device for parameter in generator.parameters()), torch.device("cpu"))
    place = own_place if device is None else torch.device(device)
    latent_dim: int = generator.latent_dim  # type: ignore[assignment]
    classes: int = generator.num_classes  # type: ignore[assignment]
    noise = torch.Generator().manual_seed(seed)
    for start in range(0, count, batch):
        z = torch.randn((batch, latent_dim), generator=noise)
        classed = None
        if classes:
            classed = torch.randint(classes, (batch,), generator=noise)
            if asked is not None:
                own = asked[start : start + batch]
                classed[: len(own)] = own
        # The mode is set for one pass only: between two batches the generator is the caller's.
        with torch.no_grad(), statistics(generator.to(place), bn):
            images = generator(z.to(place), None if classed is None else classed.to(place))
        yield to_uint8(images[: min(batch, count - start)])


def to_uint8(images: Tensor) -> npt.NDArray[np.uint8]:
    """Bring images [N, 3, R, R] in [-1, 1] to uint8 [N, R, R, 3], as CT-GAN's code does: 256 equal bins."""
    scaled = ((images.float() + 1) * (255.99 / 2)).clamp(0, 255).to(torch.uint8)
    array: npt.NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array


@contextmanager
def statistics(module: nn.Module, bn: Literal["batch", "running"]) -> Iterator[None]:
    """Run ``module`` with the batch's or the running statistics, and leave modes and buffers as they were."""
    modes = {m: m.training for m in module.modules()}
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    module.eval()
    if bn == "batch":
        for norm in norms:
            norm.training, norm.track_running_stats = True, False  # statistics of the batch, nothing remembered
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        for m, training in modes.items():
            m.training = training


def _labels(generator: nn.Module, count: int, labels: npt.ArrayLike | None) -> Tensor | None:
    if labels is None:
        return None
    classes: int = generator.num_classes  # type: ignore[assignment]
    if not classes:
        raise InputError("labels were given, but this generator is not conditional; train one with --supervised")
    array = np.asarray(labels)
    if array.shape != (count,) or array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= classes:
        got = f"an array of shape {array.shape}: {np.array2string(array, threshold=5)[:60]}"
        raise InputError(f"labels: expected {count} whole numbers from 0 to {classes - 1}, got {got}")
    return torch.from_numpy(array.astype(np.int64))
