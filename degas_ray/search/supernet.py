"""The supernet: every map of the space, every connection a MixedOp (paper 3.2, figure 2)."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from degas_ray.search.mixed import MixedOp, Source, add_up, merged_normal, merged_upsample, op_weights, plain
from degas_ray.space import NONE, Connection, Space
from degas_ray.space.generator import check_sizes
from degas_ray.space.operations import Steps, build_operation, search_norm

Mixed = Literal["merged", "plain"]

ALPHA_START = 1e-3  # standard deviation of the alphas at first, as in DARTS


class Supernet(nn.Module):
    """All networks of a space at once.

    Weights and alphas have the same names whichever way MixedOps are computed, so a checkpoint of one loads in the
    other.

    Args:
        n: Normal maps between two up-sampled ones, 1 to 3; ignored where ``space`` is given.
        resolution: Height and width of an image; a multiple of 8.
        mixed: ``merged`` computes many operations as one, exactly; ``plain`` op by op.
        space: The space, if not the default one for ``n``.

    Example:
        >>> supernet = Supernet(n=1, width=8, latent_dim=16, resolution=16)
        >>> supernet(torch.zeros(2, 16)).shape
        torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self,
        n: int = 1,
        width: int = 16,
        latent_dim: int = 128,
        resolution: int = 32,
        mixed: Mixed = "merged",
        space: Space | None = None,
    ) -> None:
        super().__init__()
        check_sizes(width, latent_dim, resolution)
        self.space = space or Space(n)
        self.width, self.latent_dim, self.resolution, self.mixed = width, latent_dim, resolution, mixed
        self.base = resolution // 8
        self.linear = nn.Linear(latent_dim, width * self.base**2)
        self.operations = nn.ModuleDict()
        self.alphas = nn.ParameterDict()
        for connection in self.space.connections:
            names = self.space.operations(connection)
            built = {op: build_operation(op, width, connection.stride, search_norm) for op in names if op != NONE}
            self.operations[connection.name] = nn.ModuleDict(built)
            self.alphas[connection.name] = nn.Parameter(ALPHA_START * torch.randn(len(names)))
        self.tail = Steps(search_norm(width), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1), nn.Tanh())

    def weights(self) -> Iterator[nn.Parameter]:
        """Yield every parameter but the alphas."""
        return (parameter for name, parameter in self.named_parameters() if not name.startswith("alphas."))

    def op_weights(self) -> dict[str, dict[str, Tensor]]:
        """Return softmax(alpha) of every connection by operation, ``none`` left out."""
        return {c.name: op_weights(self.alphas[c.name], self.space.operations(c)) for c in self.space.connections}

    def candidates(self, connection: Connection) -> MixedOp:
        """Return the modules that compete on ``connection``, by name."""
        ops = self.operations[connection.name]
        assert isinstance(ops, nn.ModuleDict), "a connection holds its operations by name"
        return dict(ops.items())

    def forward(self, z: Tensor, weights: Mapping[str, Mapping[str, Tensor]] | None = None) -> Tensor:
        """Map latents [N, latent_dim] to images [N, 3, R, R] in (-1, 1).

        Args:
            weights: What :meth:`op_weights` returns, given by a caller that wants them detached or sampled.
        """
        weights = weights or self.op_weights()
        x = self.linear(z).view(-1, self.width, self.base, self.base)
        maps = self._plain(x, weights) if self.mixed == "plain" else self._merged(x, weights)
        images: Tensor = self.tail(maps)
        return images

    def _plain(self, x: Tensor, weights: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        maps = {"U0": x}
        for connection in self.space.connections:
            term = plain(self.candidates(connection), weights[connection.name], maps[connection.source])
            known = maps.get(connection.target)
            maps[connection.target] = term if known is None else known + term
        return maps["U3"]

    def _merged(self, x: Tensor, weights: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        sources = {"U0": Source(x.contiguous(memory_format=torch.channels_last))}
        for target, entering in self.space.inputs().items():
            terms = []
            for connection in entering:
                if connection.stride == 1:
                    ops, source = self.candidates(connection), sources[connection.source]
                    terms.append(merged_normal(ops, weights[connection.name], source))
            for stride in (2, 4):
                mixed = [
                    (self.candidates(c), weights[c.name], sources[c.source]) for c in entering if c.stride == stride
                ]
                if mixed:
                    terms.append(merged_upsample(mixed, stride))
            sources[target] = Source(add_up(terms))
        return sources["U3"].x


Forward = Callable[..., Tensor]  # (z, weights=None) -> images

# By device; others are never compiled unasked. On two CPU cores the compiler had not finished after nine minutes, a
# fifth of the paper's whole schedule (docs/performance.md).
COMPILE_PAYS_AFTER_STEPS = {"cuda": 1_000}


def accelerate(
    supernet: Supernet,
    compile: Literal["auto", "on", "off"] = "auto",
    precision: Literal["float32", "bf16"] = "float32",
    steps: int = 0,
) -> Forward:
    """Return the callable that the search really runs; parameters stay those of ``supernet``.

    Args:
        supernet: Laid out in place as channels_last.
        compile: ``auto`` compiles where ``steps`` is long enough to pay for it.
        precision: ``bf16`` runs under autocast.
        steps: How many steps are to come.
    """
    supernet.to(memory_format=torch.channels_last)
    device = next(supernet.parameters()).device.type
    forward: Forward = supernet
    if compile == "on" or (compile == "auto" and steps >= COMPILE_PAYS_AFTER_STEPS.get(device, math.inf)):
        forward = torch.compile(supernet)
    if precision == "float32":
        return forward

    def reduced(z: Tensor, weights: Mapping[str, Mapping[str, Tensor]] | None = None) -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            return forward(z, weights).float()

    return reduced
