"""The choices that make a network: one option for each slot, and which are best together under a limit on the cost."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from degas_ray.space import NONE, Connection, Genotype, Space
from degas_ray.space.norm import generator_norm
from degas_ray.space.operations import build_operation, operation_macs

Choice = tuple[int, ...]  # an option for each slot


@dataclass(frozen=True)
class Slot:
    """Options of which a network has exactly one.

    Args:
        target: The map.
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
        slots: The slots.
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
        space: The space.
        width: Channels of every map.
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
        width: Channels of every map.
        base: Side of the first map.
        price: What is counted: ``parameters`` or ``macs``.
    """
    return math.inf if limit is None else limit * _resnet(width, base, price)


def _resnet(width: int, base: int, price: str) -> float:
    """Return the cost of three blocks: up-conv3, conv3 and an up-conv1 shortcut, with two norms and three biases."""
    if price == "parameters":
        return float(3 * (19 * width**2 + 7 * width))
    return float(sum((base * 2**stage) ** 2 * (4 * 18 + 1) * width**2 for stage in range(3)))
