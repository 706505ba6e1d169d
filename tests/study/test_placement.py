"""Where the parts of a study run, and what is said of one that no host could hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tiny_study import tiny_config

from degas_ray.errors import ConfigError, InputError
from degas_ray.home import StudyFolder
from degas_ray.runs.jobs import Resources
from degas_ray.space import Space
from degas_ray.study import make_plan, promote_genotype, run, run_study
from degas_ray.study.events import Event
from degas_ray.study.opened import begin
from degas_ray.study.placement import misfits, place

LAPTOP = Resources(2, 0, 1, ((2, 0),))
RACK = Resources(72, 3, 3, ((64, 0), (4, 1), (4, 2)))


def told(resources: Resources, **settings: Any) -> list[str]:
    config = tiny_config(**settings)
    return [str(misfit) for misfit in misfits(config, place(config, resources), resources)]


@pytest.mark.parametrize(
    ("resources", "settings", "words"),
    [
        (LAPTOP, {}, []),
        (LAPTOP, {"study__cpus": 2}, []),
        (LAPTOP, {"study__cpus": 8}, ["study.cpus: got 8, but no host has more than 2 CPUs"]),
        (LAPTOP, {"study__gpus": 1}, ["study.gpus: got 1, but no host has more than 0 GPUs"]),
        (LAPTOP, {"study__search_gpus": 0.5}, ["study.search_gpus: got 0.5, but no host has more than 0 GPUs"]),
        (LAPTOP, {"study__search_cpus": 3}, ["study.search_cpus: got 3, but no host has more than 2 CPUs"]),
        (LAPTOP, {"study__promotion_gpus": 1}, ["study.promotion_gpus: got 1, but no host has more than 0 GPUs"]),
        (LAPTOP, {"study__promotion_gpus": 1, "study__promote": False}, []),
        (RACK, {"study__gpus": None, "study__promotion_gpus": 2, "study__cpus": 4}, []),
        (RACK, {"study__gpus": 0, "study__cpus": 64}, []),
        # There are 72 CPUs and three GPUs, but on no host together.
        (RACK, {"study__gpus": 3}, ["study.gpus: got 3, but no host has more than 2 GPUs"]),
        (
            RACK,
            {"study__gpus": 1, "study__cpus": 8},
            ["study.cpus: got 8, but no host has more than 4 CPUs beside 1 GPU"],
        ),
        (
            LAPTOP,
            {"study__cpus": 8, "study__search_gpus": 1, "study__promotion_gpus": 2},
            [
                "study.cpus: got 8, but no host has more than 2 CPUs",
                "study.search_gpus: got 1, but no host has more than 0 GPUs",
                "study.promotion_gpus: got 2, but no host has more than 0 GPUs",
            ],
        ),
        (Resources(8, 2, 1), {"study__cpus": 99}, []),  # hosts that are not known
    ],
)  # fmt: skip
def test_what_no_host_has_is_named(resources: Resources, settings: dict[str, Any], words: list[str]) -> None:
    assert told(resources, **settings) == words


def offer(monkeypatch: pytest.MonkeyPatch, resources: Resources) -> None:
    @contextmanager
    def session(home: Path) -> Iterator[Resources]:
        yield resources

    monkeypatch.setattr(run, "session", session)


def test_a_study_that_would_wait_for_ever_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, LAPTOP)
    with pytest.raises(ConfigError) as caught:
        run_study(tiny_config(study__cpus=8, study__gpus=1), tmp_path, name="s")
    (fault,) = caught.value.faults
    assert fault == (
        "study.gpus: got 1, but no host has more than 0 GPUs; begin with --set study.gpus=0, or where a host has as "
        "many"
    )
    assert not StudyFolder(tmp_path, "s").file.exists()


class BegunError(Exception):
    """A study was not refused."""


def test_a_cluster_that_may_grow_is_waited_for_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any) -> None:
        raise BegunError

    offer(monkeypatch, Resources(4, 0, 1, ((4, 0),), grows=True))
    monkeypatch.setattr(run, "begin", stop)
    events: list[Event] = []
    with pytest.raises(BegunError):
        run_study(tiny_config(study__gpus=1, study__promotion_gpus=1), tmp_path, name="s", on_event=events.append)
    assert [event.text for event in events] == [
        "the second judge, a small classifier, is trained: once for each data set in this home",
        "study.gpus: got 1, but no host has more than 0 GPUs; its jobs wait until one joins",
        "study.promotion_gpus: got 1, but no host has more than 0 GPUs; its jobs wait until one joins",
    ]


def test_a_promotion_alone_needs_no_room_for_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(*args: Any) -> Any:
        study = begin(*args)
        study.tracker.finish("interrupted")
        raise BegunError

    offer(monkeypatch, Resources(4, 1, 1, ((4, 1),)))
    monkeypatch.setattr(run, "begin", begun)
    config = tiny_config(study__gpus=1, study__promotion_gpus=2)
    with pytest.raises(ConfigError, match=r"study\.promotion_gpus: got 2, but no host has more than 1 GPU"):
        run_study(config, tmp_path, name="s")
    with pytest.raises(BegunError):
        run_study(tiny_config(study__gpus=1), tmp_path, name="s")
    offer(monkeypatch, LAPTOP)
    with pytest.raises(ConfigError, match=r"study\.gpus: got 1"):
        run_study(None, tmp_path, name="s", resume=True)
    with pytest.raises(BegunError):
        promote_genotype(tmp_path, "s", genotype=Space().random(0))


def test_batches_that_the_promotions_gpus_cannot_share_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, Resources(4, 3, 1, ((4, 3),)))
    with pytest.raises(InputError, match=r"batch: got 8 for 3 workers, expected a multiple of 3, such as 9"):
        run_study(tiny_config(study__promotion_gpus=3), tmp_path, name="s")
    assert not StudyFolder(tmp_path, "s").file.exists()


def test_a_plan_says_what_this_machine_does_not_have_and_plans_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("degas_ray.study.plan._this_machine", lambda: LAPTOP)
    config = tiny_config(study__cpus=8, study__promotion_gpus=1)
    plan = make_plan(config, tmp_path)
    assert [misfit.key for misfit in plan.misfits] == ["study.cpus", "study.promotion_gpus"]
    assert plan.total_seconds > 0
    assert make_plan(tiny_config(), tmp_path).misfits == ()
