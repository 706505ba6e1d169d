"""The adversarial loop: critic steps, a generator step, moving rates; it knows no tracker and can stop at any step."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from degas_ray import checkpoint
from degas_ray.checkpoint import State
from degas_ray.config import TrainConfig, identity
from degas_ray.data import Batches, Pack
from degas_ray.errors import CheckpointError, DivergedError, InputError, Interrupted
from degas_ray.gan.build import build_critic
from degas_ray.gan.collapse import CollapseWatch, diversity
from degas_ray.gan.frameworks import FRAMEWORKS, Batch, Fakes, Terms
from degas_ray.gan.group import Group
from degas_ray.loop import OnProgress, Progress, ShouldStop, keep_memory, log_every, pick_device
from degas_ray.precision import fixed
from degas_ray.space.operations import ConditionalBatchNorm2d

Parameters = list[nn.Parameter]


def build_adam(module: nn.Module, rate: float, config: TrainConfig) -> torch.optim.Adam:
    """Return Adam over a network's weights; scales and shifts of single classes are a parameter group of their own."""
    labelled = [m for m in module.modules() if isinstance(m, ConditionalBatchNorm2d)]
    classes = [p for norm in labelled for p in (norm.scale, norm.shift)]
    known = {id(parameter) for parameter in classes}
    groups: list[Parameters] = [[p for p in module.parameters() if id(p) not in known], classes]
    adam = torch.optim.Adam([{"params": group} for group in groups if group], rate, betas=config.betas, fused=True)
    set_rate(adam, rate, config)
    return adam


def at_step(config: TrainConfig, step: int) -> TrainConfig:
    """Return the settings of one step: those with an end have moved towards it, by the shape that ``decay`` names.

    Args:
        step: Generator steps done, less than ``config.steps``.
    """
    if config.decay == "none":
        return config
    done = step / config.steps
    if config.decay == "cosine":
        done = (1 - math.cos(math.pi * done)) / 2
    rate = 1 - done * (1 - config.decay_to)
    gamma_end = config.gamma if config.gamma_end is None else config.gamma_end
    beta1, beta2 = config.betas
    beta2_end = beta2 if config.beta2_end is None else config.beta2_end
    now = {
        "lr": config.lr * rate,
        "critic_lr": config.critic_lr * rate,
        "gamma": config.gamma + done * (gamma_end - config.gamma),
        "betas": (beta1, beta2 + done * (beta2_end - beta2)),
    }
    return config.model_copy(update=now)


def set_rate(adam: torch.optim.Adam, rate: float, config: TrainConfig) -> None:
    """Set rate and betas of the next step; per-class scales and shifts learn at ``label_rate`` times the rate."""
    for group, share in zip(adam.param_groups, (1.0, config.label_rate), strict=False):
        group["lr"], group["betas"] = rate * share, config.betas


def parameters_of(adam: torch.optim.Adam) -> Parameters:
    """Return all that is trained."""
    return [parameter for group in adam.param_groups for parameter in group["params"]]


@dataclass(frozen=True)
class TrainResult:
    """What a training made.

    Args:
        generator: Trained, in evaluation mode.
        averaged: The copy with averaged weights, where ``ema`` is on.
        history: A row of metrics for each report, with its ``step``.
        outcome: ``collapsed`` if the images had become copies of a few at the end.
        collapsed_at: The step at which that began.
    """

    generator: nn.Module
    averaged: nn.Module | None
    history: list[dict[str, float]]
    outcome: Literal["completed", "collapsed"]
    collapsed_at: int | None


