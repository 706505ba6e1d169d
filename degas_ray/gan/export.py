"""A generator for other programs: TorchScript, ONNX, safetensors, or plain Python; each with a model card."""

import copy
import json
import os
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from degas_ray import checkpoint
from degas_ray.checkpoint import State
from degas_ray.errors import DegasError, InputError
from degas_ray.gan.build import count_sizes
from degas_ray.gan.files import FACTS, KIND, load_generator
from degas_ray.gan.source import python_source
from degas_ray.space import Genotype
from degas_ray.space.operations import UpConv, transposed_kernel

_LOADING = {
    "torchscript": """import torch

generator = torch.jit.load("generator.pt")
images = generator({arguments})""",
    "onnx": """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("generator.onnx")
(images,) = session.run(None, {{{arguments}}})""",
    "safetensors": """from pathlib import Path

from degas_ray.gan import generate, load_generator

generator, facts = load_generator(Path("generator.safetensors"))
images = next(generate(generator, 64, seed=0, bn="running"))  # uint8 [64, {resolution}, {resolution}, 3]""",
    "python": """import torch
from generator import load

generator = load()
images = generator({arguments})""",
}


def model_card(
    generator: nn.Module, facts: Mapping[str, Any], format: str, beside: Mapping[str, Any] | None = None
) -> str:
    """Return the card as Markdown: what the generator is, how it was trained and scored, how to load it.

    Args:
        beside: What lay beside the file, by headline, such as its scores.
    """
    latent_dim, resolution, classes = (facts[name] for name in ("latent_dim", "resolution", "num_classes"))
    name, what = _title(facts), facts["what"]
    parameters, macs = count_sizes(generator)
    sections = {
        "": {
            "Architecture": f"`{what}`",
            "Images": f"{resolution}x{resolution} RGB, values in [-1, 1], channels first",
            "Latents": f"{latent_dim} numbers from N(0, 1)",
            "Classes": f"{classes}, as labels 0 to {classes - 1}" if classes else "none",
            "Width": f"{facts['width']} channels",
            "Parameters": f"{parameters:,}",
            "Multiply-adds an image": f"{macs:,}",
        },
        **{title: _plain(values) for title, values in (beside or {}).items()},
        "Training": _plain(facts.get("config")),
        "What else is known": _plain(facts.get("meta")),
    }
    about, *rest = [
        "\n".join([*([f"## {title}", ""] if title else []), *_table(rows)]) for title, rows in sections.items()
    ]
    loading = _LOADING[format].format(arguments=_arguments(format, latent_dim, classes), resolution=resolution)
    return "\n\n".join(
        [
            f"# {name}",
            "A generator of images, exported by degas-ray.",
            about,
            f"## Loading\n\n```python\n{loading}\n```",
            _STATISTICS,
            *rest,
            "It imitates its training images, with their biases and their rights: see the dataset's own terms.\n",
        ]
    )


_STATISTICS = (
    "Loaded like this, batch normalisation uses the statistics remembered from training, so that an image does not "
    "depend on its neighbours. Scores may have been measured with those of batches of 100 (`bn` in their protocol)."
)


def _title(facts: Mapping[str, Any]) -> str:
    """Return the generator's name; a searched one is called by its genotype, which is too long for a title."""
    name = str(facts.get("name") or facts["what"])
    return f"DEGAS generator {Genotype.parse(name).hash}" if "=" in name else name


def _arguments(format: str, latent_dim: int, classes: int) -> str:
    if format == "onnx":
        z = f'"z": np.random.randn(16, {latent_dim}).astype(np.float32)'
        return z + (f', "labels": np.arange(16) % {classes}' if classes else "")
    z = f"torch.randn(16, {latent_dim})"
    return z + (f", torch.arange(16) % {classes}" if classes else "")


def _table(rows: Mapping[str, Any]) -> list[str]:
    if not rows:
        return ["Nothing was recorded."]
    return ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]


def _plain(values: Any) -> dict[str, Any]:
    """Flatten what a file says; it may say anything."""
    if not isinstance(values, Mapping):
        return {}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": found for inner, found in _plain(value).items()}
        else:
            flat[str(key)] = str(value).replace("|", "\\|").replace("\n", " ")
    return flat


_EXAMPLE = 2  # images of the pass that is traced


