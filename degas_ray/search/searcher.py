"""The alternating loop (paper 3.2): one step on latents and weights, then one step on the alphas."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from degas_ray import checkpoint
from degas_ray.checkpoint import State
from degas_ray.config import PruneConfig, SearchConfig
from degas_ray.data import Batches, Pack
from degas_ray.errors import DivergedError, InputError, Interrupted
from degas_ray.loop import OnProgress, Progress, ShouldStop, keep_memory, log_every, pick_device
from degas_ray.precision import fixed
from degas_ray.search.choices import Alphas, decidedness, limited_space, prune, softmax
from degas_ray.search.glo import project, reconstruction_loss, start_latents
from degas_ray.search.result import SearchResult, build_optimizer, require_same, search_identity, verdict
from degas_ray.search.sampled import SampledSearcher, Try
from degas_ray.search.supernet import Supernet, accelerate
from degas_ray.space import Genotype, Space
from degas_ray.space.operations import operation_macs

EPSILON = 0.01  # DARTS's length of the finite difference, over the norm of the gradient


def search(
    config: SearchConfig,
    pack: Pack,
    *,
    seed: int,
    pruning: PruneConfig | None = None,
    attempt: Try | None = None,
    resume: State | None = None,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
) -> SearchResult:
    """Search a generator for the images of ``pack``.

    On the CPU the result depends on the arguments and the number of threads alone, and a search that was stopped and
    resumed equals an uninterrupted one bit for bit.

    Args:
        pack: Images; labels are not used.
        seed: Of weights, alphas, latents, the split and the order of images.
        pruning: How alphas become a genotype.
        attempt: Tries a single network, where ``config.paths`` is ``sampled``.
        resume: What ``Progress.state()`` gave, to go on from there.
        on_progress: Told every :func:`~degas_ray.loop.log_every` steps, at the end, and before an interruption.
        should_stop: Asked after each step.

    Raises:
        InputError: Where images and settings do not fit together, or ``attempt`` is missing.
        CheckpointError: Where ``resume`` is of another search.
        DivergedError: When the loss becomes non-finite, with the step.
        Interrupted: When ``should_stop`` said so.
    """
    pruning = pruning or PruneConfig()
    loop: Searcher | SampledSearcher
    if config.paths == "mixed":
        loop = Searcher(config, pack, seed, pruning)
    elif attempt is not None:
        loop = SampledSearcher(config, pack, seed, pruning, attempt)
    else:
        raise InputError("search.paths = sampled tries networks: give search() an attempt, or set search.paths=mixed")
    if resume is not None:
        loop.restore(resume)
    every = log_every(loop.steps)
    while loop.step < loop.steps:
        loop.advance()
        stop = should_stop is not None and should_stop()
        if loop.step % every == 0 or loop.step == loop.steps or stop:
            loop.report(record=loop.step % every == 0 or loop.step == loop.steps)
            if on_progress is not None:
                on_progress(loop.progress())
        if stop and loop.step < loop.steps:
            raise Interrupted(f"the search was stopped at step {loop.step} of {loop.steps}")
    return loop.result()


class Searcher:
    """A search that can be advanced step by step, snapshotted and restored."""

    def __init__(self, config: SearchConfig, pack: Pack, seed: int, pruning: PruneConfig) -> None:
        self.config, self.pruning, self.seed = config, pruning, seed
        self.device = pick_device(config.device)
        keep_memory()
        self.space = Space(config.n, config.normal_ops, config.upsample_ops)
        weight_half, alpha_half = _halves(len(pack), config, seed)
        self.steps = config.steps or max(1, round(config.epochs * (len(weight_half) // config.batch)))
        self.step = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            supernet = Supernet(
                width=config.width,
                latent_dim=config.latent_dim,
                resolution=pack.resolution,
                mixed=config.mixed,
                space=self.space,
            )
        self.supernet = supernet.to(self.device)
        precision = fixed(config.precision, "search.precision")
        self.forward = accelerate(self.supernet, config.compile, precision, self.steps)
        self.latents = start_latents(pack.images, config.latent_dim, config.latent_start, seed).to(self.device)
        self.weight_batches = Batches(pack, config.batch, seed, indices=weight_half, device=self.device)
        self.alpha_batches = Batches(pack, config.batch, seed + 1, indices=alpha_half, device=self.device)
        self.weights = list(self.supernet.weights())
        self.alphas = list(self.supernet.alphas.values())
        self.weight_optimizer = build_optimizer(self.weights, config)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.weight_optimizer, self.steps, min(config.lr_min, config.lr)
        )
        self.alpha_optimizer = torch.optim.Adam(
            self.alphas, config.alpha_lr, betas=config.alpha_betas, weight_decay=config.alpha_weight_decay
        )
        self.costs = _costs(self.space, config, self.supernet.base, self.device)
        self.limited = limited_space(config, self.supernet.base)
        self.losses = torch.zeros(2, device=self.device)  # of weights and alphas, summed since the last report
        self.counted = 0
        self.history: list[dict[str, Any]] = []
        self.metrics: dict[str, float] = {}
        self._identity = search_identity(config, pruning, pack, seed)

    def advance(self) -> None:
        """Take one step of both kinds."""
        train = self.weight_batches.next()
        z = self.latents[train.indices].requires_grad_()
        if self.config.order == "second" and self.alphas_move:
            self._alpha_step(unrolled_on=(z.detach(), train.images))
            self._weight_step(train.indices, z, train.images)
        else:
            self._weight_step(train.indices, z, train.images)
            self._alpha_step()
        self.step += 1
        self.counted += 1

    @property
    def alphas_move(self) -> bool:
        """Whether the warm-up is over."""
        return self.step >= self.config.warmup * self.steps

    def _weight_step(self, indices: Tensor, z: Tensor, images: Tensor) -> None:
        loss = self._loss(z, images, detached=True)
        *gradients, z_gradient = torch.autograd.grad(loss, [*self.weights, z])
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        nn.utils.clip_grad_norm_(self.weights, self.config.clip)
        self.weight_optimizer.step()
        self.schedule.step()
        self._move_latents(indices, z, z_gradient)
        self.losses[0] += loss.detach()

    def _alpha_step(self, unrolled_on: tuple[Tensor, Tensor] | None = None) -> None:
        """Move the alphas and the latents of their own half of the images, which nothing else would fit to them."""
        batch = self.alpha_batches.next()
        z = self.latents[batch.indices].requires_grad_()
        moving = self.alphas_move
        if unrolled_on is not None:
            loss, gradients, z_gradient = self._unrolled(unrolled_on, z, batch.images)
        else:
            loss = self._loss(z, batch.images, detached=not moving)
            *gradients, z_gradient = torch.autograd.grad(loss, [*self.alphas, z] if moving else [z])
        if moving:
            for alpha, gradient in zip(self.alphas, gradients, strict=True):
                alpha.grad = gradient
            if self.config.cost_penalty or self.config.entropy_penalty:
                self._penalty().backward()
            self.alpha_optimizer.step()
        self._move_latents(batch.indices, z, z_gradient)
        self.losses[1] += loss.detach()

    def _unrolled(self, train: tuple[Tensor, Tensor], z: Tensor, images: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Return the loss after one look-ahead step of the weights, and its gradients (DARTS eq. 7 and 8)."""
        rate = self.weight_optimizer.param_groups[0]["lr"]
        before = [weight.detach().clone() for weight in self.weights]
        gradients = torch.autograd.grad(self._loss(*train, detached=True), self.weights)
        with torch.no_grad():
            for weight, gradient in zip(self.weights, gradients, strict=True):
                buffer = self.weight_optimizer.state[weight].get("momentum_buffer")
                pull = gradient + self.config.weight_decay * weight
                weight.sub_(rate * (pull if buffer is None else pull + self.config.momentum * buffer))
        loss = self._loss(z, images)
        taken = torch.autograd.grad(loss, [*self.alphas, *self.weights, z])
        direct, ahead, z_gradient = taken[: len(self.alphas)], taken[len(self.alphas) : -1], taken[-1]
        epsilon = EPSILON / torch.sqrt(sum((g.square().sum() for g in ahead), start=torch.zeros(()))).clamp_min(1e-12)
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                for weight, old, gradient in zip(self.weights, before, ahead, strict=True):
                    weight.copy_(old + sign * epsilon * gradient)
            sides.append(torch.autograd.grad(self._loss(*train), self.alphas))
        with torch.no_grad():
            for weight, old in zip(self.weights, before, strict=True):
                weight.copy_(old)
        implicit = [(plus - minus) / (2 * epsilon) for plus, minus in zip(*sides, strict=True)]
        return loss, [d - rate * i for d, i in zip(direct, implicit, strict=True)], z_gradient

    def _loss(self, z: Tensor, images: Tensor, detached: bool = False) -> Tensor:
        """Return the mean loss; ``detached`` leaves the alphas out of the graph, which spares their gradients."""
        weights = self.supernet.op_weights()
        if detached:
            weights = {name: {op: w.detach() for op, w in row.items()} for name, row in weights.items()}
        made = self.forward(z, weights)
        return reconstruction_loss(made, images, self.config.lap1_share, self.config.lap1_levels).mean()

    def _move_latents(self, indices: Tensor, z: Tensor, gradient: Tensor) -> None:
        """Step along the gradient of the summed loss; only the rows of this batch are touched."""
        with torch.no_grad():
            self.latents[indices] = project(z - self.config.latent_lr * len(z) * gradient)

    def _penalty(self) -> Tensor:
        """Return what is added to the loss of the alphas.

        The cost expected under softmax(alpha), as a share of the most expensive choice, and the mean entropy
        of softmax(alpha), as a share of the uniform one, whose weight rises from nothing at the end of the warm-up.
        """
        weights = [torch.softmax(alpha, 0) for alpha in self.alphas]
        spent = sum((w @ cost for w, cost in zip(weights, self.costs, strict=True)), start=torch.zeros(()))
        cost = spent / sum(float(c.max()) for c in self.costs)
        entropy = torch.stack([torch.special.entr(w).sum() / math.log(max(2, len(w))) for w in weights]).mean()
        begin = self.config.warmup * self.steps
        ramp = (self.step - begin) / max(1.0, self.steps - begin)
        return self.config.cost_penalty * cost + self.config.entropy_penalty * ramp * entropy

    def prune(self, alphas: Alphas) -> Genotype:
        """Return the genotype of ``alphas``, as small as it may be."""
        return prune(alphas, self.space, self.pruning.compare, self.limited.slots, self.limited.limit)

    def raw_alphas(self) -> dict[str, dict[str, float]]:
        """Return alphas by connection and operation."""
        values = {name: alpha.tolist() for name, alpha in self.supernet.alphas.items()}
        return {
            c.name: dict(zip(self.space.operations(c), values[c.name], strict=True)) for c in self.space.connections
        }

    def report(self, *, record: bool) -> None:
        """Take stock: losses since the last report, decidedness, the genotype of now.

        Raises:
            DivergedError: For a non-finite loss.
        """
        weight_loss, alpha_loss = (self.losses / max(1, self.counted)).tolist()
        if not np.isfinite(weight_loss + alpha_loss):
            raise DivergedError(
                f"the search's loss became non-finite by step {self.step}; lower search.lr or search.latent_lr"
            )
        alphas = self.raw_alphas()
        genotype = self.prune(alphas)
        decided = decidedness(alphas, genotype)
        self.metrics = {"loss": weight_loss, "alpha_loss": alpha_loss, **decided}
        if record:
            weights = {name: softmax(row) for name, row in alphas.items()}
            self.history.append({"step": self.step, **self.metrics, "genotype": str(genotype), "alphas": weights})
            self.losses.zero_()
            self.counted = 0

    def progress(self) -> Progress:
        """Return where the loop stands."""
        return Progress("search", self.step, self.steps, dict(self.metrics), self.state)

    def result(self) -> SearchResult:
        """Return what was found."""
        alphas = self.raw_alphas()
        best = max(self.history, key=lambda row: row["margin"]) if self.pruning.pick == "best-margin" else None
        genotype = Genotype.parse(best["genotype"]) if best else self.prune(alphas)
        decided = decidedness(alphas, self.prune(alphas))
        return SearchResult(genotype, alphas, self.history, verdict(decided, self.config), self.state())

    def state(self) -> State:
        """Return a checkpoint from which the search goes on exactly."""
        own = State(
            {"latents": self.latents.clone(), "losses": self.losses.clone()},
            {"weight_position": self.weight_batches.position, "alpha_position": self.alpha_batches.position},
        )
        return checkpoint.merge(
            [
                own,
                checkpoint.flatten_module(self.supernet, "supernet"),
                checkpoint.flatten_optimizer(self.weight_optimizer, "weight_optimizer"),
                checkpoint.flatten_optimizer(self.alpha_optimizer, "alpha_optimizer"),
            ],
            step=self.step,
            counted=self.counted,
            history=list(self.history),
            identity=self._identity,
            schedule=self.schedule.state_dict(),
        )

    def restore(self, state: State) -> None:
        """Go on from ``state``.

        Raises:
            CheckpointError: Where it is of another search, naming the first setting that differs.
        """
        require_same(self._identity, state.meta.get("identity"))
        checkpoint.restore_module(self.supernet, state, "supernet")
        checkpoint.restore_optimizer(self.weight_optimizer, state, "weight_optimizer")
        checkpoint.restore_optimizer(self.alpha_optimizer, state, "alpha_optimizer")
        self.latents.copy_(state.tensors["latents"])
        self.losses.copy_(state.tensors["losses"])
        self.schedule.load_state_dict(state.meta["schedule"])
        self.weight_batches.seek(state.meta["weight_position"])
        self.alpha_batches.seek(state.meta["alpha_position"])
        self.step, self.counted = state.meta["step"], state.meta["counted"]
        self.history = list(state.meta["history"])


def _halves(count: int, config: SearchConfig, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the images of the weights and those of the alphas: two halves, or all twice."""
    order = np.random.default_rng([seed, count]).permutation(count)
    halves = (order, order) if config.arch_data == "same" else (order[: (count + 1) // 2], order[(count + 1) // 2 :])
    if min(len(half) for half in halves) < config.batch:
        raise InputError(
            f"{count} images are too few: with search.arch_data = {config.arch_data} each step needs "
            f"{config.batch} of {min(len(half) for half in halves)}; set search.batch lower or use more images"
        )
    return halves


def _costs(space: Space, config: SearchConfig, base: int, device: torch.device) -> list[Tensor]:
    """Return the cost of every connection's operations, in the order of its alphas."""
    sizes, costs = {"U0": base}, []
    for connection in space.connections:
        size, stride = sizes[connection.source], connection.stride
        sizes[connection.target] = size * stride
        # An operation has as many weights, normalisation left out, as multiply-adds on a map of one pixel.
        place = (stride, size) if config.cost == "macs" else (1, 1)
        row = [operation_macs(op, config.width, *place) for op in space.operations(connection)]
        costs.append(torch.tensor(row, dtype=torch.float32, device=device))
    return costs
