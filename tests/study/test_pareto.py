from hypothesis import given
from hypothesis import strategies as st

from degas_ray.study.pareto import front, ranked

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
