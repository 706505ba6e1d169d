"""The search by single networks: each is tried briefly, and what is learnt of its operations says which is next.

The mixed search asks which operations rebuild the images best while all of them share the work; an adversarial training
may need others. Here whoever calls the search tries a network as it will be trained, only shorter, and says how far
its samples are from the real images.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from degas_ray.checkpoint import State
from degas_ray.config import PruneConfig, SearchConfig
from degas_ray.data import Pack
from degas_ray.errors import DivergedError
from degas_ray.loop import Progress
from degas_ray.search.explain import verdict
from degas_ray.search.paths import PathModel
from degas_ray.search.prune import decidedness, softmax
from degas_ray.search.result import SearchResult, require_same, search_identity
from degas_ray.search.slots import Choice
from degas_ray.space import Genotype, Space

Try = Callable[[Genotype, int], float]
"""Tries a network with a seed and returns how far its samples are from the real images: smaller is better, and a number
that is not finite says that it failed."""


class SampledSearcher:
    """A search by single networks that can be advanced network by network, snapshotted and restored.

    Args:
        config: ``networks`` is the number of steps.
        pack: Images.
        seed: Of proposals and tries. Networks share it, so that they differ by their operations alone; one that comes
            again has another.
        pruning: Recorded; what is kept is decided by the model of the networks.
        attempt: Tries a network.
    """

    def __init__(self, config: SearchConfig, pack: Pack, seed: int, pruning: PruneConfig, attempt: Try) -> None:
        self.config, self.seed, self.attempt = config, seed, attempt
        self.steps, self.step = config.networks, 0
        space = Space(config.n, config.normal_ops, config.upsample_ops)
        self.model = PathModel(
            space, width=config.width, base=pack.resolution // 8, price=config.cost, limit=config.cost_limit
        )
        self.history: list[dict[str, Any]] = []
        self.metrics: dict[str, float] = {}
        self._identity = search_identity(config, pruning, pack, seed)

    def advance(self) -> None:
        """Try one network."""
        choice = self._proposal()
        again = sum(tried == choice for tried, _ in self.model.tried)
        distance = self.attempt(self.model.genotype(choice), self.seed + again)
        self.model.observe(choice, distance if math.isfinite(distance) else math.inf)
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
        return self.model.genotype(self.model.best())

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

    def _proposal(self) -> Choice:
        """Return the next network: random ones first, then those that may be the best."""
        draw = np.random.default_rng([self.seed, self.step])
        return self.model.random(draw) if self.step < self.config.warmup * self.steps else self.model.propose(draw)
