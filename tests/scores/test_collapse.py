"""The thresholds of a collapse against trainings that were labelled by eye, and at their edges."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.collapse import TABLE, evaluation, read_table
from degas_ray.scores import Protocol, Scores
from degas_ray.scores.floor import COVERAGE, FEWEST, RECALL, is_collapsed
from degas_ray.scores.protocol import METHOD

SHARES = st.floats(0, 1)


def scores(recall: float, coverage: float, fake: int = 1000, real: int = 1000) -> Scores:
    protocol = Protocol("efficientnet-lite0", "w", "r", fake, real, 10, "f", "batch", "last", METHOD, 0, "0")
    return Scores(100.0, 0.1, 1.0, 0.1, 0.5, recall, 0.5, coverage, protocol)


FLOOR = scores(0.87, 0.96)


def test_the_champion_that_drew_five_shapes_has_collapsed_and_its_rival_has_not() -> None:
    """Scores of two full trainings on the digits: one of five shapes over and over, the other of all digits."""
    assert is_collapsed(scores(0.000, 0.006), FLOOR)
    assert not is_collapsed(scores(0.116, 0.06), FLOOR)
    assert not is_collapsed(FLOOR, FLOOR)


def test_few_images_say_nothing() -> None:
    for counts in ((FEWEST - 1, 1000), (1000, FEWEST - 1)):
        assert not is_collapsed(scores(0.0, 0.0, *counts), FLOOR)
        assert not is_collapsed(scores(0.0, 0.0), scores(0.87, 0.96, *counts))
    assert is_collapsed(scores(0.0, 0.0, FEWEST, FEWEST), FLOOR)


@given(SHARES, SHARES, SHARES, SHARES)
def test_reaching_more_never_makes_a_collapse(recall: float, coverage: float, more: float, wider: float) -> None:
    before = is_collapsed(scores(recall, coverage), FLOOR)
    after = is_collapsed(scores(max(recall, more), max(coverage, wider)), FLOOR)
    assert before or not after


def test_the_labels_give_the_error_rates_that_the_text_states() -> None:
    rows = read_table(TABLE)
    found = evaluation(rows)
    assert found["generators"] == 46
    called = found[f"recall below {RECALL:g} of the floor's"]
    assert (called["missed"]["count"], called["missed"]["of"]) == (2, 26)
    assert (called["false alarms"]["count"], called["false alarms"]["of"]) == (2, 20)
    assert found["by the critic's diversity"]["missed"]["count"] == 26
    # The exact interval of 2 of 26, by the tables of Clopper and Pearson.
    assert called["missed"]["interval"] == pytest.approx([0.0095, 0.2513], abs=1e-3)
    for row in rows:
        floor = scores(float(row["floor_recall"]), float(row["floor_coverage"]))
        wrong = is_collapsed(scores(float(row["recall"]), float(row["coverage"])), floor) == (row["label"] == "sound")
        assert wrong == (row["name"] in found["wrong"])


def test_the_text_states_the_shares(pytestconfig: pytest.Config) -> None:
    text = Path(pytestconfig.rootpath, "docs", "method.md").read_text(encoding="utf-8")
    assert f"{100 * RECALL:g} % of the floor's recall" in text
    assert f"{100 * COVERAGE:g} % of its coverage" in text
