"""The search by single networks: each is tried briefly, and what is learnt of its operations says which is next.

The mixed search asks which operations rebuild the images best while all of them share the work; an adversarial training
may need others. Here whoever calls the search tries a network as it will be trained, only shorter, and says how far
its samples are from the real images.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # its parts are loaded where they are used: scipy.stats alone takes a second
import torch
from numpy.typing import NDArray

from degas_ray.checkpoint import State
from degas_ray.config import PruneConfig, SearchConfig
from degas_ray.data import Pack
from degas_ray.errors import DivergedError
from degas_ray.loop import Progress
from degas_ray.search.choices import Choice, LimitedSpace, decidedness, limited_space, softmax
from degas_ray.search.result import SearchResult, require_same, search_identity, verdict
from degas_ray.space import NONE, Genotype

Array = NDArray[np.float64]
# Variances of what an option is worth, of networks whose worth varies by 1 (a network is some ten options): what its
# operation is worth anywhere, what it is worth as a direct or as a residual one, and what it is worth just here.
ANYWHERE, IN_ROLE, HERE = 0.04, 0.04, 0.04
LEVEL = 10.0  # variance of what all have in common: scores are relative to those that were tried
NOISE = 0.3  # variance that is not the options' own: seeds, and what options do together
EXPLORE = 0.25  # of the posterior's deviation: some dozens of networks are too few to try all that might be good
TRIES = 1000  # for a random network that is not too large


class PathModel:
    """What is known of a space's networks, and which to try next."""

    def __init__(self, limited: LimitedSpace) -> None:
        self.limited, self.space, self.slots = limited, limited.space, limited.slots
        self._starts = np.cumsum([0, *(len(slot.options) for slot in self.slots)])
        self._prior_precision = np.linalg.inv(self.prior())
        self.tried: list[tuple[Choice, float]] = []  # with the distance of its samples from the real images

    def random(self, draw: np.random.Generator) -> Choice:
        """Draw a network uniformly from those that are not too large."""
        for _ in range(TRIES):
            choice = tuple(int(draw.integers(len(slot.options))) for slot in self.slots)
            if self.limited.cost(choice) <= self.limited.limit:
                return choice
        return self._best(np.zeros(self._starts[-1]))

    def propose(self, draw: np.random.Generator) -> Choice:
        """Return the network that is best under one draw from the posterior."""
        mean, covariance = self.posterior()
        return self._best(draw.multivariate_normal(mean, EXPLORE**2 * covariance, method="cholesky"))

    def best(self) -> Choice:
        """Return the network that is best under the posterior's mean."""
        return self._best(self.posterior()[0])

    def prior(self) -> Array:
        """Return the covariance [P + 1, P + 1] at first: of what the options are worth, and of the level."""
        names = [
            (NONE if option is None else option[1], slot.residual) for slot in self.slots for option in slot.options
        ]
        same_op = np.array([[a[0] == b[0] for b in names] for a in names])
        same_role = np.array([[a == b for b in names] for a in names])
        covariance = np.full((len(names) + 1, len(names) + 1), 0.0)
        covariance[:-1, :-1] = ANYWHERE * same_op + IN_ROLE * same_role + HERE * np.eye(len(names))
        covariance[-1, -1] = LEVEL
        return covariance

    def posterior(self) -> tuple[Array, Array]:
        """Return mean [P] and covariance [P, P] of what the options are worth.

        Distances count by rank alone, as normal scores, so that one network that fails altogether does not outweigh
        the rest.
        """
        precision, pull = self._prior_precision.copy(), np.zeros(len(self._prior_precision))
        if self.tried:
            x = np.zeros((len(self.tried), len(pull)))
            x[:, -1] = 1
            for row, (choice, _) in zip(x, self.tried, strict=True):
                row[self._starts[:-1] + np.asarray(choice)] = 1
            ranks = scipy.stats.rankdata([distance for _, distance in self.tried])
            worth = -scipy.special.ndtri((ranks - 0.5) / len(ranks))
            precision += x.T @ x / NOISE
            pull = pull + x.T @ worth / NOISE
        covariance = np.linalg.inv(precision)
        mean = np.asarray(covariance @ pull, float)
        return mean[:-1], ((covariance + covariance.T) / 2)[:-1, :-1]

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

    def _best(self, worth: Array) -> Choice:
        return self.limited.best([part.tolist() for part in np.split(worth, self._starts[1:-1])])


