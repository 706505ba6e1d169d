"""A CT-GAN generator step (critic steps, then the generator's): ours against a straightforward PyTorch loop.

Both train the same generator on the same objective, width, batch and threads. The plain loop is written as the
papers' code reads: a pass for each of real, real again and generated images, pooling after convolutions, the gradient
penalty by double differentiation, zero_grad / backward / step. Run ``python -m benchmarks.gan_step --resolution 16``.
"""

import copy
from collections.abc import Callable
from pathlib import Path

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
    """CT-GAN's critic for images up to 32x32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            PlainBlock(3, width, down=True, first=True),
            PlainBlock(width, width, down=True),
            nn.Dropout(0.2),
            PlainBlock(width, width, down=False),
            nn.Dropout(0.5),
            PlainBlock(width, width, down=False),
            nn.Dropout(0.5),
            nn.ReLU(),
        )
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores [N] and features [N, width]."""
        features = self.body(x).mean((2, 3))
        return self.score(features).squeeze(1), features


def plain_step(config: TrainConfig, generator: nn.Module, images: Tensor) -> Callable[[], None]:
    """Return a function that does one generator step with its critic steps on ``images`` [N, 3, R, R] in [0, 255]."""
    critic = PlainCritic(config.critic_width)
    critic_adam = torch.optim.Adam(critic.parameters(), config.critic_lr, betas=config.betas)
    generator_adam = torch.optim.Adam(generator.parameters(), config.lr, betas=config.betas)

    def critic_step() -> None:
        real = images[torch.randint(len(images), (config.batch,))]
        real = 2 * (real / 256 - 0.5) + torch.rand_like(real) / 128
        fake = generator(torch.randn(config.batch, config.latent_dim)).detach()
        (first, first_features), (second, second_features) = critic(real), critic(real)
        distance = (first - second) ** 2 + 0.1 * ((first_features - second_features) ** 2).mean(1)
        share = torch.rand(config.batch, 1, 1, 1)
        points = (share * real + (1 - share) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(critic(points)[0].sum(), points, create_graph=True)
        penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
        loss = critic(fake)[0].mean() - first.mean() + 10 * penalty + (2 * distance).clamp_min(0).mean()
        critic_adam.zero_grad()
        loss.backward()
        critic_adam.step()

    def step() -> None:
        for _ in range(config.critic_steps):
            critic_step()
        loss = -critic(generator(torch.randn(config.generator_batch, config.latent_dim)))[0].mean()
        generator_adam.zero_grad()
        loss.backward()
        generator_adam.step()

    return step


@click.command()
@click.option("--resolution", default=32, show_default=True, type=click.Choice([16, 32]))
@click.option("--width", default=32, show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--critic-steps", default=2, show_default=True)
@click.option("--generator", "what", default="degas-cifar10", show_default=True)
@click.option("--rounds", default=9, show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(resolution: int, width: int, batch: int, critic_steps: int, what: str, rounds: int, threads: int) -> None:
    """Print seconds a generator step, ours and plain, and their ratio."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = TrainConfig(
        width=width,
        critic_width=width,
        latent_dim=128,
        steps=1_000_000,
        critic_steps=critic_steps,
        batch=batch,
        generator_batch=2 * batch,
    )
    pixels = np.random.default_rng(0).integers(0, 256, (2048, resolution, resolution, 3), dtype=np.uint8)
    pack = Pack(pixels, None, (), "noise", resolution, "0", Path("noise"))
    generator = build_generator(what, config, resolution)
    trainer = Trainer(config, copy.deepcopy(generator), pack, 0)
    plain = plain_step(config, generator, torch.from_numpy(pixels).permute(0, 3, 1, 2).float().contiguous())
    seconds = alternate({"ours": trainer.advance, "plain": plain}, rounds=rounds, warmup=2)
    settings = {"resolution": resolution, "width": width, "batch": batch, "critic_steps": critic_steps}
    report(
        {
            "benchmark": "gan_step",
            "settings": {**settings, "generator": what, "rounds": rounds},
            "seconds": seconds,
            "times_faster": seconds["plain"] / seconds["ours"],
        }
    )


if __name__ == "__main__":
    main()
