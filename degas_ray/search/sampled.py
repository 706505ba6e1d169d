"""The search by single networks: each is rebuilt alone for a few steps and judged by the samples that it makes.

The mixed search asks which operations rebuild the images best while all of them share the work. That is not what an
adversarial training needs: it prefers other networks (docs/evidence.md). What it does prefer shows in images that a
network makes from latents of no image at all, once it has learnt a little, without a critic.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from degas_ray import checkpoint
from degas_ray.checkpoint import State
from degas_ray.config import PruneConfig, SearchConfig
from degas_ray.data import Batches, Pack
from degas_ray.errors import DivergedError, InputError
from degas_ray.loop import Progress, keep_memory, pick_device
from degas_ray.search.explain import verdict
from degas_ray.search.glo import project, reconstruction_loss, start_latents
from degas_ray.search.paths import Choice, PathModel
from degas_ray.search.prune import decidedness, softmax
from degas_ray.search.result import SearchResult, build_optimizer, identity, require_same
from degas_ray.space import Generator, Genotype, Space

Distance = Callable[[Iterable[Tensor]], float]
"""How far images [N, 3, R, R] in [-1, 1] are from the real ones; smaller is better."""
SAMPLE_BATCH = 100
LEAST_SUBSET = 4096  # images among which a network learns, where there are as many


class SampledSearcher:
    """A search by single networks that can be advanced step by step, snapshotted and restored.

    Args:
        config: ``steps`` of all networks together, ``rebuild_steps`` of one.
        pack: Images.
        seed: Of weights, order of images, samples and proposals. All networks have the same, and differ by their
            operations alone.
        pruning: Recorded; what is kept is decided by the model of the networks.
        distance: The judge of samples.
    """

    def __init__(self, config: SearchConfig, pack: Pack, seed: int, pruning: PruneConfig, distance: Distance) -> None:
        self.config, self.seed, self.distance = config, seed, distance
        self.device = pick_device(config.device)
        keep_memory()
        total = config.steps or max(1, round(config.epochs * (len(pack) // config.batch)))
        self.length = min(total, config.rebuild_steps)
        self.networks = total // self.length
        self.steps, self.step = self.networks * self.length, 0
        space = Space(config.n, config.normal_ops, config.upsample_ops)
        self.model = PathModel(
            space, width=config.width, base=pack.resolution // 8, price=config.cost, limit=config.cost_limit
        )
        self.pack, self.subset = pack, _subset(pack, max(LEAST_SUBSET, self.length * config.batch), seed)
        latents = start_latents(pack.images[self.subset], config.latent_dim, config.latent_start, seed)
        self.latents = torch.zeros(len(pack), config.latent_dim)
        self.latents[torch.from_numpy(self.subset)] = latents
        self.latents = self.latents.to(self.device)
        self.mean, self.spread = _gaussian_of(latents)
        self.history: list[dict[str, Any]] = []
        self.metrics: dict[str, float] = {}
        self.loss, self.counted = torch.zeros((), device=self.device), 0
        self._identity = identity(config, pruning, pack, seed)
        self._begin(self._proposal())

    def advance(self) -> None:
        """Take one step with the current network; after its last one judge it and take up the next."""
        batch = self.batches.next()
        made = self.generator(self.latents[batch.indices])
        loss = reconstruction_loss(made, batch.images, self.config.lap1_share, self.config.lap1_levels).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.generator.parameters(), self.config.clip)
        done = self.step % self.length
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * (1 - done / self.length)
        self.optimizer.step()
        self.loss += loss.detach()
        self.counted += 1
        self.step += 1
        if done + 1 == self.length:
            self.model.observe(self.choice, self._judged())
            if self.step < self.steps:
                self._begin(self._proposal())

    def report(self, *, record: bool) -> None:
        """Take stock: the loss since the last report, the distances so far, the genotype of now.

        Raises:
            DivergedError: For a non-finite loss or distance.
        """
        loss = float(self.loss) / max(1, self.counted)
        distances = [distance for _, distance in self.model.tried]
        if not np.isfinite([loss, *distances]).all():
            raise DivergedError(
                f"a network that was rebuilt by itself diverged by step {self.step} of the search; lower search.lr"
            )
        genotype, alphas = self.genotype(), self.model.alphas()
        self.metrics = {"loss": loss, **decidedness(alphas, genotype), "networks": float(len(distances))}
        if distances:
            self.metrics |= {"distance": distances[-1], "best_distance": min(distances)}
        if record:
            weights = {name: softmax(row) for name, row in alphas.items()}
            self.history.append({"step": self.step, **self.metrics, "genotype": str(genotype), "alphas": weights})
            self.loss.zero_()
            self.counted = 0

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
        return SearchResult(genotype, alphas, self.history, decided, verdict(decided, self.config), self.state())

    def state(self) -> State:
        """Return a checkpoint from which the search goes on exactly."""
        return checkpoint.merge(
            [
                State({"loss": self.loss.clone()}, {"position": self.batches.position}),
                checkpoint.flatten_module(self.generator, "generator"),
                checkpoint.flatten_optimizer(self.optimizer, "optimizer"),
            ],
            step=self.step,
            counted=self.counted,
            history=list(self.history),
            identity=self._identity,
            choice=list(self.choice),
            tried=[[list(choice), distance] for choice, distance in self.model.tried],
        )

    def restore(self, state: State) -> None:
        """Go on from ``state``.

        Raises:
            CheckpointError: Where it is of another search, naming the first setting that differs.
        """
        require_same(self._identity, state.meta.get("identity"))
        self.model.tried = [(tuple(choice), distance) for choice, distance in state.meta["tried"]]
        self._begin(tuple(state.meta["choice"]))
        checkpoint.restore_module(self.generator, state, "generator")
        checkpoint.restore_optimizer(self.optimizer, state, "optimizer")
        self.batches.seek(state.meta["position"])
        self.loss.copy_(state.tensors["loss"])
        self.step, self.counted = state.meta["step"], state.meta["counted"]
        self.history = list(state.meta["history"])

    def _proposal(self) -> Choice:
        """Return the next network: random ones first, then those that may be the best."""
        number = len(self.model.tried)
        draw = np.random.default_rng([self.seed, number])
        return self.model.random(draw) if number < self.config.warmup * self.networks else self.model.propose(draw)

    def _begin(self, choice: Choice) -> None:
        self.choice = choice
        # A network that is tried again gets other weights, or nothing would be learnt of it.
        again = sum(tried == choice for tried, _ in self.model.tried)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + again)
            generator = Generator(
                self.model.genotype(choice),
                width=self.config.width,
                latent_dim=self.config.latent_dim,
                resolution=self.pack.resolution,
            )
        self.generator = generator.to(self.device).to(memory_format=torch.channels_last).train()
        self.optimizer = build_optimizer(list(self.generator.parameters()), self.config)
        self.batches = Batches(self.pack, self.config.batch, self.seed + again, indices=self.subset, device=self.device)

    def _judged(self) -> float:
        return self.distance(self._samples())

    def _samples(self) -> Iterator[Tensor]:
        """Yield images made from new latents, drawn from the Gaussian that fits those of the images (GLO's way)."""
        draw = torch.Generator().manual_seed(self.seed)
        for start in range(0, self.config.samples, SAMPLE_BATCH):
            count = min(SAMPLE_BATCH, self.config.samples - start)
            noise = torch.randn(SAMPLE_BATCH, self.config.latent_dim, generator=draw)
            with torch.no_grad():
                yield self.generator(project(self.mean + noise @ self.spread.T).to(self.device))[:count]


def _subset(pack: Pack, count: int, seed: int) -> np.ndarray[Any, Any]:
    if len(pack) < 2:
        raise InputError(f"{pack.name} has {len(pack)} images, which are too few to search with")
    return np.sort(np.random.default_rng([seed, len(pack)]).permutation(len(pack))[:count])


def _gaussian_of(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean [D] and a root [D, D] of the covariance of latents [N, D]."""
    mean = latents.mean(0)
    centred = (latents - mean).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(latents))
    return mean, (vectors * values.clamp_min(0).sqrt()).float()
