"""What is known of single networks that were tried: an additive model of how good each choice of an operation is.

A network is one option for each slot: every map has a slot for its direct operation, and one for its residual
operation, or for none. The model is Bayesian linear regression on one indicator an option; options that are the same
operation share a part of what they are worth, and at first multiply-adds are believed to be worth something. The next
network to try is the best one under a draw from what is known (Thompson sampling, 1933), of a smaller spread, so that
trying stays near the good options.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from degas_ray.space import NONE, Connection, Genotype, Space
from degas_ray.space.norm import generator_norm
from degas_ray.space.operations import build_operation, operation_macs

Array = NDArray[np.float64]
Choice = tuple[int, ...]  # an option for each slot
# Variances of what an option is worth, of networks whose worth varies by 1 (a network is some ten options): what its
# operation is worth anywhere, what it is worth as a direct or as a residual one, and what it is worth just here.
ANYWHERE, IN_ROLE, HERE = 0.04, 0.04, 0.04
LEVEL = 10.0  # variance of what all have in common: scores are relative to those that were tried
DOUBT = 0.02  # variance of what multiply-adds are worth, about what is believed
DRAWN = 256  # random networks, which say how much multiply-adds vary
NOISE = 0.3  # variance that is not the options' own: seeds, and what options do together
EXPLORE = 0.25  # of the posterior's deviation: some dozens of networks are too few to try all that might be good
TRIES = 1000  # for a random network that is not too large


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


class PathModel:
    """What is known of a space's networks, and which to try next.

    Args:
        space: The space.
        width: Channels, for the prices.
        base: Side of the first map.
        price: What is limited: ``parameters`` or ``macs``.
        limit: Most that a network may cost, in multiples of what the residual blocks of CT-GAN's hand-designed
            generator cost at the same width; ``None`` for no limit.
        belief: What a standard deviation of random networks' multiply-adds is worth before anything is known.
    """

    def __init__(self, space: Space, *, width: int, base: int, price: str, limit: float | None, belief: float) -> None:
        self.space = space
        self.slots = tuple(_slots(space, width, base, price))
        self._limit = np.inf if limit is None else limit * _resnet(width, base, price)
        self._starts = np.cumsum([0, *(len(slot.options) for slot in self.slots)])
        self._macs = self._compute(width, base)
        self._believed = np.append(belief * self._macs, 0.0)
        self._prior_precision = np.linalg.inv(self.prior())
        self.tried: list[tuple[Choice, float]] = []

    def observe(self, choice: Choice, distance: float) -> None:
        """Take note of how far a network's samples are from the real images; smaller is better."""
        self.tried.append((choice, distance))

    def random(self, draw: np.random.Generator) -> Choice:
        """Draw a network uniformly from those that are not too large."""
        for _ in range(TRIES):
            choice = tuple(int(draw.integers(len(slot.options))) for slot in self.slots)
            if self.cost(choice) <= self._limit:
                return choice
        return self._best(np.zeros(self._starts[-1]))

    def propose(self, draw: np.random.Generator) -> Choice:
        """Return the network that is best under one draw from the posterior."""
        mean, covariance = self.posterior()
        return self._best(draw.multivariate_normal(mean, EXPLORE**2 * covariance, method="cholesky"))

    def best(self) -> Choice:
        """Return the network that is best under the posterior's mean."""
        return self._best(self.posterior()[0])

    def cost(self, choice: Choice) -> float:
        """Return what a network's operations cost."""
        return sum(slot.prices[option] for slot, option in zip(self.slots, choice, strict=True))

    def prior(self) -> Array:
        """Return the covariance [P + 1, P + 1] at first: of what the options are worth, and of the level."""
        names = [
            (NONE if option is None else option[1], slot.residual) for slot in self.slots for option in slot.options
        ]
        same_op = np.array([[a[0] == b[0] for b in names] for a in names])
        same_role = np.array([[a == b for b in names] for a in names])
        covariance = np.full((len(names) + 1, len(names) + 1), 0.0)
        covariance[:-1, :-1] = ANYWHERE * same_op + IN_ROLE * same_role + HERE * np.eye(len(names))
        covariance[:-1, :-1] += DOUBT * np.outer(self._macs, self._macs)
        covariance[-1, -1] = LEVEL
        return covariance

    def posterior(self) -> tuple[Array, Array]:
        """Return mean [P] and covariance [P, P] of what the options are worth.

        Distances count by rank alone, as normal scores, so that one network that fails altogether does not outweigh
        the rest.
        """
        precision, pull = self._prior_precision.copy(), self._prior_precision @ self._believed
        if self.tried:
            x = np.zeros((len(self.tried), len(pull)))
            x[:, -1] = 1
            for row, (choice, _) in zip(x, self.tried, strict=True):
                row[self._starts[:-1] + np.asarray(choice)] = 1
            ranks = rankdata([distance for _, distance in self.tried])
            worth = -norm.ppf((ranks - 0.5) / len(ranks))
            precision += x.T @ x / NOISE
            pull = pull + x.T @ worth / NOISE
        covariance = np.linalg.inv(precision)
        mean = np.asarray(covariance @ pull, float)
        return mean[:-1], ((covariance + covariance.T) / 2)[:-1, :-1]

    def _compute(self, width: int, base: int) -> Array:
        """Return the options' multiply-adds [P], in standard deviations of random networks', less their slot's mean."""
        macs = [np.array(slot.prices) for slot in _slots(self.space, width, base, "macs")]
        draw = np.random.default_rng(0)
        drawn = [sum(each[option] for each, option in zip(macs, self.random(draw), strict=True)) for _ in range(DRAWN)]
        return np.concatenate([each - each.mean() for each in macs]) / max(1.0, float(np.std(drawn)))

    def alphas(self) -> dict[str, dict[str, float]]:
        """Return what every operation is worth, in standard deviations of what is not known of it, by connection."""
        mean, covariance = self.posterior()
        worth = mean / np.sqrt(np.mean(np.diag(covariance)))
        found: dict[str, dict[str, float]] = {connection.name: {} for connection in self.space.connections}
        for slot, start in zip(self.slots, self._starts, strict=False):
            for option, value in zip(slot.options, worth[start:], strict=False):
                if option is None:
                    residual = [c.name for c in self.space.inputs()[slot.target] if c.residual]
                    found |= {name: {**found[name], NONE: float(value)} for name in residual}
                else:
                    found[option[0]][option[1]] = float(value)
        return {c.name: {op: found[c.name][op] for op in self.space.operations(c)} for c in self.space.connections}

    def genotype(self, choice: Choice) -> Genotype:
        """Return a network as a genotype."""
        direct: dict[str, str] = {}
        residual: dict[str, dict[str, str]] = {}
        sources = {connection.name: connection for connection in self.space.connections}
        for slot, option in zip(self.slots, choice, strict=True):
            picked = slot.options[option]
            if picked is None:
                continue
            connection = sources[picked[0]]
            if connection.residual:
                residual[slot.target] = {connection.source: picked[1]}
            else:
                direct[slot.target] = picked[1]
        return self.space.genotype({target: (op, residual.get(target, {})) for target, op in direct.items()})

    def _best(self, worth: Array) -> Choice:
        """Return the network whose options are worth most together, of those that are not too large.

        Networks are put together slot by slot; of two beginnings, the dearer one goes on only if it is worth more.
        """
        begun: list[tuple[float, float, Choice]] = [(0.0, 0.0, ())]
        for place, (slot, start) in enumerate(zip(self.slots, self._starts, strict=False)):
            rest = sum(min(later.prices) for later in self.slots[place + 1 :])
            longer = sorted(
                ((price + own, -value - worth[start + option], (*picks, option))
                for price, value, picks in begun
                for option, own in enumerate(slot.prices)),
            )  # fmt: skip
            begun = []
            for price, loss, picks in longer:
                if (not begun or -loss > begun[-1][1]) and (not begun or price + rest <= self._limit):
                    begun.append((price, -loss, picks))
        return begun[-1][2]


def _slots(space: Space, width: int, base: int, price: str) -> list[Slot]:
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
    return found


def _price(op: str, width: int, stride: int, size: int, price: str) -> float:
    if price == "macs":
        return float(operation_macs(op, width, stride, size))
    module = build_operation(op, width, stride, generator_norm(0))
    return float(sum(parameter.numel() for parameter in module.parameters()))


def _resnet(width: int, base: int, price: str) -> float:
    """Return the cost of three blocks: up-conv3, conv3 and an up-conv1 shortcut, with two norms and three biases."""
    if price == "parameters":
        return float(3 * (19 * width**2 + 7 * width))
    return float(sum((base * 2**stage) ** 2 * (4 * 18 + 1) * width**2 for stage in range(3)))
