"""A tiny pack of pictures with structure: blocks and gradients, made here."""

import numpy as np
import pytest

from degas_ray.data.packs import open_pack, write_pack


@pytest.fixture(scope="session")
def tiny_pack(tmp_path_factory):
    draw = np.random.default_rng(0)
    images = np.zeros((48, 16, 16, 3), np.uint8)
    for image in images:
        top, left = draw.integers(0, 9, 2)
        image[top : top + 8, left : left + 8] = draw.integers(80, 256, 3)
    path = tmp_path_factory.mktemp("packs") / "tiny.arrow"
    write_pack(path, [(images, None)], resolution=16, name="tiny")
    return open_pack(path)
