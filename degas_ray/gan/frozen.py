"""Generators that were exported to other programs, taken back to be sampled: TorchScript and ONNX.

Both hold a computation, not Python, so opening one runs nothing but it. Their batch normalisation has the statistics of
the training for good.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from degas_ray.errors import CheckpointError, InputError
from degas_ray.gan.files import FACTS, LARGEST, SIZES, load_generator

Compute = Callable[[Tensor, Tensor | None], Tensor]


class Frozen(nn.Module):
    """A generator whose inside is not ours to change.

    Args:
        compute: Maps latents [N, latent_dim] (and labels [N]) to images [N, 3, R, R].
        sizes: ``width``, ``latent_dim``, ``resolution``, ``num_classes``.
        path: The file, for messages.
    """

    def __init__(self, compute: Compute, sizes: dict[str, int], path: Path) -> None:
        super().__init__()
        self._compute, self._path = compute, path
        self.latent_dim, self.resolution = sizes["latent_dim"], sizes["resolution"]
        self.num_classes = sizes["num_classes"]

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents (and labels if conditional) to images.

        Raises:
            CheckpointError: Where what comes out is no batch of images of the size that the file names.
        """
        try:
            images = self._compute(z.cpu(), None if labels is None else labels.cpu())
        except RuntimeError as error:
            raise CheckpointError(f"{self._path} fails on latents of the size that it names: {_first(error)}") from None
        if images.shape != (len(z), 3, self.resolution, self.resolution) or not images.isfinite().all():
            raise CheckpointError(f"{self._path} makes no images of the size that it names; export the generator anew")
        return images


def open_generator(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a generator from any file that training or export wrote.

    Returns:
        The module, and what is known of it, as from :func:`load_generator`.

    Raises:
        CheckpointError: For a file that is damaged or no generator.
        InputError: For ONNX without its packages.
    """
    if path.suffix == ".pt":
        compute, text = _torchscript(path)
    elif path.suffix == ".onnx":
        compute, text = _onnx(path)
    else:
        return load_generator(path)
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        facts = None
    sizes: dict[str, Any] = {name: facts.get(name) for name in SIZES} if isinstance(facts, dict) else {}
    if not sizes or any(type(size) is not int or not 0 <= size <= LARGEST for size in sizes.values()):
        raise CheckpointError(f"{path} was not written by degas-ray export: it does not say which generator it holds")
    return Frozen(compute, sizes, path).eval(), facts


def _torchscript(path: Path) -> tuple[Compute, str]:
    extra = {f"{FACTS}.json": ""}
    try:
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    except (RuntimeError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or no TorchScript file ({_first(error)})") from None

    def compute(z: Tensor, labels: Tensor | None) -> Tensor:
        images: Tensor = module(z) if labels is None else module(z, labels)
        return images

    found: str | bytes = extra[f"{FACTS}.json"]
    return compute, found.decode("utf-8", "replace") if isinstance(found, bytes) else found


def _onnx(path: Path) -> tuple[Compute, str]:
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as faults
    except ImportError:
        raise InputError("onnx: its packages are not installed; pip install 'degas-ray[onnx]'") from None
    # What onnxruntime raises has no common class of its own.
    names = "Fail InvalidArgument InvalidGraph InvalidProtobuf NoSuchFile NotImplemented RuntimeException"
    known: tuple[type[Exception], ...] = tuple(getattr(faults, name) for name in names.split())
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except known as error:
        raise CheckpointError(f"{path} is damaged or no ONNX file ({_first(error)})") from None

    failing: tuple[type[Exception], ...] = (*known, ValueError)

    def compute(z: Tensor, labels: Tensor | None) -> Tensor:
        given = {"z": z.numpy()} | ({} if labels is None else {"labels": labels.numpy()})
        try:
            (images,) = session.run(None, given)
        except failing as error:
            raise RuntimeError(str(error)) from None
        return torch.from_numpy(images)

    return compute, session.get_modelmeta().custom_metadata_map.get(FACTS, "null")


def _first(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
