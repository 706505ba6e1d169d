"""What a study and a training see of the images, and what the second judge leaves behind."""

import json
from pathlib import Path

import pytest
from tiny_study import Notes, tiny_config

from degas_ray.data import prepare, split
from degas_ray.gan import build_generator
from degas_ray.runs.run import Place
from degas_ray.runs.work import scoring_work
from degas_ray.study import opened, run_training
from degas_ray.study.events import Event
from degas_ray.tracking import open_tracking


def test_scores_are_recorded_and_kept_with_both_judges(tmp_path: Path) -> None:
    config, notes = tiny_config(), Notes()
    training, _ = split(prepare("digits", tmp_path, limit=64))
    generator = build_generator("degas-stl10", config.proxy, training.resolution)
    place = Place(tmp_path, tmp_path / "run", notes)
    scores = scoring_work(generator, config.scores, training, place, phase="proxy", seed=0, step=6)
    assert scores.second is not None
    assert (scores.second.protocol.n_fake, scores.second.protocol.n_real) == (20, 12)
    assert notes.series("proxy/second_fid") == [(6, scores.second.distance)]
    assert notes.series("proxy/second_recognised") == [(6, scores.second.numbers["recognised"])]
    again = scoring_work(generator, config.scores, training, place, phase="proxy", seed=0, step=6)
    assert again == scores


def test_a_training_sees_the_training_part_alone(tmp_path: Path) -> None:
    training, _ = split(prepare("digits", tmp_path, limit=64))
    run = run_training(tiny_config(), "degas-stl10", tmp_path, name="gan")
    facts = json.loads((run.folder / "provenance.json").read_text())
    assert facts["data"]["fingerprint"] == training.fingerprint
    assert run.scores.second is not None
    recorded = open_tracking(tmp_path).find_run(run.run_id).metrics
    assert recorded["full/second_coverage"] == pytest.approx(run.scores.second.numbers["coverage"])
    assert list((tmp_path / "cache" / "judges").glob("*.safetensors"))


def test_a_study_trains_the_second_judge_once_before_its_trials(tmp_path: Path) -> None:
    training, _ = split(prepare("digits", tmp_path, limit=64))
    events: list[Event] = []
    for name in ("one", "two"):
        folder = opened.open_folder(tiny_config(), tmp_path, name, resume=False)
        prepared = opened.prepare_study(tiny_config(), folder, events.append)
        assert prepared.pack.fingerprint == training.fingerprint
    assert [event.text for event in events] == [
        "the second judge, a small classifier, is trained: once for each data set in this home"
    ]
