from hypothesis import given
from hypothesis import strategies as st

from degas_ray.config import resolve
from degas_ray.report.summary import leaderboard
from degas_ray.report.worth import Worth
from degas_ray.results import Row
from degas_ray.trials.order import front, on_front, ranked

points = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)


def test_one_objective_is_ranked_by_value() -> None:
    assert ranked([(3.0,), (1.0,), (2.0,)]) == [1, 2, 0]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_equal_values_of_one_objective_stay_in_their_order(values: list[int]) -> None:
    assert ranked([(float(value),) for value in values]) == sorted(range(len(values)), key=values.__getitem__)


def test_the_knee_comes_first() -> None:
    # A steep front: the middle point gives up little of either objective.
    assert ranked([(0.0, 10.0), (1.0, 1.0), (10.0, 0.0), (11.0, 11.0)]) == [1, 0, 2, 3]


def test_scales_do_not_matter() -> None:
    assert ranked([(0.0, 10e6), (1.0, 1e6), (10.0, 0.0)])[0] == 1


@given(points)
def test_nothing_beats_a_point_of_the_front_and_something_beats_every_other(values: list[tuple[int, int]]) -> None:
    chosen = set(front(values))
    for index, (x, y) in enumerate(values):
        beaten = any(a <= x and b <= y and (a, b) != (x, y) for a, b in values)
        assert (index in chosen) != beaten


@given(points)
def test_everything_is_ranked_once(values: list[tuple[int, int]]) -> None:
    assert sorted(ranked(values)) == list(range(len(values)))


def test_tables_name_the_trials_on_the_front() -> None:
    sizes = {0: (3.0, 10), 1: (2.0, 20), 2: (2.5, 20), 3: (1.0, 40)}
    rows = [Row(n, "completed", {}, n, distances=(d,), parameters=size) for n, (d, size) in sizes.items()]
    rows.append(Row(4, "pruned", {}, 4))
    several = on_front(rows, resolve(sets=["study.objectives=[fid,parameters]"]))
    assert several == {0, 1, 3}
    told = {line["trial"]: line["outcome"] for line in leaderboard(rows, Worth(), several)}
    assert (told["0"], told["2"], told["4"]) == ("completed (front)", "completed", "pruned")
    assert on_front(rows, resolve()) == frozenset()
