"""The model card that goes with an exported generator."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from degas_ray.gan.sizes import count_sizes
from degas_ray.space import Genotype

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
        generator: The exported one.
        facts: What its file says.
        format: Of the export.
        beside: What lay beside the file, by headline, such as its scores.
    """
    latent_dim, resolution, classes = (facts[name] for name in ("latent_dim", "resolution", "num_classes"))
    name, what = _title(facts), facts["what"]
    parameters, macs = count_sizes(generator)
    rows = {
        "Architecture": f"`{what}`",
        "Images": f"{resolution}x{resolution} RGB, values in [-1, 1], channels first",
        "Latents": f"{latent_dim} numbers from N(0, 1)",
        "Classes": f"{classes}, as labels 0 to {classes - 1}" if classes else "none",
        "Width": f"{facts['width']} channels",
        "Parameters": f"{parameters:,}",
        "Multiply-adds an image": f"{macs:,}",
    }
    return "\n".join(
        [
            f"# {name}",
            "",
            "A generator of images, exported by degas-ray.",
            "",
            *_table(rows),
            "",
            "## Loading",
            "",
            "```python",
            _LOADING[format].format(arguments=_arguments(format, latent_dim, classes), resolution=resolution),
            "```",
            "",
            _STATISTICS,
            "",
            *(line for title, values in (beside or {}).items() for line in _section(title, values)),
            "## Training",
            "",
            *_table(_plain(facts.get("config"))),
            "",
            "## What else is known",
            "",
            *_table(_plain(facts.get("meta"))),
            "",
            "It imitates its training images, with their biases and their rights: see the dataset's own terms.",
            "",
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


def _section(title: str, values: Any) -> list[str]:
    return [f"## {title}", "", *_table(_plain(values)), ""]


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
