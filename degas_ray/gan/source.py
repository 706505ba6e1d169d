"""A generator as Python source that needs torch alone, readable from top to bottom."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from degas_ray.gan.handmade import DcganGenerator, ResnetGenerator, UpBlock
from degas_ray.space import Generator
from degas_ray.space.operations import ConditionalBatchNorm2d, Steps, UpConv, _spread, generator_norm, transposed_kernel

_HEAD = '''"""{title}, exported by degas-ray {version}. Needs torch alone; its weights are in {weights} beside it.

    from generator import load

    generator = load()
    z = torch.randn(16, generator.latent_dim)
    images = generator({call})  # [16, 3, {resolution}, {resolution}] in [-1, 1]

{what}
"""

from __future__ import annotations

{imports}
'''
_IMPORTS = {  # where the text on the left is used
    "@cache": "from functools import cache",
    "Path(": "from pathlib import Path\n",
    "torch.": "import torch",
    "F.": "import torch.nn.functional as F",
    "nn.": "from torch import Tensor, nn",
}

_LOAD = '''
def load(weights: str | Path = Path(__file__).with_name("{weights}")) -> {kind}:
    """Return the trained generator, in evaluation mode on the CPU."""
    generator = {kind}({arguments})
    tensors = torch.load(weights, map_location="cpu", weights_only=True)["tensors"]
    generator.load_state_dict({{name.removeprefix("generator/"): tensor for name, tensor in tensors.items()}})
    return generator.eval()
'''


def python_source(generator: nn.Module, *, name: str, version: str, weights: str) -> str:
    """Return a module's source with ``load()`` in it.

    Args:
        weights: File name of the generator file beside it.
    """
    arguments = ""
    if isinstance(generator, Generator):
        parts = [*_helpers(generator), _searched(generator)]
        what = str(generator.genotype).replace("; ", ";\n")
    else:
        assert isinstance(generator, ResnetGenerator | DcganGenerator)
        parts = [*_helpers(generator), inspect.getsource(type(generator))]
        sizes = ("width", "latent_dim", "resolution", "num_classes")
        arguments = ", ".join(f"{size}={getattr(generator, size)}" for size in sizes)
        what = (inspect.getdoc(type(generator)) or "").splitlines()[0]
    resolution, classes = generator.resolution, generator.num_classes
    load = _LOAD.format(weights=weights, kind=type(generator).__name__, arguments=arguments).lstrip("\n")
    body = "\n\n".join([*parts, load])
    head = _HEAD.format(
        title=f"{name} at {resolution}x{resolution}",
        version=version,
        weights=weights,
        resolution=resolution,
        call=f"z, torch.arange(16) % {classes}" if classes else "z",
        what=what,
        imports="\n".join(line for use, line in _IMPORTS.items() if use in body),
    )
    return f"{head}\n\n{body}"


def _helpers(generator: nn.Module) -> list[str]:
    """Return the sources of our own layers that ``generator`` is made of."""
    used = {type(module) for module in generator.modules()}
    handmade = isinstance(generator, ResnetGenerator | DcganGenerator)
    wanted: list[tuple[bool, Callable[..., Any] | type]] = [
        (ConditionalBatchNorm2d in used or Steps in used or handmade, ConditionalBatchNorm2d),
        (Steps in used, Steps),
        (handmade, generator_norm),
        (UpConv in used, _spread),
        (UpConv in used, transposed_kernel),
        (UpConv in used, UpConv),
        (UpBlock in used, UpBlock),
    ]
    return [inspect.getsource(part) for needed, part in wanted if needed]


def _searched(generator: Generator) -> str:
    """Return a class that has the genotype written out, with the same names of weights."""
    first = f"self.linear(z).view(-1, {generator.width}, {generator.base}, {generator.base})"
    lines = [f"        u0 = {first}  # [N, {generator.width}, {generator.base}, {generator.base}]"]
    size = {"U0": generator.base}
    for feature_map in generator.genotype.maps:
        terms = []
        for edge in feature_map.inputs:
            key = f"{edge.source}->{feature_map.name}"
            labels = ", labels" if isinstance(generator.operations[key], Steps) else ""
            terms.append(f'self.operations["{key}"]({edge.source.lower()}{labels})')
            size[feature_map.name] = size[edge.source] * edge.stride
        here = size[feature_map.name]
        lines.append(f"        {feature_map.name.lower()} = {' + '.join(terms)}  # {here}x{here}")
    last = generator.genotype.maps[-1].name.lower()
    operations = "".join(
        f'                "{key}": {_expression(operation, 16)},\n' for key, operation in generator.operations.items()
    )
    return f'''class Generator(nn.Module):
    """Latents [N, {generator.latent_dim}] to images [N, 3, {generator.resolution}, {generator.resolution}]."""

    latent_dim, resolution, num_classes = {generator.latent_dim}, {generator.resolution}, {generator.num_classes}

    def __init__(self) -> None:
        super().__init__()
        self.linear = {_expression(generator.linear, 8)}
        self.operations = nn.ModuleDict(
            {{
{operations}            }}
        )
        self.tail = {_expression(generator.tail, 8)}

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents (and labels [N] if conditional) to images in (-1, 1)."""
{chr(10).join(lines)}
        return self.tail({last}, labels)
'''


def _expression(module: nn.Module, indent: int) -> str:
    """Return the Python that builds ``module``, whose first line is indented by so many spaces."""
    if isinstance(module, Steps):
        inner = "".join(f"{' ' * (indent + 4)}{_expression(part, indent + 4)},\n" for part in module)
        return f"Steps(\n{inner}{' ' * indent})"
    if isinstance(module, ConditionalBatchNorm2d):
        return f"ConditionalBatchNorm2d({module.num_features}, {len(module.scale)})"
    if isinstance(module, UpConv):
        return f"UpConv({module.weight.shape[0]}, {module.kernel}, {module.stride})"
    if isinstance(module, nn.BatchNorm2d):  # prints arguments that earlier versions of torch do not take
        return f"nn.BatchNorm2d({module.num_features})"
    if isinstance(module, nn.AvgPool2d):  # prints less than it is
        sizes = f"{module.kernel_size}, {module.stride}, {module.padding}"
        return f"nn.AvgPool2d({sizes}, count_include_pad={module.count_include_pad})"
    return f"nn.{module!r}"  # torch's other layers print as they are built
