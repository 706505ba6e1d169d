"""A promotion trained on several GPUs, which share each batch: here two logical ones and gloo on the CPU."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from tiny_study import tiny_config
from torch import Tensor

from degas_ray.config import Config
from degas_ray.gan import load_generator
from degas_ray.runs.jobs import Resources
from degas_ray.scores import Scores
from degas_ray.study import StudyResult, run_study
from degas_ray.study.placement import place
from degas_ray.tracking import RunDirectory, open_tracking
from degas_ray.trials import promotion as promote

MINUTES = pytest.mark.timeout(900)  # Ray starts many processes


def settings(gpus: int) -> Config:
    study = {"study__strategy": "random", "study__trials": 1, "study__rerank": {"top": 0, "seeds": 1}}
    return tiny_config(**study, study__promotion_gpus=gpus, full__milestones=(0.5,))


def images(result: StudyResult, file: str) -> Tensor:
    assert result.promotion is not None
    generator, facts = load_generator(Path(result.promotion.folder) / file)
    with torch.no_grad():
        made: Tensor = generator(torch.randn((20, facts["latent_dim"]), generator=torch.Generator().manual_seed(0)))
    return made


@pytest.mark.slow
@MINUTES
def test_a_promotion_on_two_gpus_is_one_training_of_two_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = run_study(settings(0), tmp_path / "alone", name="s", should_stop=lambda: False)
    counts: list[int] = []
    together = promote.train_in_parallel

    def count(*args: Any, workers: int, **more: Any) -> None:
        counts.append(workers)
        together(*args, workers=workers, **more)

    monkeypatch.setattr(promote, "train_in_parallel", count)
    monkeypatch.setattr(ray, "init", partial(ray.init, num_gpus=2))
    home = tmp_path / "group"
    group = run_study(settings(2), home, name="s", should_stop=lambda: False)
    assert counts == [2]
    assert alone.promotion is not None
    assert group.promotion is not None
    for file in ("generator.ckpt", "best.ckpt"):
        assert torch.allclose(images(group, file), images(alone, file), rtol=5e-3, atol=5e-3), file
    for result in (alone, group):
        assert result.promotion is not None
        assert result.promotion.best is not None
        last = Scores.from_json(result.promotion.scores).fid
        assert result.promotion.best["step"] in (4, 8)
        assert result.promotion.best["distance"] <= last
        rows = RunDirectory(Path(result.promotion.folder)).rows()
        assert [row["step"] for row in rows if "full/critic_loss" in row] == list(range(1, 9))
    known = open_tracking(home).find_run(group.promotion.run_id)
    assert (known.outcome, known.metrics["full/fid"]) == (group.promotion.outcome, pytest.approx(last))


def test_a_worker_for_each_gpu_of_the_promotion() -> None:
    resources = Resources(16, 4, 1, ((16, 4),))
    counts = {gpus: place(tiny_config(study__promotion_gpus=gpus), resources).workers for gpus in (None, 0, 0.5, 1, 4)}
    assert counts == {None: 1, 0: 1, 0.5: 1, 1: 1, 4: 4}
