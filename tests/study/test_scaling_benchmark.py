"""The benchmark of the orchestration at its smallest: a real study, paused, gone on with, counted."""

from pathlib import Path

import pytest

from benchmarks.scaling import measure


@pytest.mark.slow
def test_a_simulated_study_is_recorded_trial_by_trial(tmp_path: Path) -> None:
    result = measure(tmp_path / "home", trials=8, concurrent=2, every=2, sleep=0.0)
    assert result["first_half"]["paused"]
    assert 4 <= result["first_half"]["trials_there"] < 8
    assert [result[part]["trials_there"] for part in ("second_half", "gone_on_with_when_over")] == [8, 8]
    assert result["gone_on_with_when_over"]["seconds_to_first_trial"] is None  # nothing was left to do
    marks = [mark["trials"] for part in ("first_half", "second_half") for mark in result[part]["marks"]]
    assert marks == [2, 4, 6, 8]
    assert all(mark["driver_mib"] > 0 for mark in result["second_half"]["marks"])
    assert [result[key] for key in ("mlflow_children", "mlflow_distinct_trials", "mlflow_completed")] == [8, 8, 8]