Try = Callable[[Genotype, int], float]
"""Tries a network with a seed and returns how far its samples are from the real images: smaller is better, and a number
that is not finite says that it failed."""


class SampledSearcher:
    """A search by single networks that can be advanced network by network, snapshotted and restored.

    Args:
        config: ``networks`` is the number of steps.
        seed: Of proposals and tries. Networks share it, so that they differ by their operations alone; one that comes
            again has another.
        pruning: Recorded; what is kept is decided by the model of the networks.
    """

    def __init__(self, config: SearchConfig, pack: Pack, seed: int, pruning: PruneConfig, attempt: Try) -> None:
        self.config, self.seed, self.attempt = config, seed, attempt
        self.steps, self.step = config.networks, 0
        self.model = PathModel(limited_space(config, pack.resolution // 8))
        self.history: list[dict[str, Any]] = []
        self.metrics: dict[str, float] = {}
        self._identity = search_identity(config, pruning, pack, seed)

    def advance(self) -> None:
        """Try one network: random ones first, then those that may be the best."""
        draw = np.random.default_rng([self.seed, self.step])
        begins = self.step < self.config.warmup * self.steps
        choice = self.model.random(draw) if begins else self.model.propose(draw)
        again = sum(tried == choice for tried, _ in self.model.tried)
        distance = self.attempt(self.model.limited.genotype(choice), self.seed + again)
        self.model.tried.append((choice, distance if math.isfinite(distance) else math.inf))
        self.step += 1

    def report(self, *, record: bool) -> None:
        """Take stock: the distances so far, how far the alphas decided, the genotype of now.

        Raises:
            DivergedError: Where no network could be judged at all.
        """
        distances = [distance for _, distance in self.model.tried]
        if self.step == self.steps and min(distances) == math.inf:
            raise DivergedError(
                f"each of the {self.steps} networks that were tried diverged; lower proxy.lr and proxy.critic_lr"
            )
        genotype, alphas = self.genotype(), self.model.alphas()
        known = {"distance": distances[-1], "best_distance": min(distances)}
        self.metrics = {key: value for key, value in known.items() if math.isfinite(value)}
        self.metrics |= decidedness(alphas, genotype)
        if record:
            weights = {name: softmax(row) for name, row in alphas.items()}
            self.history.append({"step": self.step, **self.metrics, "genotype": str(genotype), "alphas": weights})

    def genotype(self) -> Genotype:
        """Return the best network by what is known now."""
        return self.model.limited.genotype(self.model.best())

    def progress(self) -> Progress:
        """Return where the loop stands."""
        return Progress("search", self.step, self.steps, dict(self.metrics), self.state)

    def result(self) -> SearchResult:
        """Return what was found."""
        genotype, alphas = self.genotype(), self.model.alphas()
        decided = decidedness(alphas, genotype)
        return SearchResult(genotype, alphas, self.history, verdict(decided, self.config), self.state())

    def state(self) -> State:
        """Return a checkpoint from which the search goes on exactly."""
        return State(
            {"distances": torch.tensor([distance for _, distance in self.model.tried], dtype=torch.float64)},
            {
                "choices": [list(choice) for choice, _ in self.model.tried],
                "history": list(self.history),
                "identity": self._identity,
            },
        )

    def restore(self, state: State) -> None:
        """Go on from ``state``.

        Raises:
            CheckpointError: Where it is of another search, naming the first setting that differs.
        """
        require_same(self._identity, state.meta.get("identity"))
        distances = state.tensors["distances"].tolist()
        self.model.tried = list(zip(map(tuple, state.meta["choices"]), distances, strict=True))
        self.step = len(self.model.tried)
        self.history = list(state.meta["history"])