def train(
    config: TrainConfig,
    generator: nn.Module,
    pack: Pack,
    *,
    seed: int,
    group: Group | None = None,
    resume: State | None = None,
    begin: State | None = None,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
) -> TrainResult:
    """Train ``generator`` against a critic on the images of ``pack``.

    On the CPU the result depends on the arguments and the number of threads alone, and a training that was stopped and
    resumed with as many threads equals an uninterrupted one bit for bit.

    Args:
        generator: From :func:`build_generator`; trained in place.
        pack: Real images, of the generator's resolution; its labels count if the generator is conditional.
        seed: Of the critic's weights and of every draw.
        group: The workers that share each batch, all of which call this with the same arguments; they end with the same
            generator, that of one worker but for rounding.
        resume: What ``Progress.state()`` gave, to go on from there.
        begin: What it gave in another training of the same networks; its weights, its optimisers and its steps are the
            beginning of this one, which has rates and draws of its own.
        on_progress: Told every :func:`log_every` steps, at the end, and before an interruption.
        should_stop: Asked after each generator step.

    Raises:
        InputError: Where generator, images and settings do not fit together.
        CheckpointError: Where ``resume`` is of another training.
        DivergedError: When a loss becomes non-finite, with the step.
        Interrupted: When ``should_stop`` said so.

    Example:
        >>> from degas_ray.gan import build_generator, train  # doctest: +SKIP
        >>> train(config, build_generator("degas-cifar10", config, 16), pack, seed=0).outcome  # doctest: +SKIP
        'completed'
    """
    _check(config, generator, pack)
    loop = Trainer(config, generator, pack, seed, group)
    if resume is not None:
        loop.restore(resume)
    elif begin is not None:
        loop.take_over(begin)
    while loop.step < config.steps:
        loop.advance()
        stop = loop.group.any(should_stop is not None and should_stop(), loop.device) and loop.step < config.steps
        due = loop.step % log_every(config.steps) == 0 or loop.step == config.steps
        if due or stop:
            # A row for an interruption would tell a resumed history from an uninterrupted one.
            metrics = loop.report() if due else loop.metrics()
            if on_progress is not None:
                on_progress(Progress("train", loop.step, config.steps, metrics, loop.state))
        if stop:
            raise Interrupted(f"stopped after generator step {loop.step} of {config.steps}; it can be resumed")
    generator.eval()
    collapsed_at = loop.watch.collapsed_at
    outcome: Literal["completed", "collapsed"] = "completed" if collapsed_at is None else "collapsed"
    return TrainResult(generator, loop.averaged, loop.history, outcome, collapsed_at)


def _check(config: TrainConfig, generator: nn.Module, pack: Pack) -> None:
    fixed(config.precision, "precision")
    if generator.resolution != pack.resolution:
        raise InputError(
            f"the generator makes {generator.resolution}x{generator.resolution} images and {pack.name} holds "
            f"{pack.resolution}x{pack.resolution} ones; use --resolution {pack.resolution}"
        )
    classes = generator.num_classes
    if classes and (pack.labels is None or len(pack.classes) != classes):
        have = len(pack.classes) if pack.labels is not None else "no"
        raise InputError(
            f"the generator is conditional on {classes} classes and {pack.name} has {have} labelled ones; "
            "build it for this pack, or leave --supervised out"
        )
    if config.supervised and not classes:
        raise InputError(
            "supervised: got a generator without classes, expected a conditional one; "
            "build it with num_classes=len(pack.classes)"
        )


