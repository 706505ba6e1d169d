"""Generator files describe themselves, and bad ones are refused with a sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from degas_ray import checkpoint
from degas_ray.checkpoint import State
from degas_ray.config import TrainConfig
from degas_ray.errors import CheckpointError
from degas_ray.gan import build_generator, generate, load_generator, save_generator

CONFIG = TrainConfig(width=4, latent_dim=6)


@pytest.mark.parametrize(
    ("what", "classes"), [("resnet", 0), ("dcgan", 3), ("degas-cifar10-n2", 0), ("degas-stl10", 3)]
)
def test_a_generator_comes_back_with_what_it_is(tmp_path: Path, what: str, classes: int) -> None:
    generator = build_generator(what, CONFIG, 16, classes, seed=1)
    save_generator(tmp_path / "g.ckpt", generator, what, CONFIG, {"fid": 12.5})
    back, facts = load_generator(tmp_path / "g.ckpt")
    assert (facts["name"], facts["resolution"], facts["num_classes"]) == (what, 16, classes)
    assert facts["meta"] == {"fid": 12.5}
    assert TrainConfig.model_validate(facts["config"]) == CONFIG
    one, other = (next(generate(g, 4, seed=0)) for g in (generator, back))
    assert np.array_equal(one, other)
    assert not back.training
    assert all(parameter.requires_grad for parameter in back.parameters())


def rewrite(tmp_path: Path, change: dict[str, Any], weights: dict[str, torch.Tensor] | None = None) -> Path:
    path = tmp_path / "g.ckpt"
    save_generator(path, build_generator("resnet", CONFIG, 16), "resnet", CONFIG)
    state = checkpoint.load(path)
    checkpoint.save(path, State({**state.tensors, **(weights or {})}, {**state.meta, **change}), "generator")
    return path


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"what": "degas"}, "holds no generator that can be rebuilt"),
        ({"what": "/etc/hostname"}, "holds no generator that can be rebuilt"),
        ({"what": "dcgan"}, "of its tensors differ"),
        ({"what": None}, "does not say which generator it holds"),
        ({"width": "4"}, "does not say which generator it holds"),
        ({"width": -4}, "does not say which generator it holds"),
        ({"width": 10**9}, "does not say which generator it holds"),
        ({"width": 2**16}, "of its tensors differ"),  # and no memory is asked for
        ({"resolution": 17}, "resolution: got 17, expected a multiple of 8"),
        ({"num_classes": 2}, "of its tensors differ"),
    ],
)
def test_a_wrong_description_is_refused(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    path = rewrite(tmp_path, change)
    with pytest.raises(CheckpointError, match=sentence):
        load_generator(path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = rewrite(tmp_path, {}, {"generator/linear.bias": torch.full((4 * 4,), torch.nan)})
    with pytest.raises(CheckpointError, match="not finite"):
        load_generator(path)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "s.ckpt", State(), "train")
    with pytest.raises(CheckpointError, match="is a 'train' checkpoint, expected a 'generator' one"):
        load_generator(tmp_path / "s.ckpt")
