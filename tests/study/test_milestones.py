"""Scores along a training, the best generator, and what its checkpoints may take."""

import json
from pathlib import Path

import pytest
import torch
from tiny_study import tiny_config
from torch import nn

from degas_ray.config import TrainConfig
from degas_ray.errors import Interrupted
from degas_ray.gan import build_generator, load_generator
from degas_ray.loop import Progress
from degas_ray.runs.milestones import Best, HalvedError, Milestones, best_of, keep_if_best
from degas_ray.study import run_training
from degas_ray.tracking import open_tracking


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def test_a_training_with_milestones_has_a_curve_and_its_best_generator(home: Path) -> None:
    config = tiny_config(full__milestones=(0.25, 0.5), full__ema=0.5)
    run = run_training(config, "resnet", home, name="curve")
    reached = json.loads((run.folder / "milestones.json").read_text())
    assert list(reached) == ["2", "4"]
    known = open_tracking(home)
    assert known.history(run.run_id, "full/milestone_fid") == [(int(s), pytest.approx(d)) for s, d in reached.items()]
    assert Path(run.pictures["scores along the way"]).stat().st_size > 1000
    scored = [Best(int(step), distance) for step, distance in reached.items()] + [Best(8, run.scores.fid)]
    assert run.best == best_of(run.folder) == min(scored, key=lambda best: best.distance)
    _, facts = load_generator(run.folder / "best.ckpt")
    assert facts["meta"] == {"checkpoint": "best", "step": run.best.step, "distance": run.best.distance}


def test_a_training_without_milestones_has_no_best(home: Path) -> None:
    run = run_training(tiny_config(), "resnet", home, name="plain")
    assert run.best is None
    assert not (run.folder / "best.ckpt").exists()


def test_milestones_and_the_best_survive_an_interruption(home: Path) -> None:
    config = tiny_config(full__milestones=(0.25, 0.5))
    whole = run_training(config, "resnet", home, name="whole")
    asked = iter(range(100))
    with pytest.raises(Interrupted):
        run_training(config, "resnet", home, name="broken", should_stop=lambda: next(asked) > 11)
    rest = run_training(config, "resnet", home, name="broken", resume=True)
    assert rest.best == whole.best
    assert rest.scores.fid == whole.scores.fid
    stats = [json.loads(line) for line in (rest.folder / "stats.jsonl").read_text().splitlines()]
    assert [row["step"] for row in stats if "full/milestone_fid" in row] == [2, 4]


SETTINGS = TrainConfig(width=4, latent_dim=4, steps=10, milestones=(0.2, 0.5, 1.0))


def at(step: int) -> Progress:
    return Progress("full", step, 10, {}, lambda: pytest.fail("no state is needed without averaging"))


def test_each_milestone_is_scored_once_where_it_is_reached(tmp_path: Path) -> None:
    asked: list[int] = []
    generator = build_generator("resnet", SETTINGS, 8)

    def score(judged: nn.Module, step: int) -> float:
        asked.append(step)
        with torch.no_grad():
            generator.linear.bias.fill_(step)
        return {2: 30.0, 5: 10.0, 10: 20.0}[step]

    milestones = Milestones(SETTINGS, tmp_path, "resnet", score)
    for step in (1, 2, 3, 5):
        milestones.see(at(step), generator)
    milestones = Milestones(SETTINGS, tmp_path, "resnet", score)  # another process
    for step in (4, 5, 8, 10):
        milestones.see(at(step), generator)
    assert asked == [2, 5, 10]
    assert milestones.reached == {"2": 30.0, "5": 10.0, "10": 20.0}
    best, _ = load_generator(tmp_path / "best.ckpt")
    assert best.linear.bias.unique().tolist() == [5.0]
    assert best_of(tmp_path) == Best(5, 10.0)


def test_a_milestone_may_end_the_training_also_when_it_begins_again(tmp_path: Path) -> None:
    generator = build_generator("resnet", SETTINGS, 8)

    def milestones(goes_on: bool) -> Milestones:
        return Milestones(SETTINGS, tmp_path, "resnet", lambda _judged, step: step, lambda _step, _distance: goes_on)

    milestones(True).see(at(2), generator)
    with pytest.raises(HalvedError) as ended:
        milestones(False)
    assert ended.value.milestones == {"2": 2.0}


def test_an_equal_score_does_not_replace_the_best(tmp_path: Path) -> None:
    generator = build_generator("resnet", SETTINGS, 8)
    assert best_of(tmp_path) is None
    for step, distance, best in ((1, 5.0, 1), (2, 5.0, 1), (3, 4.0, 3)):
        assert keep_if_best(tmp_path, generator, "resnet", SETTINGS, Best(step, distance)).step == best


def test_milestones_up_to_where_a_training_took_over_are_left_out(tmp_path: Path) -> None:
    config = TrainConfig(width=4, critic_width=4, latent_dim=4, steps=8, milestones=(0.25, 0.75, 0.875))
    generator = build_generator("resnet", config, 8)
    scored: list[int] = []

    def score(_generator: nn.Module, step: int) -> float:
        scored.append(step)
        return 1.0

    milestones = Milestones(config, tmp_path, "resnet", score, begun=6)
    for step in (7, 8):
        milestones.see(Progress("full", step, 8, {}, lambda: pytest.fail("no state is needed")), generator)
    assert scored == [7]
