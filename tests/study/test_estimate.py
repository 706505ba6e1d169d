from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from tiny_study import places, tiny_config

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
    estimate = Estimate(tiny_config(), places(2), clock)
    estimate.note("trial 0", "search", 0, 10)
    clock.now = 5
    estimate.note("trial 0", "search", 5, 10)
    assert estimate.left(3, 0, False) is None


def test_trials_that_wait_share_the_places() -> None:
    clock = Clock()
    estimate = Estimate(tiny_config(), places(2), clock)
    walk(estimate, clock, "trial 0", TRIAL)
    assert estimate.left(3, 0, False) == pytest.approx(2 * 42)
    assert estimate.left(0, 2, False) == pytest.approx(22)
    assert estimate.left(0, 0, False) == 0


def test_what_runs_counts_from_where_it_stands() -> None:
    clock = Clock()
    estimate = Estimate(tiny_config(), places(1), clock)
    walk(estimate, clock, "trial 0", TRIAL)
    estimate.note("trial 1", "proxy", 15, 20)
    assert estimate.left(0, 0, False) == pytest.approx(5 + 2)
    estimate.note("trial 1", "search", 5, 10)
    assert estimate.left(0, 0, False) == pytest.approx(10 + 20 + 2)


def test_the_promotion_is_guessed_from_the_proxy() -> None:
    clock = Clock()
    config = tiny_config(full__steps=40, proxy__steps=20)
    estimate = Estimate(config, places(1), clock)
    walk(estimate, clock, "trial 0", TRIAL)
    assert estimate.left(0, 0, True) == pytest.approx(40 + 2)
    wide = tiny_config(full__steps=40, proxy__steps=20, full__width=8, full__critic_width=8)
    estimate = Estimate(wide, places(1), clock)
    walk(estimate, clock, "trial 0", TRIAL)
    assert estimate.left(0, 0, True) == pytest.approx(4 * 40 + 2)


def test_work_is_dealt_to_the_first_free_place() -> None:
    half = 0.5
    assert makespan([], [[(5, half)]] * 3) == 10
    assert makespan([[(8, half)], [(1, half)]], [[(3, half)]] * 2) == 8
    assert makespan([], []) == 0
    assert makespan([], [[(5, 1 / 3)]] * 4) == 10  # thirds add up to one


def test_halves_of_trials_take_room_of_their_own() -> None:
    trial = [(4, 0.25), (6, 0.5)]
    assert makespan([], [trial]) == 10  # the training waits for its search
    assert makespan([], [trial] * 4) == 4 + 6 + 6  # four searches at once, then two trainings and two more
    assert makespan([trial], [[(6, 0.5)]]) == 10
    # A training that has no room yet goes before a search that has.
    assert makespan([[(4, 0.25), (6, 1.0)], [(5, 0.5)]], [[(4, 0.5)]]) == 15


def test_the_time_left_knows_that_more_searches_fit_than_trainings() -> None:
    clock = Clock()
    estimate = Estimate(tiny_config(), places(4, 2), clock)
    walk(estimate, clock, "trial 0", TRIAL)
    assert estimate.left(4, 0, False) == pytest.approx(20 + 2 * 22)
    assert estimate.left(0, 4, False) == pytest.approx(2 * 22)
    estimate.note("trial 1", "search", 5, 10)
    assert estimate.left(0, 0, False) == pytest.approx(10 + 22)


@dataclass
class Place:
    """A worker in a play of a whole study: what it still has to do, as (seconds, what happens then)."""

    script: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    free_at: float = 0.0


def play(estimate: Estimate, clock: Clock, jobs: list[tuple[str, list[tuple[str, int, float]], float]]) -> list[float]:
    """Play jobs on two places and return (time, seconds said to be left) at every report, flattened.

    Each job is its name, its phases as for ``walk``, and its seconds before the first step; 1.5 s lie between phases.
    """
    said: list[float] = []
    waiting, places = list(jobs), [Place(), Place()]
    started = 0
    while waiting or any(place.script for place in places):
        place = min(places, key=lambda p: p.free_at)
        if not place.script:
            if not waiting or (waiting[0][0] == "promotion" and any(p.script for p in places)):
                place.free_at = float("inf")
                place = min((p for p in places if p.script), key=lambda p: p.free_at)
            else:
                clock.now = max(clock.now, place.free_at) if place.free_at != float("inf") else clock.now
                name, phases, start = waiting.pop(0)
                estimate.began(name)
                started += 1
                place.script = _script(estimate, name, phases, start)
                place.free_at = clock.now + place.script[0][0]
                for other in places:
                    other.free_at = clock.now if other.free_at == float("inf") else other.free_at
                continue
        clock.now = max(clock.now, place.free_at)
        place.script.pop(0)[1]()
        place.free_at = clock.now + (place.script[0][0] if place.script else 0.0)
        kinds = [name.split()[0] for name, _, _ in waiting]
        left = estimate.left(kinds.count("trial"), kinds.count("re-rank"), "promotion" in kinds)
        said += [clock.now, -1.0 if left is None else left]
    return said


def _script(
    estimate: Estimate, name: str, phases: list[tuple[str, int, float]], start: float
) -> list[tuple[float, Callable[[], None]]]:
    script: list[tuple[float, Callable[[], None]]] = []
    pause = start
    for phase, steps, seconds in phases:
        for step in range(1, steps + 1):
            script.append((pause + seconds, partial(estimate.note, name, phase, step, steps)))
            pause = 0.0
        pause = 1.5
    return [*script, (pause, partial(estimate.ended, name))]


def test_the_time_left_is_right_within_a_fifth_after_a_quarter() -> None:
    """A study as one was seen: workers that start slowly, pauses between phases, a promotion on one place."""
    clock = Clock()
    config = tiny_config(proxy__steps=40, full__steps=60)
    trial = [("search", 60, 0.3), ("proxy", 40, 0.4), ("score", 4, 0.6)]
    proxy = trial[1:]
    jobs = [(f"trial {i}", trial, 25.0 if i < 2 else 0.5) for i in range(8)]
    jobs += [(f"re-rank {i}", proxy, 0.5) for i in range(2)]
    jobs += [("promotion", [("full", 60, 0.25), ("score", 4, 0.6)], 11.0)]
    said = play(Estimate(config, places(2), clock), clock, jobs)
    end = clock.now
    late = [(now, left) for now, left in zip(said[::2], said[1::2], strict=True) if 0.25 * end <= now <= 0.75 * end]
    assert len(late) > 100
    told = [(now, left) for now, left in late if left >= 0]
    assert told[0][0] < 0.36 * end  # as soon as one whole trial has been seen
    assert all(abs(left - (end - now)) <= 0.2 * (end - now) for now, left in told)
