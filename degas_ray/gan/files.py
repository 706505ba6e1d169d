"""Generator files: weights and what they belong to, loadable without knowing anything else."""

import json
from collections.abc import Mapping
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
        path: Where, usually ``generator.ckpt``.
        generator: A searched or hand-designed one.
        what: Its name for people, such as ``degas-cifar10``; the genotype itself is taken from the module.
        config: The settings of its training, kept beside it.
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