class Trainer:
    """The state of one training, advanced a generator step at a time; :func:`train` drives it."""

    def __init__(
        self, config: TrainConfig, generator: nn.Module, pack: Pack, seed: int, group: Group | None = None
    ) -> None:
        self.config, self.generator, self.seed, self.group = config, generator, seed, group or Group()
        self.group.check(batch=config.batch, generator_batch=config.generator_batch)
        self.device = pick_device(config.device)
        keep_memory()
        self.framework = FRAMEWORKS[config.framework]
        self._critic_loss = self._compiled(self.framework.critic_loss)
        self._generator_loss = self._compiled(self.framework.generator_loss)
        self._images = self._compiled(generator)
        self.classes: int = generator.num_classes  # type: ignore[assignment]
        generator.to(self.device).to(memory_format=torch.channels_last).train()
        self.critic = build_critic(config, pack.resolution, self.classes, seed=seed)
        self.critic.to(self.device).to(memory_format=torch.channels_last).train()
        self.averaged = copy.deepcopy(generator).eval().requires_grad_(False) if config.ema else None
        self.noise = self.group.noise(self.device, seed)
        self.batches = Batches(pack, config.batch, seed, device=self.device, dequantise=True)
        self.generator_adam = build_adam(generator, config.lr, config)
        self.critic_adam = build_adam(self.critic, config.critic_lr, config)
        self.step = 0
        self.now = config  # the settings of this step
        self.history: list[dict[str, float]] = []
        self.watch = CollapseWatch()
        self._fingerprint = pack.fingerprint
        self._terms: dict[str, Tensor] = {}
        self._losses: dict[str, Tensor] = {}
        self._real = self._fake = torch.empty(0)
        self._labels: Tensor | None = None
        # The first step whose loss was not finite, kept on the device so that a GPU is not made to wait.
        self._bad = torch.tensor(-1, device=self.device)

    def advance(self) -> None:
        """Run the critic's steps and one generator step, at this step's rates."""
        self.now = at_step(self.config, self.step)
        set_rate(self.generator_adam, self.now.lr, self.now)
        set_rate(self.critic_adam, self.now.critic_lr, self.now)
        if self.config.compile == "on":
            torch.compiler.cudagraph_mark_step_begin()
        for _ in range(self.config.critic_steps):
            self._critic_step()
        self._generator_step()
        self.step += 1
        if self.averaged is not None:
            self._average(self.averaged)
        if self.device.type == "cpu":
            self._guard()

    def report(self) -> dict[str, float]:
        """Return this step's metrics, add them to the history and look for collapse."""
        metrics = self.metrics()
        self.watch.see(self.step, metrics["diversity"])
        self.history.append({"step": self.step, **metrics})
        return metrics

    def metrics(self) -> dict[str, float]:
        """Return this step's losses, their terms, the diversity of the images and the rate."""
        self._guard()
        real, fake = self.group.gather(self._real), self.group.gather(self._fake)
        count = min(len(real), len(fake))
        various = diversity(self.critic, real[:count], fake[:count]) if count > 1 else 1.0
        values = {**self._losses, **self._terms}
        metrics = {name: float(value) for name, value in values.items()}
        return metrics | {"diversity": various, "lr": self.generator_adam.param_groups[0]["lr"]}

    def state(self) -> State:
        """Return a copy of everything from which the training goes on exactly."""
        parts = [
            checkpoint.flatten_module(self.generator, "generator"),
            checkpoint.flatten_module(self.critic, "critic"),
            checkpoint.flatten_optimizer(self.generator_adam, "generator_adam"),
            checkpoint.flatten_optimizer(self.critic_adam, "critic_adam"),
            checkpoint.rng_state(noise=self.noise),
        ]
        if self.averaged is not None:
            parts.append(checkpoint.flatten_module(self.averaged, "averaged"))
        return checkpoint.merge(
            parts,
            step=self.step,
            history=copy.deepcopy(self.history),
            watch={"since": self.watch.since, "reports": self.watch.reports},
            sampler=self.batches.position,
            settings=self._settings(),
        )

    def restore(self, state: State) -> None:
        """Go on from ``state``.

        Raises:
            CheckpointError: Where it belongs to other settings, images or another generator.
        """
        found, own = state.meta.get("settings"), self._settings()
        if not isinstance(found, Mapping):
            raise CheckpointError("this is no checkpoint of a training; give one that degas-ray train wrote")
        differing = sorted(key for key in own.keys() | found.keys() if own.get(key) != found.get(key))
        if differing:
            key = differing[0]
            raise CheckpointError(
                f"the checkpoint was written with {key}={found.get(key)}, this training has {key}={own.get(key)}; "
                "resume with the settings that it was written with"
            )
        self.take_over(state)
        checkpoint.restore_rng(state, noise=self.noise)
        self.batches.seek(state.meta["sampler"])
        self.history = list(state.meta["history"])
        self.watch = CollapseWatch(**state.meta["watch"])

    def take_over(self, state: State) -> None:
        """Begin with the weights, the optimisers and the number of steps of ``state``, and with nothing else of it.

        Raises:
            CheckpointError: Where its networks are other ones.
        """
        checkpoint.restore_module(self.generator, state, "generator")
        checkpoint.restore_module(self.critic, state, "critic")
        if self.averaged is not None:
            checkpoint.restore_module(self.averaged, state, "averaged")
        checkpoint.restore_optimizer(self.generator_adam, state, "generator_adam")
        checkpoint.restore_optimizer(self.critic_adam, state, "critic_adam")
        self.step = state.meta["step"]

    def _critic_step(self) -> None:
        batch = self.batches.next()
        real = self.group.own(batch.images).contiguous(memory_format=torch.channels_last)
        labels = self.group.own(batch.labels) if self.classes and batch.labels is not None else None
        with torch.no_grad(), self._autocast():
            fake = self._generate(self.config.batch, labels)
        gamma = None if self.config.gamma_end is None else torch.tensor(self.now.gamma, device=self.device)
        with self._autocast():
            terms = self._critic_loss(self.critic, Batch(real, fake, labels, gamma), self.config, self.noise)
        self._descend("critic_loss", terms, self.critic_adam)
        self._real, self._labels = real, labels

    def _generator_step(self) -> None:
        count, labels, real = self.config.generator_batch, None, None
        if self.framework.pairs:
            partners = torch.arange(count // self.group.workers, device=self.device) * self.config.batch // count
            real, labels = self._real[partners], None if self._labels is None else self._labels[partners]
        elif self.classes:
            labels = self.group.own(torch.randint(self.classes, (count,), generator=self.noise, device=self.device))
        with self._autocast():
            fakes = Fakes(self._generate(count, labels), labels, real)
            terms = self._generator_loss(self.critic, fakes, self.config, self.noise)
        self._descend("generator_loss", terms, self.generator_adam)
        self._fake = fakes.images.detach()

    def _generate(self, count: int, labels: Tensor | None) -> Tensor:
        dim: int = self.generator.latent_dim  # type: ignore[assignment]
        z = self.group.own(torch.randn((count, dim), generator=self.noise, device=self.device))
        self.noise.rows = len(z)
        with self.group.whole_batch_statistics(self.generator):
            images: Tensor = self._images(z, labels)
        # What a captured graph returns is written over by its next replay.
        return images.float().clone() if self.config.compile == "on" else images.float()

    def _descend(self, name: str, terms: Terms, adam: torch.optim.Adam) -> None:
        loss = torch.stack(list(terms.values())).sum()
        parameters = parameters_of(adam)
        # Only these gradients are computed: the generator's step leaves the critic's weights out.
        gradients = torch.autograd.grad(loss, parameters)
        loss, *rest = self.group.mean([loss, *terms.values(), *gradients])
        terms = dict(zip(terms, rest, strict=False))
        for parameter, gradient in zip(parameters, rest[len(terms) :], strict=True):
            parameter.grad = gradient
        if self.config.clip:
            nn.utils.clip_grad_norm_(parameters, self.config.clip)
        adam.step()
        if self.config.compile == "on":
            terms = {name: value.detach().clone() for name, value in terms.items()}
        bad = (self._bad < 0) & ~torch.isfinite(loss.detach())
        self._bad = torch.where(bad, self.step + 1, self._bad)
        self._losses[name] = loss.detach()
        if adam is self.critic_adam:
            self._terms = {term: value.detach() for term, value in terms.items()}

    def _average(self, averaged: nn.Module) -> None:
        # Short memory at first, or the untrained weights would weigh on short trainings; the rule is TensorFlow's.
        kept = min(self.config.ema, self.step / (self.step + 9))
        with torch.no_grad():
            for old, new in zip(averaged.state_dict().values(), self.generator.state_dict().values(), strict=True):
                if old.is_floating_point():
                    old.lerp_(new, 1 - kept)
                else:
                    old.copy_(new)

    def _guard(self) -> None:
        if self._bad >= 0:
            terms = ", ".join(f"{name} {float(value):.3g}" for name, value in {**self._losses, **self._terms}.items())
            raise DivergedError(
                f"the training diverged at generator step {int(self._bad)} of {self.config.steps}: "
                f"a loss is not finite ({terms}); lower lr and critic_lr, or set clip to 1"
            )

    def _compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` compiled and captured as CUDA graphs, where that is on; on a CPU it is traced alone.

        Compiling for a CPU takes minutes and gains nothing; the trace is what the tests compare.
        """
        if self.config.compile == "off":
            return function
        if self.device.type == "cuda":
            return torch.compile(function, mode="reduce-overhead")
        return torch.compile(function, backend="eager")

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _settings(self) -> dict[str, Any]:
        return identity(self.config) | {
            "seed": self.seed,
            "images": self._fingerprint,
            "resolution": self.generator.resolution,
            "num_classes": self.classes,
        }
