"""Generator files: what training writes, and what was exported to other programs; loadable without anything else."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from degas_ray import checkpoint
from degas_ray.checkpoint import State
from degas_ray.config import TrainConfig
from degas_ray.errors import CheckpointError, InputError
from degas_ray.gan.build import assemble, name_of
from degas_ray.gan.handmade import HANDMADE
from degas_ray.space import Genotype

KIND = "generator"
FACTS = "degas_ray"  # the key under which exported files keep what a generator is
LARGEST = 2**16  # no real size; products of larger ones overflow
SIZES = ("width", "latent_dim", "resolution", "num_classes")


def save_generator(
    path: Path, generator: nn.Module, what: str, config: TrainConfig, meta: Mapping[str, Any] | None = None
) -> None:
    """Write a generator file.

    Args:
        what: Its name for people, such as ``degas-cifar10``; the genotype itself is taken from the module.
        meta: JSON-able facts to keep too, such as scores.

    Raises:
        DegasError: Where it cannot be written.
    """
    facts = {
        "what": name_of(generator),
        "name": what,
        **{name: int(getattr(generator, name)) for name in SIZES},
        "config": config.model_dump(mode="json"),
        "meta": dict(meta or {}),
    }
    checkpoint.save(path, State(checkpoint.flatten_module(generator, KIND).tensors, facts), KIND)


def load_generator(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a generator file: one that training wrote, or an exported ``.safetensors``.

    Returns:
        The module in evaluation mode on the CPU, and what :func:`save_generator` kept: ``what`` (a genotype, ``resnet``
        or ``dcgan``), ``name``, ``width``, ``latent_dim``, ``resolution``, ``num_classes``, ``config`` and ``meta``.

    Raises:
        CheckpointError: For a file that is damaged, not a generator, or whose weights are not its genotype's.
    """
    state = _read_safetensors(path) if path.suffix == ".safetensors" else checkpoint.load(path, KIND)
    facts = dict(state.meta)
    what, sizes = facts.get("what"), {name: facts.get(name) for name in SIZES}
    if not isinstance(what, str) or any(type(size) is not int or not 0 <= size <= LARGEST for size in sizes.values()):
        raise CheckpointError(f"{path} does not say which generator it holds; train one with degas-ray train")
    try:
        # Without memory: sizes that the weights do not bear out must not be allocated. And a text from a file is a
        # genotype or nothing: it must not lead to another file.
        with torch.device("meta"):
            generator = assemble(what if what in HANDMADE else Genotype.parse(what), **sizes)  # type: ignore[arg-type]
        weights = checkpoint.fitting(generator, state, KIND)
    except InputError as error:
        raise CheckpointError(f"{path} holds no generator that can be rebuilt: {error}") from None
    if any(tensor.is_floating_point() and not tensor.isfinite().all() for tensor in weights.values()):
        raise CheckpointError(f"{path} holds weights that are not finite; use an earlier one")
    generator.load_state_dict(weights, assign=True)
    return generator.eval(), facts


def _read_safetensors(path: Path) -> State:
    try:
        with safe_open(path, framework="pt") as file:
            tensors: dict[str, Tensor] = {f"{KIND}/{name}": file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads((file.metadata() or {}).get(FACTS, "null"))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is truncated, damaged or no safetensors file ({error})") from None
    if not isinstance(facts, dict):
        raise CheckpointError(f"{path} was not written by degas-ray export: it does not say which generator it holds")
    return State(tensors, facts)


Compute = Callable[[Tensor, Tensor | None], Tensor]


class Frozen(nn.Module):
    """A generator whose inside is not ours to change.

    Args:
        compute: Maps latents [N, latent_dim] (and labels [N]) to images [N, 3, R, R].
        sizes: ``width``, ``latent_dim``, ``resolution``, ``num_classes``.
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
