"""A small labelled pack."""

from pathlib import Path

import numpy as np

from degas_ray.data import Pack


def striped_pack(count: int = 64, resolution: int = 8) -> Pack:
    """Images of three classes, each with its own brightness, and noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    images = rng.integers(0, 60, (count, resolution, resolution, 3)) + labels[:, None, None, None] * 90
    return Pack(images.astype(np.uint8), labels, ("dark", "grey", "light"), "striped", resolution, "f" * 64, Path("-"))
