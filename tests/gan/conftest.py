"""A small labelled pack and small settings."""

from pathlib import Path

import numpy as np
import pytest

from degas_ray.config import TrainConfig
from degas_ray.data import Pack


def striped_pack(count: int = 64, resolution: int = 8) -> Pack:
    """Images of three classes, each with its own brightness, and noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    images = rng.integers(0, 60, (count, resolution, resolution, 3)) + labels[:, None, None, None] * 90
    return Pack(images.astype(np.uint8), labels, ("dark", "grey", "light"), "striped", resolution, "f" * 64, Path("-"))


@pytest.fixture
def pack() -> Pack:
    return striped_pack()


@pytest.fixture
def settings() -> TrainConfig:
    return TrainConfig(width=4, critic_width=4, latent_dim=8, steps=4, batch=8, generator_batch=8, device="cpu")
