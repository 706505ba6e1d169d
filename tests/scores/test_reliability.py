"""ICC(1) against published tables and a closed form."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degas_ray.scores.reliability import intraclass_correlation

# Shrout and Fleiss (1979), table 2: four judges rate six targets.
TABLE = [(9, 2, 5, 8), (6, 1, 3, 2), (8, 4, 6, 8), (7, 1, 2, 6), (10, 5, 6, 9), (6, 2, 4, 7)]
VALUES = st.lists(st.lists(st.floats(-100, 100), min_size=2, max_size=4), min_size=2, max_size=6)


def test_the_table_of_shrout_and_fleiss() -> None:
    """Their table 4 has ICC(1,1) = .17; psych's ICC in R prints 0.166 with the interval -0.133 to 0.723 for it."""
    found = intraclass_correlation(TABLE)
    assert found is not None
    assert found.value == pytest.approx(0.166, abs=5e-4)
    assert (found.low, found.high) == (pytest.approx(-0.133, abs=5e-4), pytest.approx(0.723, abs=5e-4))
    assert found.within == pytest.approx(math.sqrt(6.26), abs=2e-3)  # their within-target mean square
    assert (found.groups, found.count) == (6, 24)


def test_unequal_groups_have_the_variance_components_of_a_hand_count() -> None:
    # Means 1 and 5 of 2 and 3 values, 3.4 in all: MSB = 2 * 2.4^2 + 3 * 1.6^2 = 19.2, MSW = (2 + 2) / 3,
    # size = 5 - 13 / 5 = 2.4, ICC = (MSB - MSW) / (MSB + 1.4 MSW).
    found = intraclass_correlation([(0, 2), (4, 5, 6)])
    assert found is not None
    assert found.value == pytest.approx((19.2 - 4 / 3) / (19.2 + 1.4 * 4 / 3))
    assert found.within == pytest.approx(math.sqrt(4 / 3))


@given(VALUES, st.floats(0.1, 10), st.floats(-50, 50))
def test_neither_the_unit_nor_the_zero_of_a_scale_counts(groups: list[list[float]], unit: float, zero: float) -> None:
    spread = np.ptp(np.concatenate(groups))
    found = intraclass_correlation(groups)
    if found is None or spread < 1e-3:
        return
    moved = intraclass_correlation([[unit * value + zero for value in group] for group in groups])
    assert moved is not None
    assert moved.value == pytest.approx(found.value, abs=1e-6)
    assert found.low <= found.value + 1e-12
    assert found.value <= found.high + 1e-12


def test_true_reliability_lies_in_its_interval_as_often_as_it_says() -> None:
    draw, inside, true = np.random.default_rng(0), 0, 0.5
    for _ in range(400):
        groups = draw.normal(size=(8, 1)) + draw.normal(size=(8, 3))
        found = intraclass_correlation(groups.tolist())
        assert found is not None
        inside += found.low <= true <= found.high
    assert inside / 400 == pytest.approx(0.95, abs=0.033)  # three standard errors


@pytest.mark.parametrize("groups", [[], [(1.0, 2.0)], [(1.0,), (2.0,)], [(1.0, 1.0), (1.0, 1.0)], [(), (1.0, 2.0)]])
def test_what_has_no_reliability_gets_none(groups: list[tuple[float, ...]]) -> None:
    assert intraclass_correlation(groups) is None
