import os
import time
from pathlib import Path

import psutil
import pytest
from tiny_study import tiny_config

from degas_ray.data import prepare
from degas_ray.errors import ConfigError, DataError
from degas_ray.study import make_plan
from degas_ray.study.neighbours import neighbours
from degas_ray.trials.proposals import Proposals
from degas_ray.trials.ranges import own_values, tuned


def test_a_plan_says_what_would_run_and_writes_nothing(tmp_path: Path) -> None:
    config = tiny_config(study__trials=3)
    plan = make_plan(config, tmp_path)
    assert plan.config == config
    assert (plan.images, plan.data) == (64, "ready")
    assert set(plan.seconds) == {"search", "proxy", "score", "full"}
    assert all(seconds > 0 for seconds in plan.seconds.values())
    assert plan.total_seconds > max(plan.seconds.values())
    assert plan.disk > 64 * 16 * 16 * 3
    assert list(tmp_path.iterdir()) == []


def test_neighbours_train_while_a_step_is_measured_and_are_gone_afterwards(tmp_path: Path) -> None:
    config = tiny_config()
    pack = prepare("digits", tmp_path, limit=64)
    others = set(psutil.Process().children())  # of other tests in this process
    with neighbours(1, config.proxy, pack.path, 1) as seconds:
        (other,) = set(psutil.Process().children()) - others
        before = other.cpu_times().user
        deadline = time.monotonic() + 60
        while other.cpu_times().user <= before and time.monotonic() < deadline:
            os.sched_yield()
        assert other.cpu_times().user > before
        assert seconds > 0
    assert not other.is_running()


def test_its_trials_are_those_that_the_study_will_propose(tmp_path: Path) -> None:
    config = tiny_config(study__trials=5, study__concurrent=1)
    study = Proposals(tmp_path / "journal", tuned(config), own_values(config), seed=config.seed, lag=4)
    proposed = []
    for number in range(5):
        proposed.append(study.ask().params)
        study.tell(number, "completed", [float(number)])
    assert list(make_plan(config, tmp_path).trials) == proposed


def test_a_longer_study_is_planned_to_take_longer(tmp_path: Path) -> None:
    short = make_plan(tiny_config(study__trials=2, study__concurrent=1, study__promote=False), tmp_path)
    long = make_plan(
        tiny_config(study__trials=2, study__concurrent=1, study__promote=False, proxy__steps=6000), tmp_path
    )
    assert long.seconds["proxy"] > 100 * short.seconds["proxy"]
    assert long.total_seconds > short.total_seconds


@pytest.mark.parametrize("paths", ["mixed", "sampled"])
def test_loops_of_a_single_step_are_planned_too(tmp_path: Path, paths: str) -> None:
    one = {
        "search__steps": 1,
        "search__networks": 1,
        "search__try_steps": 1,
        "proxy__steps": 1,
        "full__steps": 1,
        "study__concurrent": 1,
    }
    plan = make_plan(tiny_config(search__paths=paths, **one), tmp_path)
    assert all(seconds > 0 for seconds in plan.seconds.values())


def test_data_that_would_be_downloaded_are_not(tmp_path: Path) -> None:
    plan = make_plan(tiny_config(dataset="cifar10", limit=None, study__concurrent=1), tmp_path)
    assert (plan.images, plan.data) == (50_000, "to be downloaded")
    assert list(tmp_path.iterdir()) == []


def test_the_weights_of_inception_are_not_fetched_for_a_plan(tmp_path: Path) -> None:
    plan = make_plan(tiny_config(scores__extractor="inception", study__concurrent=1), tmp_path)
    assert plan.seconds["score"] == pytest.approx(20 * 0.076)


def test_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"study\.tune"):
        make_plan(tiny_config(study__tune=("nothing",)), tmp_path)
    with pytest.raises(DataError, match="did you mean digits"):
        make_plan(tiny_config(dataset="digit"), tmp_path)
