"""The study's own run: its curve, whatever the order in which trials end."""

from pathlib import Path

from test_queues import GENOTYPES, scores
from tiny_study import Notes, tiny_config

from degas_ray.files import write_json
from degas_ray.home import StudyFolder
from degas_ray.report.summary import record
from degas_ray.results import Row


def end(folder: StudyFolder, number: int, score: float | None) -> None:
    """Let a trial end, without a score where it diverged."""
    row = Row(number, "diverged", {}, 1)
    if score is not None:
        row = Row(number, "completed", {}, 1, GENOTYPES[number], 1, scores(score), (score,), parameters=9, macs=9)
    write_json(folder.trial(number) / "result.json", row.to_json())


def points(notes: Notes, name: str) -> dict[int, float]:
    """Return what MLflow keeps of a metric: the first value of every step."""
    return dict(reversed(notes.series(name)))


def test_the_best_so_far_is_right_after_a_pause_with_a_trial_left_behind(tmp_path: Path) -> None:
    folder, notes, config = StudyFolder(tmp_path, "s"), Notes(), tiny_config()
    for number, score in ((0, 30.0), (1, None), (3, 20.0)):
        end(folder, number, score)
    record(notes, config, folder, 16)  # paused: trial 2 goes on later
    assert points(notes, "study/fid") == {0: 30.0, 3: 20.0}
    assert points(notes, "study/best_fid") == {0: 30.0}
    end(folder, 2, 10.0)
    record(notes, config, folder, 16)
    assert points(notes, "study/fid") == {0: 30.0, 2: 10.0, 3: 20.0}
    assert points(notes, "study/best_fid") == {0: 30.0, 2: 10.0, 3: 10.0}
