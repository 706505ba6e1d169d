"""A generator step (critic steps, then the generator's): ours in both precisions against a plain float32 loop.

All train the same generator on the same objective, width, batch and threads. The plain loop is written as the papers'
code reads: a pass for each of real, real again and generated images, pooling after convolutions, gradient penalties by
double differentiation, zero_grad / backward / step. Run ``python -m benchmarks.gan_step``.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.timing import alternate, report
from degas_ray.config import TrainConfig
from degas_ray.data import Pack
from degas_ray.gan import build_generator
from degas_ray.gan.trainer import Trainer


class PlainBlock(nn.Module):
    """A residual block of the critic as its papers describe it."""

    def __init__(self, inputs: int, width: int, *, down: bool, first: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, width, 1) if down else None
        self.down, self.first = down, first

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, width, H, W] or half of it."""
        y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if self.shortcut is None:
            return x + y
        if self.first:
            return F.avg_pool2d(y, 2) + self.shortcut(F.avg_pool2d(x, 2))
        return F.avg_pool2d(y, 2) + F.avg_pool2d(self.shortcut(x), 2)


class PlainCritic(nn.Module):
    """The critic for images up to 32x32, with CT-GAN's dropout or without."""

    def __init__(self, width: int, *, dropout: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            PlainBlock(3, width, down=True, first=True),
            PlainBlock(width, width, down=True),
            nn.Dropout(0.2 if dropout else 0),
            PlainBlock(width, width, down=False),
            nn.Dropout(0.5 if dropout else 0),
            PlainBlock(width, width, down=False),
            nn.Dropout(0.5 if dropout else 0),
            nn.ReLU(),
        )
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores [N] and features [N, width]."""
        features = self.body(x).mean((2, 3))
        return self.score(features).squeeze(1), features


def plain_step(config: TrainConfig, generator: nn.Module, images: Tensor) -> Callable[[], None]:
    """Return a function that does one generator step with its critic steps on ``images`` [N, 3, R, R] in [0, 255]."""
    pairs = config.framework == "r3gan"
    critic = PlainCritic(config.critic_width, dropout=not pairs)
    critic_adam = torch.optim.Adam(critic.parameters(), config.critic_lr, betas=config.betas)
    generator_adam = torch.optim.Adam(generator.parameters(), config.lr, betas=config.betas)

    def draw() -> Tensor:
        real = images[torch.randint(len(images), (config.batch,))]
        return 2 * (real / 256 - 0.5) + torch.rand_like(real) / 128

    def generate(count: int) -> Tensor:
        made: Tensor = generator(torch.randn(count, config.latent_dim))
        return made

    def ctgan(real: Tensor, fake: Tensor) -> Tensor:
        (first, first_features), (second, second_features) = critic(real), critic(real)
        distance = (first - second) ** 2 + 0.1 * ((first_features - second_features) ** 2).mean(1)
        share = torch.rand(config.batch, 1, 1, 1)
        points = (share * real + (1 - share) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(critic(points)[0].sum(), points, create_graph=True)
        penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
        return critic(fake)[0].mean() - first.mean() + 10 * penalty + (2 * distance).clamp_min(0).mean()

    def r3gan(real: Tensor, fake: Tensor) -> Tensor:
        scores, penalty = [], torch.zeros(())
        for side in (real.requires_grad_(), fake.requires_grad_()):
            scores.append(critic(side)[0])
            (slope,) = torch.autograd.grad(scores[-1].sum(), side, create_graph=True)
            penalty = penalty + config.gamma / 2 * slope.square().sum((1, 2, 3)).mean()
        return F.softplus(scores[1] - scores[0]).mean() + penalty

    def step() -> None:
        for _ in range(config.critic_steps):
            real, fake = draw(), generate(config.batch).detach()
            loss = r3gan(real, fake) if pairs else ctgan(real, fake)
            critic_adam.zero_grad()
            loss.backward()
            critic_adam.step()
        fake_scores = critic(generate(config.generator_batch))[0]
        loss = F.softplus(critic(draw())[0] - fake_scores).mean() if pairs else -fake_scores.mean()
        generator_adam.zero_grad()
        loss.backward()
        generator_adam.step()

    return step


PRECISIONS = ("float32", "bf16")
# Settings of a framework's step; width, precision and length are laid over them.
STEPS: Mapping[str, Mapping[str, Any]] = {
    "ctgan": {"critic_steps": 2, "batch": 32, "generator_batch": 64},
    "r3gan": {"critic_steps": 1, "batch": 64, "generator_batch": 64},
}


def measure(
    framework: str, resolution: int, width: int, what: str, rounds: int, precisions: Sequence[str]
) -> dict[str, Any]:
    """Return the seconds of a step by who does it, and how many times faster ours are."""
    settings = {"framework": framework, "width": width, "critic_width": width, "latent_dim": 128, "steps": 1_000_000}
    config = TrainConfig.model_validate({**STEPS[framework], **settings})
    pixels = np.random.default_rng(0).integers(0, 256, (2048, resolution, resolution, 3), dtype=np.uint8)
    pack = Pack(pixels, None, (), "noise", resolution, "0", Path("noise"))
    steps: dict[str, Callable[[], None]] = {}
    for precision in precisions:
        own = config.model_copy(update={"precision": precision})
        steps[f"ours, {precision}"] = Trainer(own, build_generator(what, own, resolution), pack, 0).advance
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().contiguous()
    steps["plain, float32"] = plain_step(config, build_generator(what, config, resolution), images)
    seconds = alternate(steps, rounds=rounds, warmup=2)
    plain = seconds["plain, float32"]
    faster = {name: round(plain / value, 2) for name, value in seconds.items() if name.startswith("ours")}
    return {"framework": framework, "width": width, "seconds": seconds, "times_faster": faster}


@click.command()
@click.option("--framework", "frameworks", multiple=True, type=click.Choice(list(STEPS)), default=list(STEPS))
@click.option("--width", "widths", multiple=True, type=int, default=(16, 32, 64, 128), show_default=True)
@click.option(
    "--precision", "precisions", multiple=True, type=click.Choice(PRECISIONS), default=PRECISIONS, help="Of our step."
)
@click.option("--resolution", default=32, show_default=True, type=click.Choice([16, 32]))
@click.option("--generator", "what", default="degas-cifar10", show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(
    frameworks: tuple[str, ...],
    widths: tuple[int, ...],
    precisions: tuple[str, ...],
    resolution: int,
    what: str,
    rounds: int,
    threads: int,
) -> None:
    """Print seconds a generator step, ours and plain, and their ratios."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    rows = []
    for framework in frameworks:
        for width in widths:
            rows.append(measure(framework, resolution, width, what, rounds, precisions))
            click.echo(f"{framework}, width {width}: {rows[-1]['times_faster']}", err=True)
    settings = {"resolution": resolution, "generator": what, "rounds": rounds, "steps": STEPS}
    report({"benchmark": "gan_step", "settings": settings, "rows": rows})


if __name__ == "__main__":
    main()
