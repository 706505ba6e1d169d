"""A real study whose full training collapses on purpose, by rates of 1e-2: no champion, and everything says so."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tiny_study import tiny_config

from degas_ray.cli.arguments import find_generator
from degas_ray.cli.main import main
from degas_ray.config import dump
from degas_ray.data import prepare, split
from degas_ray.errors import InputError
from degas_ray.files import read_json, write_json
from degas_ray.home import StudyFolder
from degas_ray.report.entries import find_entries
from degas_ray.report.report import write_report
from degas_ray.runs.work import real_floor
from degas_ray.space import Genotype
from degas_ray.study import Event, load_study, run_study
from degas_ray.tracking import open_tracking

SETTINGS = {
    "limit": 700,
    "study__strategy": "random",
    "study__trials": 2,
    "study__rerank": {"top": 0, "seeds": 1},
    "study__promotions": 2,
    "study__yardstick": True,
    "full__lr": 1e-2,
    "full__critic_lr": 1e-2,
    "scores__samples": 250,
    "scores__real": 250,
    "scores__batch": 50,
}


@dataclass(frozen=True)
class Ended:
    """A study by the real command."""

    home: Path
    result: Result


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder = tmp_path_factory.mktemp("c")
    file, home = folder / "bad.yaml", folder / "home"
    file.write_text(dump(tiny_config(**SETTINGS)))
    command = ["tune", "--config", str(file), "--home", str(home), "--name", "s", "--quiet"]
    return Ended(home, CliRunner().invoke(main, command, catch_exceptions=False))


@pytest.fixture
def copied(ended: Ended, tmp_path: Path) -> Path:
    """A home as it was when the driver was killed: the first promotion is done, the second is not."""
    home = tmp_path / "home"
    shutil.copytree(ended.home, home)
    folder = StudyFolder(home, "s")
    for file in folder.root.glob("promotion/*/result.json"):  # they name their folder
        write_json(file, {**(read_json(file) or {}), "folder": str(file.parent)})
    write_json(folder.file, {**folder.read(), "status": "paused"})
    return home


def resumed(home: Path) -> list[Event]:
    events: list[Event] = []
    run_study(None, home, name="s", resume=True, on_event=events.append, should_stop=lambda: False)
    return events


def test_the_command_ends_without_a_champion_and_says_so_first(ended: Ended) -> None:
    assert ended.result.exit_code == 1
    lines = [line for line in ended.result.stdout.splitlines() if line.strip()]
    assert lines[1].startswith("NO CHAMPION: all 2 full trainings COLLAPSED, so nothing was registered.")
    assert "What may help: a longer or calmer full training" in " ".join(ended.result.stdout.split())
    told = " ".join(ended.result.stderr.split())
    assert "all 2 full trainings of study s collapsed, so no champion was registered" in told
    assert "degas-ray tune --resume s --extend-trials 4" in told


def test_mlflow_has_no_model_and_names_each_outcome(ended: Ended) -> None:
    tracking = open_tracking(ended.home)
    with pytest.raises(InputError, match="degas-ray-s"):
        tracking.resolve_model("models:/degas-ray-s@champion")
    (study,) = tracking.runs(role="study")
    promotions = tracking.runs(parent=study.run_id, role="promotion")
    assert [run.outcome for run in promotions] == ["collapsed"] * 2
    assert {run.name for run in promotions} == {"s promotion", "s promotion 2"}
    assert study.outcome == "collapsed"
    assert study.tags["mlflow.note.content"].startswith("- NO CHAMPION: all 2 full trainings COLLAPSED")
    assert study.tags["degas.verdict"].startswith("NO CHAMPION")


def test_the_report_says_so_above_all_else(ended: Ended) -> None:
    page = write_report(ended.home, "s")
    assert page.index("NO CHAMPION: all 2 full trainings COLLAPSED") < page.index("A search for an image generator")
    assert "The champion:" not in page
    (entry,) = find_entries(("s",), ended.home)
    assert entry.source == "this home; COLLAPSED, no champion of s"


def test_floor_and_yardstick_were_measured_once_for_the_home(ended: Ended) -> None:
    result = load_study(ended.home, "s")
    worth = result.worth
    assert worth.floor is not None
    assert worth.yardstick is not None
    assert (worth.floor.protocol.n_fake, worth.floor.protocol.n_real) == (250, 250)
    assert worth.floor.recall > 0.5
    assert worth.floor.coverage > 0.5
    assert worth.resnet is not None
    assert worth.floor.fid < worth.resnet
    assert len(list((ended.home / "cache" / "yardsticks").glob("*.json"))) == 1
    pack, config = split(prepare("digits", ended.home, limit=700))[0], tiny_config(**SETTINGS)
    assert real_floor(config.scores, pack, ended.home) == worth.floor


def test_a_second_study_takes_the_yardstick_of_the_first(ended: Ended, tmp_path: Path) -> None:
    home, events = tmp_path / "home", list[Event]()
    shutil.copytree(ended.home / "cache", home / "cache")
    config = tiny_config(**{**SETTINGS, "study__trials": 1, "study__promote": False, "seed": 5})
    result = run_study(config, home, name="t", on_event=events.append, should_stop=lambda: False)
    assert [event.work for event in events if event.kind == "start"] == ["trial 0"]
    assert result.worth.yardstick == load_study(ended.home, "s").worth.yardstick


def test_a_driver_killed_between_two_promotions_goes_on_with_the_second(copied: Path) -> None:
    second = load_study(copied, "s").collapsed[1]
    shutil.rmtree(second.folder)
    paused = load_study(copied, "s")
    assert [promotion.genotype for promotion in paused.collapsed] != [second.genotype]
    assert paused.verdict[0].startswith("NO CHAMPION YET: the first full training COLLAPSED.")
    assert paused.next_command == "degas-ray tune --resume s"
    events = resumed(copied)
    assert [event.work for event in events if event.kind == "start"] == ["promotion 2"]
    assert [promotion.scores for promotion in load_study(copied, "s").collapsed][1] == second.scores


def test_a_budget_that_is_spent_ends_the_promotions(copied: Path) -> None:
    folder, second = StudyFolder(copied, "s"), load_study(copied, "s").collapsed[1]
    shutil.rmtree(second.folder)
    state = folder.read()
    state["config"]["study"]["budget"]["hours"] = 1.0
    write_json(folder.file, {**state, "spent": {"seconds": 3601.0, "gpu_seconds": 0.0}})
    events = resumed(copied)
    assert [event for event in events if event.kind == "start"] == []
    assert "no more promotions: budget.hours is spent" in [event.text for event in events]
    result = load_study(copied, "s")
    assert (result.crowned, len(result.collapsed)) == (False, 1)
    assert result.next_command == "degas-ray promote s"


def test_a_candidate_that_does_not_collapse_is_crowned_in_its_place(copied: Path) -> None:
    first, second = load_study(copied, "s").collapsed
    file = Path(second.folder) / "result.json"
    write_json(file, {**(read_json(file) or {}), "outcome": "completed"})
    assert [event for event in resumed(copied) if event.kind == "start"] == []
    result = load_study(copied, "s")
    assert result.promotion is not None
    assert (result.winner, result.promotion.version) == (second.genotype, 1)
    os.utime(Path(first.folder) / "result.json")  # promoted again by hand, and the last
    assert find_generator("s", copied) == Path(second.folder) / "generator.ckpt"
    card = (open_tracking(copied).resolve_model("models:/degas-ray-s@champion") / "README.md").read_text()
    assert f"genotype {Genotype.parse(first.genotype).hash[:8]}" in card.lower()
    assert "COLLAPSED at full length" in card


def test_a_promotion_by_hand_is_kept_but_not_crowned(ended: Ended) -> None:
    command = ["promote", "s", "--trial", "0", "--home", str(ended.home), "--quiet", "--json"]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == 1
    facts = json.loads(done.stdout)
    assert (facts["promotion"]["outcome"], facts["promotion"]["model"]) == ("collapsed", "")
    assert (Path(facts["promotion"]["folder"]) / "generator.ckpt").is_file()
    assert facts["verdict"][0].startswith("NO CHAMPION")
    nobody = CliRunner().invoke(main, ["promote", "s", "--home", str(ended.home), "--quiet"], catch_exceptions=False)
    assert nobody.exit_code == 2
    assert "all 2 genotypes of s have collapsed at full length" in " ".join(nobody.stderr.split())
