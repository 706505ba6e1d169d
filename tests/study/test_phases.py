"""One phase alone, with real tracking: run directory, MLflow, resumption."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tiny_study import tiny_config

from degas_ray.config import resolve
from degas_ray.data import Pack
from degas_ray.errors import ConfigError, DivergedError, InputError, Interrupted
from degas_ray.files import write_json
from degas_ray.gan import load_generator
from degas_ray.loop import Progress
from degas_ray.runs import alone as phases
from degas_ray.runs import full
from degas_ray.space import PUBLISHED
from degas_ray.study import run_search, run_training
from degas_ray.tracking import open_tracking


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def after(calls: int) -> Callable[[], bool]:
    """Return a question that is answered with yes from its ``calls``-th time on."""
    asked = iter(range(1, 10**9))
    return lambda: next(asked) >= calls


def test_a_search_alone_leaves_a_folder_that_explains_itself(home: Path) -> None:
    seen: list[Progress] = []
    run = run_search(tiny_config(), home, name="one", on_progress=seen.append)
    assert run.folder == home / "runs" / "one"
    for name in ("config.yaml", "stats.jsonl", "genotypes.jsonl", "alphas.png", "diagram.svg", "provenance.json"):
        assert (run.folder / name).stat().st_size > 0, name
    assert resolve(run.folder / "config.yaml") == tiny_config()
    assert [progress.step for progress in seen] == list(range(1, 7))
    rows = [json.loads(line) for line in (run.folder / "genotypes.jsonl").read_text().splitlines()]
    assert rows[-1]["genotype"] == str(run.genotype)
    known = open_tracking(home).find_run(run.run_id)
    assert (known.role, known.outcome) == ("search", "completed")
    assert known.tags["degas.genotype"] == str(run.genotype)
    assert known.metrics["search/alpha_entropy"] == pytest.approx(run.found.entropy[1])


def test_an_interrupted_search_is_gone_on_with_under_its_own_settings(home: Path) -> None:
    with pytest.raises(Interrupted):
        run_search(tiny_config(), home, name="two", should_stop=after(4))
    resumed = run_search(tiny_config(search__steps=99, seed=5), home, name="two", resume=True)
    assert resumed.genotype == run_search(tiny_config(), home, name="three").genotype
    assert open_tracking(home).find_run(resumed.run_id).outcome == "completed"


def test_a_training_alone_can_be_sampled_and_says_how_it_was_scored(home: Path) -> None:
    run = run_training(tiny_config(), "degas-stl10", home, name="gan")
    assert run.outcome == "completed"
    assert run.what == str(PUBLISHED["degas-stl10"])
    generator, meta = load_generator(run.folder / "generator.ckpt")
    assert meta["what"] == run.what
    assert generator.resolution == 16
    assert all(Path(path).exists() for path in run.pictures.values())
    known = open_tracking(home).find_run(run.run_id)
    assert known.metrics["full/fid"] == pytest.approx(run.scores.fid)
    assert known.tags["degas.scores"] == run.scores.sentence()
    assert json.loads(known.tags["degas.scores_protocol"]) == asdict(run.scores.protocol)


def test_a_hand_designed_generator_is_trained_in_the_same_way(home: Path) -> None:
    run = run_training(tiny_config(full__supervised=True), "dcgan", home, name="dcgan")
    assert run.what == "dcgan"
    assert set(run.pictures) == {"samples", "real beside generated"}


def test_names_are_taken_once_and_chosen_where_none_is_given(home: Path) -> None:
    with pytest.raises(InputError, match="there is a run one already; go on with --resume one"):
        run_search(tiny_config(), home, name="one")
    with pytest.raises(InputError, match="no train run 'one'"):
        run_training(tiny_config(), "resnet", home, name="one", resume=True)
    assert run_search(tiny_config(), home).name == "search-1"


def test_a_name_that_is_taken_while_images_are_prepared_is_not_used_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = phases.prepare
    task = {"role": "search", "what": "", "config": {}}

    def meanwhile(*args: Any, **more: Any) -> Pack:
        for name in ("search-1", "mine"):
            write_json(tmp_path / "runs" / name / "task.json", task)
        return prepare(*args, **more)

    monkeypatch.setattr(phases, "prepare", meanwhile)
    assert run_search(tiny_config(), tmp_path).name == "search-2"
    (tmp_path / "runs" / "mine" / "task.json").unlink()
    with pytest.raises(InputError, match="there is a run mine already; go on with --resume mine"):
        run_search(tiny_config(), tmp_path, name="mine")
    assert json.loads((tmp_path / "runs" / "mine" / "task.json").read_text()) == task


def test_a_diverged_training_is_recorded_as_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*args: object, **more: object) -> None:
        raise DivergedError("the loss is not finite")

    monkeypatch.setattr(full, "training_work", diverge)
    with pytest.raises(DivergedError):
        run_training(tiny_config(), "resnet", home, name="bad")
    (known,) = [run for run in open_tracking(home).runs(role="train") if run.name == "bad"]
    assert known.outcome == "diverged"


def test_faults_come_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises((InputError, ConfigError)):
        run_training(tiny_config(), "no-such-genotype", tmp_path)
    with pytest.raises(InputError, match="has no labels"):
        run_training(tiny_config(dataset=f"folder:{_grey(tmp_path)}", full__supervised=True), "resnet", tmp_path / "h")
    assert not (tmp_path / "h" / "runs").exists()


def _grey(folder: Path) -> Path:
    from PIL import Image

    (folder / "images").mkdir()
    for index in range(8):
        Image.new("L", (16, 16), index * 30).save(folder / "images" / f"{index}.png")
    return folder / "images"
