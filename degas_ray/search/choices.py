"""The choices that make a network: what each costs, which are best together, and genotypes from alphas or by chance."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from degas_ray.config import PruneConfig, SearchConfig
from degas_ray.search.supernet import ALPHA_START
from degas_ray.space import NONE, Connection, Genotype, Space
from degas_ray.space.operations import build_operation, generator_norm, operation_macs

Choice = tuple[int, ...]  # an option for each slot


@dataclass(frozen=True)
class Slot:
    """Options of which a network has exactly one.

    Args:
        residual: Whether it is that of the residual operation.
        options: Connection and operation; ``None`` for no residual operation.
        prices: What each option costs.
    """

    target: str
    residual: bool
    options: tuple[tuple[str, str] | None, ...]
    prices: tuple[float, ...]


def best_choice(slots: Sequence[Slot], worth: Sequence[Sequence[float]], limit: float) -> Choice:
    """Return the options that are worth most together, of those that cost no more than ``limit`` together.

    Networks are put together slot by slot; of two beginnings, the dearer one goes on only if it is worth more.

    Args:
        worth: What every option of every slot is worth.
        limit: The largest cost; infinite for none. Where nothing is as cheap, the cheapest is returned.
    """
    begun: list[tuple[float, float, Choice]] = [(0.0, 0.0, ())]
    for place, (slot, values) in enumerate(zip(slots, worth, strict=True)):
        rest = sum(min(later.prices) for later in slots[place + 1 :])
        longer = sorted(
            (price + own, -value - values[option], (*picks, option))
            for price, value, picks in begun
            for option, own in enumerate(slot.prices)
        )
        begun = []
        for price, loss, picks in longer:
            if (not begun or -loss > begun[-1][1]) and (not begun or price + rest <= limit):
                begun.append((price, -loss, picks))
    return begun[-1][2]


def make_genotype(space: Space, slots: Iterable[Slot], choice: Choice) -> Genotype:
    """Return a network as a genotype."""
    direct: dict[str, str] = {}
    residual: dict[str, dict[str, str]] = {}
    connections = {connection.name: connection for connection in space.connections}
    for slot, option in zip(slots, choice, strict=True):
        picked = slot.options[option]
        if picked is None:
            continue
        connection = connections[picked[0]]
        if connection.residual:
            residual[slot.target] = {connection.source: picked[1]}
        else:
            direct[slot.target] = picked[1]
    return space.genotype({target: (op, residual.get(target, {})) for target, op in direct.items()})


def make_slots(space: Space, width: int, base: int, price: str) -> tuple[Slot, ...]:
    """Return the slots of a space, in the order of its maps, the direct one before the residual one.

    Args:
        base: Side of the first map.
        price: What an option's price counts: ``parameters`` or ``macs``.
    """
    sizes = {"U0": base}
    found = []
    for target, entering in space.inputs().items():
        *residual, direct = entering
        sizes[target] = sizes[direct.source] * direct.stride
        ways: list[list[tuple[Connection, str] | None]] = [[(direct, op) for op in space.operations(direct)]]
        if residual:
            ways.append([None, *((c, op) for c in residual for op in space.operations(c) if op != NONE)])
        for options in ways:
            names = tuple(None if way is None else (way[0].name, way[1]) for way in options)
            prices = tuple(
                0.0 if way is None else _price(way[1], width, way[0].stride, sizes[way[0].source], price)
                for way in options
            )
            found.append(Slot(target, None in names, names, prices))
    return tuple(found)


def _price(op: str, width: int, stride: int, size: int, price: str) -> float:
    if price == "macs":
        return float(operation_macs(op, width, stride, size))
    module = build_operation(op, width, stride, generator_norm(0))
    return float(sum(parameter.numel() for parameter in module.parameters()))


def largest(limit: float | None, width: int, base: int, price: str) -> float:
    """Return ``search.cost_limit`` in the unit of the slots' prices, infinite for none.

    Args:
        limit: In multiples of what the residual blocks of CT-GAN's hand-designed generator cost.
    """
    if limit is None:
        return math.inf
    # Three blocks: up-conv3, conv3 and an up-conv1 shortcut, with two norms and three biases.
    if price == "parameters":
        return limit * float(3 * (19 * width**2 + 7 * width))
    return limit * float(sum((base * 2**stage) ** 2 * (4 * 18 + 1) * width**2 for stage in range(3)))


Alphas = Mapping[str, Mapping[str, float]]  # connection -> operation -> raw alpha


def prune(
    alphas: Alphas,
    space: Space,
    compare: Literal["alpha", "weight"] = "alpha",
    slots: Sequence[Slot] | None = None,
    limit: float = math.inf,
) -> Genotype:
    """Keep one or two operations a map.

    Of all operations that enter a map, ``none`` left out, the strongest is kept; if it is residual, the strongest of
    the direct connection is kept too. That is the network with the largest sum of strengths, where a residual operation
    counts what it is stronger than the strongest direct one; under a limit it is the largest sum that costs no more.

    Args:
        compare: ``alpha``: raw values, the paper's words. ``weight``: softmax weights; a residual connection shares
            its weight with ``none``, which favours direct ones.
        slots: The space's choices, with their prices; wanted for a limit.
        limit: Most that the operations may cost together, in the unit of the slots' prices.
    """
    strength = {name: dict(row) if compare == "alpha" else softmax(row) for name, row in alphas.items()}
    slots = slots or make_slots(space, 1, 1, "macs")
    worth = []
    for slot in slots:
        direct = space.inputs()[slot.target][-1].name
        level = max(strength[direct].values()) if slot.residual else 0.0
        worth.append([0.0 if way is None else strength[way[0]][way[1]] - level for way in slot.options])
    return make_genotype(space, slots, best_choice(slots, worth, limit))


def softmax(row: Mapping[str, float]) -> dict[str, float]:
    """Return the weights of one connection's operations."""
    top = max(row.values())
    powers = {op: math.exp(value - top) for op, value in row.items()}
    total = sum(powers.values())
    return {op: power / total for op, power in powers.items()}