def export_generator(source: Path, format: str, folder: Path, beside: Mapping[str, Any] | None = None) -> list[Path]:
    """Write the generator of a file in another format.

    Args:
        format: One of :data:`FORMATS`.
        folder: Where the files go; made if need be.
        beside: What the model card says beyond the file, such as the scores, by headline.

    Returns:
        The files, the one to load first and the model card last.

    Raises:
        InputError: For an unknown format, or one whose packages are not installed.
        CheckpointError: For a source that is no generator file.
        DegasError: Where the folder cannot be written.
    """
    if format not in FORMATS:
        raise InputError(f"format: got {format!r}, expected one of {', '.join(FORMATS)}")
    generator, facts = load_generator(source)
    write, names = FORMATS[format]
    parts = [(folder / name, folder / f".{name}.{os.getpid()}.tmp") for name in (*names, "README.md")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(generator, facts, source, [temporary for _, temporary in parts[:-1]])
        parts[-1][1].write_text(model_card(generator, facts, format, beside), encoding="utf-8")
        for path, temporary in parts:
            os.replace(temporary, path)
    except OSError as error:
        raise DegasError(f"cannot write the export into {folder}: {error.strerror or error}") from None
    finally:
        for _, temporary in parts:
            if folder.is_dir():
                temporary.unlink(missing_ok=True)
    return [path for path, _ in parts]


def plain(generator: nn.Module) -> nn.Module:
    """Return a copy of torch's own layers only: our up-sampling convolutions become the transposed ones they are."""
    module = copy.deepcopy(generator).eval().requires_grad_(False)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, UpConv):
                kernel = transposed_kernel(child.weight, child.stride)
                channels, size, padding = len(kernel), kernel.shape[-1], (child.kernel - 1) // 2
                layer = nn.ConvTranspose2d(channels, channels, size, child.stride, padding, bias=False)
                layer.weight = nn.Parameter(kernel, requires_grad=False)
                setattr(parent, name, layer)
    return module


def _example(generator: nn.Module) -> tuple[torch.Tensor, ...]:
    latent_dim: int = generator.latent_dim  # type: ignore[assignment]
    z = torch.zeros(_EXAMPLE, latent_dim)
    return (z, torch.zeros(_EXAMPLE, dtype=torch.int64)) if generator.num_classes else (z,)


def _torchscript(generator: nn.Module, facts: Mapping[str, Any], _source: Path, files: list[Path]) -> None:
    with warnings.catch_warnings():
        # torch calls TorchScript deprecated, and still is what C++ and mobile programs load.
        warnings.simplefilter("ignore", FutureWarning)
        traced = torch.jit.trace(plain(generator), _example(generator))
        torch.jit.save(traced, str(files[0]), _extra_files={f"{FACTS}.json": json.dumps(facts)})


def _onnx(generator: nn.Module, facts: Mapping[str, Any], _source: Path, files: list[Path]) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError:
        raise InputError("onnx: its packages are not installed; pip install 'degas-ray[onnx]'") from None
    names = ["z", "labels"][: len(_example(generator))]
    batch = [torch.export.Dim("batch"), torch.export.Dim.DYNAMIC]  # the second is found to equal the first
    program = torch.onnx.export(
        plain(generator),
        _example(generator),
        input_names=names,
        output_names=["images"],
        dynamic_shapes=[{0: size} for size in batch[: len(names)]],
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {FACTS: json.dumps(facts)})
    onnx.save(model, str(files[0]))


def _safetensors(generator: nn.Module, facts: Mapping[str, Any], _source: Path, files: list[Path]) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
    save_file(tensors, str(files[0]), metadata={FACTS: json.dumps(facts)})


def _python(generator: nn.Module, facts: Mapping[str, Any], source: Path, files: list[Path]) -> None:
    name = str(facts.get("name") or facts["what"])
    text = python_source(generator, name=name, version=version("degas-ray"), weights="generator.ckpt")
    files[0].write_text(text, encoding="utf-8")
    if source.suffix == ".safetensors":
        state = State(checkpoint.flatten_module(generator, KIND).tensors, facts)
        checkpoint.save(files[1], state, KIND)
    else:
        files[1].write_bytes(source.read_bytes())


Writer = Callable[[nn.Module, Mapping[str, Any], Path, list[Path]], None]
FORMATS: dict[str, tuple[Writer, tuple[str, ...]]] = {
    "torchscript": (_torchscript, ("generator.pt",)),
    "onnx": (_onnx, ("generator.onnx",)),
    "safetensors": (_safetensors, ("generator.safetensors",)),
    "python": (_python, ("generator.py", "generator.ckpt")),
}
