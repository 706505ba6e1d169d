import pytest
from tiny_study import tiny_config

from degas_ray.study.estimate import Estimate, makespan


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def walk(estimate: Estimate, clock: Clock, work: str, phases: list[tuple[str, int, float]]) -> None:
    """Let a piece of work pass through phases of so many steps at so many seconds a step."""
    for phase, steps, seconds in phases:
        for step in range(steps + 1):
            estimate.note(work, phase, step, steps)
            if step < steps:
                clock.now += seconds
    estimate.ended(work)


TRIAL = [("search", 10, 2.0), ("proxy", 20, 1.0), ("score", 4, 0.5)]  # 20 s + 20 s + 2 s


def test_nothing_is_said_before_a_whole_trial_has_been_seen() -> None:
    clock = Clock()
    estimate = Estimate(tiny_config(), 2, clock)
    estimate.note("trial 0", "search", 0, 10)
    clock.now = 5
    estimate.note("trial 0", "search", 5, 10)
    assert estimate.left(3, 0, False) is None


def test_trials_that_wait_share_the_places() -> None:
    clock = Clock()
    estimate = Estimate(tiny_config(), 2, clock)
    walk(estimate, clock, "trial 0", TRIAL)
    assert estimate.left(3, 0, False) == pytest.approx(2 * 42)
    assert estimate.left(0, 2, False) == pytest.approx(22)
    assert estimate.left(0, 0, False) == 0


def test_what_runs_counts_from_where_it_stands() -> None:
    clock = Clock()
    estimate = Estimate(tiny_config(), 1, clock)
    walk(estimate, clock, "trial 0", TRIAL)
    estimate.note("trial 1", "proxy", 15, 20)
    assert estimate.left(0, 0, False) == pytest.approx(5 + 2)
    estimate.note("trial 1", "search", 5, 10)
    assert estimate.left(0, 0, False) == pytest.approx(10 + 20 + 2)


def test_the_promotion_is_guessed_from_the_proxy() -> None:
    clock = Clock()
    config = tiny_config(full__steps=40, proxy__steps=20)
    estimate = Estimate(config, 1, clock)
    walk(estimate, clock, "trial 0", TRIAL)
    assert estimate.left(0, 0, True) == pytest.approx(40 + 2)
    wide = tiny_config(full__steps=40, proxy__steps=20, full__width=8, full__critic_width=8)
    estimate = Estimate(wide, 1, clock)
    walk(estimate, clock, "trial 0", TRIAL)
    assert estimate.left(0, 0, True) == pytest.approx(4 * 40 + 2)


def test_work_is_dealt_to_the_first_free_place() -> None:
    assert makespan([], [5, 5, 5], 2) == 10
    assert makespan([8, 1], [3, 3], 2) == 8
    assert makespan([], [], 4) == 0
