"""Alphas to a genotype (paper 3.2, pruning phase), and how decided they were."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from degas_ray.search.slots import Slot, best_choice, make_genotype, make_slots
from degas_ray.space import NONE, Genotype, Space

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
        alphas: Raw alphas of every connection.
        space: The space they were learned on.
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
