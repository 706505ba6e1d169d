"""Which maps there are and which connections enter them, and how many networks that makes (paper 3.2).

Stage i has the row ``U(i-1), N(i,a), N(i,b), ..., U(i)``. The direct connection into a map comes from the one just
before it in its row; residual ones from any earlier map of the row, and between up-sampled maps from two stages back.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from degas_ray.errors import InputError
from degas_ray.space.genotype import Edge, FeatureMap, Genotype
from degas_ray.space.operations import NONE, NORMAL_OPS, UPSAMPLE_OPS

STAGES = 3


@dataclass(frozen=True)
class Connection:
    """A place for one operation between two maps.

    Args:
        source: Name of the map it leaves, such as ``U0``.
        target: Name of the map it enters, such as ``N1a``.
        stage: Stage of the target, 1 to 3.
        residual: Whether it skips the map just before the target; only then can it be absent (``none``).
        stride: How many times larger the target is: 1, 2 or 4.
    """

    source: str
    target: str
    stage: int
    residual: bool
    stride: int

    @property
    def name(self) -> str:
        """The connection in a word, such as ``U0->N1a``."""
        return f"{self.source}->{self.target}"


def connections(n: int) -> tuple[Connection, ...]:
    """Return every connection for ``n`` normal maps a stage, in order of computation, residual ones first."""
    found: list[Connection] = []
    for stage in range(1, STAGES + 1):
        row = [f"U{stage - 1}", *(f"N{stage}{'abc'[j]}" for j in range(n)), f"U{stage}"]
        for place, target in enumerate(row[1:], start=1):
            stride = 2 if place == len(row) - 1 else 1
            if stride == 2 and stage >= 2:
                found.append(Connection(f"U{stage - 2}", target, stage, residual=True, stride=4))
            found += [Connection(source, target, stage, residual=True, stride=stride) for source in row[: place - 1]]
            found.append(Connection(row[place - 1], target, stage, residual=False, stride=stride))
    return tuple(found)


@dataclass(frozen=True)
class Space:
    """A search space: the topology for ``n`` and the operations that compete on its connections.

    Args:
        n: Normal maps between two up-sampled ones, 1 to 3.

    Raises:
        InputError: For an ``n`` outside 1 to 3, or operations that do not exist, with all faults.

    Example:
        >>> Space(n=1).continuous_size()
        145800000
    """

    n: int = 1
    normal_ops: tuple[str, ...] = field(default=NORMAL_OPS)
    upsample_ops: tuple[str, ...] = field(default=UPSAMPLE_OPS)

    def __post_init__(self) -> None:
        faults = []
        if not 1 <= self.n <= 3:
            faults.append(f"n: got {self.n}, expected 1, 2 or 3")
        for what, chosen, known in (
            ("normal operations", self.normal_ops, NORMAL_OPS),
            ("up-sample operations", self.upsample_ops, UPSAMPLE_OPS),
        ):
            unknown = [name for name in chosen if name not in known]
            if unknown or not chosen or len(set(chosen)) < len(chosen):
                given = ", ".join(chosen) or "none"
                faults.append(f"{what}: got {given}; expected some of {', '.join(known)}, each once")
        if faults:
            raise InputError("\n".join(faults))

    @cached_property
    def connections(self) -> tuple[Connection, ...]:
        """Every connection, in order of computation."""
        return connections(self.n)

    def operations(self, connection: Connection) -> tuple[str, ...]:
        """Return what competes on ``connection``: its alphas' names, ``none`` last where it may be absent."""
        names = self.normal_ops if connection.stride == 1 else self.upsample_ops
        return (*names, NONE) if connection.residual else names

    def inputs(self) -> dict[str, list[Connection]]:
        """Return the connections into each map, residual ones first, maps in order of computation."""
        found: dict[str, list[Connection]] = {}
        for connection in self.connections:
            found.setdefault(connection.target, []).append(connection)
        return found

    def continuous_size(self) -> int:
        """Return how many networks choose one operation on every connection (paper 3.2: 1.458e8 for n = 1)."""
        return prod(len(self.operations(connection)) for connection in self.connections)

    def discrete_size(self) -> int:
        """Return how many genotypes pruning can give: per map a direct operation and at most one residual one."""
        total = 1
        for entering in self.inputs().values():
            *residual, direct = entering
            total *= len(self.operations(direct)) * (1 + sum(len(self.operations(r)) - 1 for r in residual))
        return total

    def genotype(self, chosen: Mapping[str, tuple[str, Mapping[str, str]]]) -> Genotype:
        """Build a genotype from each map's direct operation and its residual ones by source."""
        maps = []
        for target, entering in self.inputs().items():
            *residual, direct = entering
            op, extra = chosen[target]
            edges = [Edge(extra[c.source], c.source, True, c.stride) for c in residual if c.source in extra]
            edges.append(Edge(op, direct.source, False, direct.stride))
            maps.append(FeatureMap(target, direct.stage, "upsample" if direct.stride == 2 else "normal", tuple(edges)))
        return Genotype(tuple(maps))

    def random(self, seed: int) -> Genotype:
        """Draw a genotype uniformly from the discrete space."""
        return next(self.randoms(seed))

    def randoms(self, seed: int) -> Iterator[Genotype]:
        """Yield genotypes drawn uniformly from the discrete space, without end."""
        draw = random.Random(seed)
        while True:
            chosen: dict[str, tuple[str, Mapping[str, str]]] = {}
            for target, entering in self.inputs().items():
                *residual, direct = entering
                options: list[dict[str, str]] = [{}]
                options += [{c.source: op} for c in residual for op in self.operations(c) if op != NONE]
                chosen[target] = (draw.choice(self.operations(direct)), draw.choice(options))
            yield self.genotype(chosen)
