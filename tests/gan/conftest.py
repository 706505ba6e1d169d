"""A small labelled pack and small settings."""

import pytest
from striped import striped_pack

from degas_ray.config import TrainConfig
from degas_ray.data import Pack


@pytest.fixture
def pack() -> Pack:
    return striped_pack()


@pytest.fixture
def settings() -> TrainConfig:
    return TrainConfig(width=4, critic_width=4, latent_dim=8, steps=4, batch=8, generator_batch=8, device="cpu")