def decidedness(alphas: Alphas, genotype: Genotype) -> dict[str, float]:
    """Say how far the alphas decided.

    Returns:
        ``alpha_entropy``: mean entropy of softmax(alpha) over connections, as a share of the uniform one (1: nothing
        decided, 0: all). ``margin``: mean lead in weight of the kept operation of a connection over the next one.
        ``margin_min``: the smallest of them. ``skip_share``: share of ``skip_connect`` among kept normal operations.
    """
    entropies = []
    for row in alphas.values():
        if len(row) > 1:
            weights = softmax(row).values()
            entropies.append(-sum(w * math.log(w) for w in weights if w > 0) / math.log(len(row)))
    margins, normal = [], []
    for feature_map in genotype.maps:
        for edge in feature_map.inputs:
            kept = softmax(alphas[f"{edge.source}->{feature_map.name}"])
            others = [weight for op, weight in kept.items() if op != edge.op and op != NONE]
            margins.append(kept[edge.op] - max(others, default=0.0))
            if edge.stride == 1:
                normal.append(edge.op == "skip_connect")
    return {
        "alpha_entropy": sum(entropies) / len(entropies) if entropies else 0.0,
        "margin": sum(margins) / len(margins),
        "margin_min": min(margins),
        "skip_share": sum(normal) / len(normal),
    }


DRAWS = 1000  # for a network that is not too large, before the cheapest is taken
SIDE = 1  # of the first map: costs and limit grow alike with it


@dataclass(frozen=True)
class LimitedSpace:
    """The networks of a space that are not too large.

    Args:
        limit: Most that a network's operations may cost together; infinite for no limit.
    """

    space: Space
    slots: tuple[Slot, ...]
    limit: float

    def cost(self, network: Genotype | Choice) -> float:
        """Return what a network's operations cost."""
        choice = self._choice(network) if isinstance(network, Genotype) else network
        return sum(slot.prices[option] for slot, option in zip(self.slots, choice, strict=True))

    def random(self, seed: int) -> Genotype:
        """Draw a genotype uniformly; where one in a thousand or fewer is small enough, it may be the cheapest."""
        for drawn in islice(self.space.randoms(seed), DRAWS):
            if self.cost(drawn) <= self.limit:
                return drawn
        return self.genotype(self.best([[0.0] * len(slot.options) for slot in self.slots]))

    def nearest(self, genotype: Genotype) -> Genotype:
        """Return the genotype that shares the most choices with another: that one itself if it is small enough."""
        if self.cost(genotype) <= self.limit:
            return genotype
        chosen = zip(self.slots, self._choice(genotype), strict=True)
        worth = [[float(option == own) for option in range(len(slot.options))] for slot, own in chosen]
        return self.genotype(self.best(worth))

    def best(self, worth: Sequence[Sequence[float]]) -> Choice:
        """Return the network whose options are worth most together, given what every option of every slot is worth."""
        return best_choice(self.slots, worth, self.limit)

    def genotype(self, choice: Choice) -> Genotype:
        """Return a network as a genotype."""
        return make_genotype(self.space, self.slots, choice)

    def _choice(self, genotype: Genotype) -> Choice:
        maps = {feature_map.name: feature_map for feature_map in genotype.maps}
        chosen = []
        for slot in self.slots:
            edges = [edge for edge in maps[slot.target].inputs if edge.residual is slot.residual]
            way = (f"{edges[0].source}->{slot.target}", edges[0].op) if edges else None
            chosen.append(slot.options.index(way))
        return tuple(chosen)


def limited_space(config: SearchConfig, base: int = SIDE) -> LimitedSpace:
    """Return the networks that a search may find, priced for a first map of ``base`` x ``base``."""
    space = Space(config.n, config.normal_ops, config.upsample_ops)
    slots = make_slots(space, config.width, base, config.cost)
    return LimitedSpace(space, slots, largest(config.cost_limit, config.width, base, config.cost))


def unlearnt(config: SearchConfig, pruning: PruneConfig) -> Callable[[int], Genotype]:
    """Return what draws genotypes, by seed, as a search does that learns nothing.

    A mixed search prunes random alphas (paper 4.2, its random block); one by single networks has them all alike. Both
    keep to ``search.cost_limit``. The two differ: alphas keep a residual operation only where it is the strongest of
    all that enter a map, which at n = 1 is in 1/2, 2/3 and 2/3 of the up-sampled maps, not in 4/5, 8/9 and 8/9.
    """
    limited = limited_space(config)
    if config.paths == "sampled":
        return limited.random
    space = limited.space

    def drawn(seed: int) -> Genotype:
        draw = np.random.default_rng(seed)
        alphas = {
            connection.name: {op: ALPHA_START * draw.standard_normal() for op in space.operations(connection)}
            for connection in space.connections
        }
        return prune(alphas, space, pruning.compare, limited.slots, limited.limit)

    return drawn
