"""A genotype as a torch module: U0 (linear), the searched stages, and the fixed tail (paper 3.2)."""

from torch import Tensor, nn

from degas_ray.errors import InputError
from degas_ray.space.genotype import Genotype
from degas_ray.space.operations import Steps, build_operation, generator_norm, operation_macs

_GROWTH = 8  # three stages of two


class Generator(nn.Module):
    """The generator that a genotype describes.

    Args:
        width: Channels of every map (paper: 128 in full training).
        resolution: Height and width of an image; a multiple of 8, the base map being an eighth of it.
        num_classes: For supervised training: every normalisation is then conditional on a label.

    Raises:
        InputError: For a resolution that three doublings cannot reach, or sizes below one.

    Example:
        >>> import torch
        >>> from degas_ray.space import PUBLISHED
        >>> generator = Generator(PUBLISHED["degas-stl10"], width=8, latent_dim=16, resolution=48)
        >>> generator(torch.randn(2, 16)).shape
        torch.Size([2, 3, 48, 48])
    """

    def __init__(
        self, genotype: Genotype, *, width: int = 128, latent_dim: int = 128, resolution: int = 32, num_classes: int = 0
    ) -> None:
        super().__init__()
        check_sizes(width, latent_dim, resolution)
        norm = generator_norm(num_classes)
        self.genotype = genotype
        self.width, self.latent_dim = width, latent_dim
        self.resolution, self.num_classes = resolution, num_classes
        self.base = resolution // _GROWTH
        self.linear = nn.Linear(latent_dim, width * self.base**2)
        self.operations = nn.ModuleDict(
            {
                f"{edge.source}->{feature_map.name}": build_operation(edge.op, width, edge.stride, norm)
                for feature_map in genotype.maps
                for edge in feature_map.inputs
            }
        )
        self.tail = Steps(norm(width), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1), nn.Tanh())

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents [N, latent_dim] (and labels [N] if conditional) to images [N, 3, R, R] in (-1, 1)."""
        maps = {"U0": self.linear(z).view(-1, self.width, self.base, self.base)}
        for feature_map in self.genotype.maps:
            terms = []
            for edge in feature_map.inputs:
                operation, source = self.operations[f"{edge.source}->{feature_map.name}"], maps[edge.source]
                terms.append(operation(source, labels) if isinstance(operation, Steps) else operation(source))
            maps[feature_map.name] = terms[0] if len(terms) == 1 else terms[0] + terms[1]
        images: Tensor = self.tail(maps[self.genotype.maps[-1].name], labels)
        return images


def check_sizes(width: int, latent_dim: int, resolution: int) -> None:
    """Refuse sizes that no generator can have, with every fault."""
    faults = []
    if resolution < _GROWTH or resolution % _GROWTH:
        near = max(_GROWTH, round(resolution / _GROWTH) * _GROWTH)
        faults.append(f"resolution: got {resolution}, expected a multiple of {_GROWTH}, such as {near}")
    faults += [
        f"{name}: got {value}, expected 1 or more"
        for name, value in (("width", width), ("latent_dim", latent_dim))
        if value < 1
    ]
    if faults:
        raise InputError("\n".join(faults))


def count_parameters(module: nn.Module) -> int:
    """Return how many numbers training can change."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def count_macs(genotype: Genotype, *, width: int = 128, latent_dim: int = 128, resolution: int = 32) -> int:
    """Return the multiply-adds of making one image; normalisation and activations left out."""
    base = resolution // _GROWTH
    size_of = {"U0": base}
    total = latent_dim * width * base**2 + resolution**2 * width * 3 * 9
    for feature_map in genotype.maps:
        for edge in feature_map.inputs:
            total += operation_macs(edge.op, width, edge.stride, size_of[edge.source])
            size_of[feature_map.name] = size_of[edge.source] * edge.stride
    return total
