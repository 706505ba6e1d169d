"""A promotion that goes on with its winner's short training."""

from pathlib import Path

import pytest
import torch
from tiny_study import tiny_config

from degas_ray.config import Config, resolve
from degas_ray.errors import ConfigError
from degas_ray.gan import load_generator
from degas_ray.home import LAST, StudyFolder
from degas_ray.study import StudyResult, run_study
from degas_ray.tracking import RunDirectory

STILL = {"full__lr": 1e-12, "full__critic_lr": 1e-12}  # a rate at which nothing moves


def settings(**more: object) -> Config:
    return tiny_config(
        study__continue_winner=True,
        study__strategy="random",
        study__trials=1,
        study__rerank={"top": 0, "seeds": 1},
        **more,
    )


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyResult]:
    home = tmp_path_factory.mktemp("k")
    return home, run_study(settings(**STILL), home, name="s", should_stop=lambda: False)


def test_its_steps_count_on_from_the_short_ones(studied: tuple[Path, StudyResult]) -> None:
    _, result = studied
    assert result.promotion is not None
    rows = RunDirectory(Path(result.promotion.folder)).rows()
    assert [row["step"] for row in rows if "full/critic_loss" in row] == [7, 8]  # of 8, after 6


def test_its_weights_are_those_of_the_short_training(studied: tuple[Path, StudyResult]) -> None:
    home, result = studied
    assert result.promotion is not None
    files = [StudyFolder(home, "s").trial(0), Path(result.promotion.folder)]
    short, full = (load_generator(folder / "generator.ckpt")[0].state_dict() for folder in files)
    weights = [name for name, value in short.items() if value.is_floating_point() and "running" not in name]
    assert len(weights) > 10
    for name in weights:
        assert torch.allclose(short[name], full[name], atol=1e-9), name


def test_the_end_of_a_short_training_is_small(studied: tuple[Path, StudyResult]) -> None:
    """Weights of generator and critic, and two moments of each: three times their bytes, and a little more."""
    home, _ = studied
    folder = StudyFolder(home, "s").trial(0)
    weights = sum(value.numel() for value in load_generator(folder / "generator.ckpt")[0].parameters())
    assert 3 * 4 * weights < (folder / LAST).stat().st_size < 2**20


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["full.width=64"], "proxy and full have another width"),
        (["full.framework=sngan", "full.batch=64"], "proxy and full have another framework, batch"),
        (["full.ema=0"], "another ema"),
        (["full.steps=100"], "full.steps must be more than proxy.steps"),
    ],
)
def test_trainings_that_do_not_fit_together_are_refused(sets: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        resolve(sets=["study.continue_winner=true", *sets])
    assert resolve(sets=["study.continue_winner=true"]).study.continue_winner
