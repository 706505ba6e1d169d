"""Whole studies with real Ray, Optuna and MLflow: killed, resumed, finished; and what they leave."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from tiny_study import tiny_config

from degas_ray.checkpoint import list_steps
from degas_ray.config import dump
from degas_ray.errors import ConfigError, DataError, InputError
from degas_ray.gan import load_generator
from degas_ray.home import StudyFolder
from degas_ray.study import Event, StudyResult, load_study, run_study
from degas_ray.tracking import RunDirectory, open_tracking
from degas_ray.trials.proposals import STUDY_NAME

ENTRY = Path(sys.executable).with_name("degas-ray")
HELPERS = Path(__file__).parents[1] / "helpers"


@dataclass
class Killed:
    """A study whose driver was ended in its first trial's proxy training, and then resumed."""

    home: Path
    user: Path
    exit_code: int
    driver: int
    output: str
    steps: list[int]
    result: StudyResult
    events: list[Event] = field(default_factory=list)


def drive(home: Path, user: Path, name: str, number: signal.Signals, search_cpus: float) -> tuple[int, int, str]:
    """Run the driver to its end; return its process id, its exit code and what it printed."""
    environment = {**os.environ, "HOME": str(user), "PYTHONPATH": str(HELPERS), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HELPERS / "killed_driver.py"), str(home), name, str(int(number)), str(search_cpus)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as driver:
        output, _ = driver.communicate(timeout=200)
    return driver.pid, driver.returncode, output


def resume_after(folder: Path, number: signal.Signals, search_cpus: float = 1.0) -> Killed:
    home, user = folder / "home", folder / "user"
    user.mkdir(parents=True)
    pid, code, output = drive(home, user, "s", number, search_cpus)
    files = list_steps(StudyFolder(home, "s").trial(0) / "proxy")
    events: list[Event] = []
    result = run_study(None, home, name="s", resume=True, on_event=events.append, should_stop=lambda: False)
    steps = [int(path.stem.removeprefix("step-")) for path in files]
    return Killed(home, user, code, pid, output, steps, result, events)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    return resume_after(tmp_path_factory.mktemp("k"), signal.SIGKILL)


def test_the_driver_died_inside_the_proxy_training(killed: Killed) -> None:
    assert killed.exit_code == -signal.SIGKILL, killed.output
    assert killed.steps, "no checkpoint had been written"


def test_no_trial_is_lost_and_none_runs_twice(killed: Killed) -> None:
    assert [row.number for row in killed.result.rows] == [0, 1]
    assert [row.outcome for row in killed.result.rows] == ["completed", "completed"]
    assert [event.work for event in killed.events if event.kind == "start"] == ["trial 0", "trial 1", "promotion"]


def test_the_unfinished_trial_goes_on_from_its_last_checkpoint(killed: Killed) -> None:
    phases = [(event.phase, event.step) for event in killed.events if event.kind == "progress" and event.trial == 0]
    assert "search" not in {phase for phase, _ in phases}
    assert min(step for phase, step in phases if phase == "proxy") > killed.steps[0]


def test_its_record_has_neither_gaps_nor_doubles(killed: Killed) -> None:
    for row in killed.result.rows:
        rows = RunDirectory(StudyFolder(killed.home, "s").trial(row.number)).rows()
        steps = [entry["step"] for entry in rows if "proxy/critic_loss" in entry]
        assert steps == list(range(2, 201, 2))  # a hundred reports of 200 steps


def test_mlflow_holds_each_trial_once_under_one_study(killed: Killed) -> None:
    tracking = open_tracking(killed.home)
    (study,) = tracking.runs(role="study")
    children = tracking.runs(parent=study.run_id)
    assert sorted(child.role for child in children) == ["promotion", "trial", "trial"]
    assert {child.outcome for child in [study, *children]} == {"completed"}
    assert study.run_id == killed.result.run_id
    trials = [child for child in children if child.role == "trial"]
    assert {child.tags["degas.genotype"] for child in trials} == {row.genotype for row in killed.result.rows}
    assert len({child.params["seed"] for child in trials}) == 2
    for child, row in zip(sorted(trials, key=lambda run: int(run.params["trial"])), killed.result.rows, strict=True):
        assert child.run_id == row.run_id
        assert child.metrics["proxy/fid"] == pytest.approx(row.score)


def test_the_champion_can_be_loaded_by_name(killed: Killed) -> None:
    promotion = killed.result.promotion
    assert promotion is not None
    folder = open_tracking(killed.home).resolve_model("models:/degas-ray-s@champion")
    generator, meta = load_generator(folder / "generator.ckpt")
    assert meta["what"] == killed.result.winner == promotion.genotype
    assert generator.resolution == 16
    assert killed.result.promotion.scores["protocol"]["n_fake"] == 20
    assert "models:/degas-ray-s@champion" in killed.result.next_command
    assert "## Scores" in (folder / "README.md").read_text()


def test_pictures_are_where_they_are_said_to_be(killed: Killed) -> None:
    assert set(killed.result.pictures) == {"diagram", "samples", "real beside generated"}
    for path in killed.result.pictures.values():
        assert Path(path).stat().st_size > 0


def test_everything_is_below_home(killed: Killed) -> None:
    # Matplotlib's and torch's own caches follow the environment that the command line sets.
    assert {path.name for path in killed.user.iterdir()} <= {".cache", ".config"}
    known = {"cache", "mlflow-artifacts", "mlflow.db", "packs", "studies", "tracking", "ray"}
    assert {path.name for path in killed.home.iterdir()} <= known
    assert not list(killed.home.glob("ray/*"))
    assert not (killed.home / "studies" / "s" / "ray").exists()
    assert not list(Path(tempfile.gettempdir()).glob(f"degas-ray-*-{killed.driver}"))


def test_checkpoints_of_finished_work_are_gone(killed: Killed) -> None:
    assert not list((killed.home / "studies").rglob("step-*.ckpt"))


def test_a_finished_study_is_read_not_run(killed: Killed) -> None:
    events: list[Event] = []
    again = run_study(None, killed.home, name="s", resume=True, on_event=events.append)
    assert again == load_study(killed.home, "s") == killed.result
    assert events == []


def test_a_name_that_is_taken_is_refused(killed: Killed) -> None:
    with pytest.raises(InputError, match="there is a study s already; go on with 'degas-ray tune --resume s'"):
        run_study(tiny_config(), killed.home, name="s")


def test_a_fault_is_told_before_a_study_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"study\.tune"):
        run_study(tiny_config(study__tune=("search.alpha_rl",)), tmp_path, name="a")
    with pytest.raises(InputError, match=r"name: got '\.\./b'"):
        run_study(tiny_config(), tmp_path, name="../b")
    with pytest.raises(DataError):
        run_study(tiny_config(dataset="folder:nowhere"), tmp_path, name="c")
    with pytest.raises(InputError, match="there are none yet; 'degas-ray tune' makes one"):
        run_study(None, tmp_path, name="d", resume=True)
    assert not (tmp_path / "studies").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_pauses_a_study_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    paused = resume_after(tmp_path, number)
    assert paused.exit_code == 130, paused.output
    assert "degas-ray tune --resume s" in paused.output
    assert [row.outcome for row in paused.result.rows] == ["completed", "completed"]
    first = next(event.step for event in paused.events if event.trial == 0 and event.phase == "proxy")
    assert first > paused.steps[-1]  # nothing is done twice


@pytest.mark.slow
@pytest.mark.timeout(900)  # two studies that are killed and gone on with
def test_trials_of_two_jobs_come_to_the_same_as_trials_of_one(killed: Killed, tmp_path: Path) -> None:
    halves = resume_after(tmp_path, signal.SIGKILL, search_cpus=0.5)
    assert halves.exit_code == -signal.SIGKILL, halves.output
    works = [event.work for event in halves.events if event.kind == "start"]
    assert works == ["trial 0", "trial 1", "trial 1", "promotion"]  # the search of the first had ended
    ends, those = ([(r.number, r.outcome, r.genotype, r.scores) for r in run.result.rows] for run in (halves, killed))
    assert ends == those
    test_its_record_has_neither_gaps_nor_doubles(halves)
    test_mlflow_holds_each_trial_once_under_one_study(halves)


@pytest.mark.slow
def test_a_study_of_several_objectives_is_cut_short_and_then_made_longer(tmp_path: Path) -> None:
    told = tmp_path / "told"
    config = tiny_config(
        study__trials=4,
        study__objectives=("fid", "parameters"),
        study__early_stop=True,
        study__promote=False,
        proxy__steps=8,
        study__on_finish=f'echo "$DEGAS_RAY_STUDY $DEGAS_RAY_STATUS" >> {told}',
    )
    first = run_study(config, tmp_path, name="s", should_stop=lambda: False)
    longer = run_study(None, tmp_path, name="s", resume=True, extend=2, should_stop=lambda: False)
    assert [row.number for row in longer.rows] == list(range(6))
    assert longer.rows[:4] == first.rows
    assert {row.outcome for row in longer.rows} <= {"completed", "collapsed", "pruned"}
    assert longer.front <= {row.number for row in longer.rows if row.score is not None}
    assert longer.front
    assert told.read_text() == "s finished\n" * 2

    storage = JournalStorage(JournalFileBackend(str(StudyFolder(tmp_path, "s").journal)))
    trials = optuna.load_study(study_name=STUDY_NAME, storage=storage).trials
    assert [trial.state == TrialState.PRUNED for trial in trials] == [row.outcome == "pruned" for row in longer.rows]
    assert [run.outcome for run in open_tracking(tmp_path).runs(role="trial")].count("pruned") == sum(
        row.outcome == "pruned" for row in longer.rows
    )


@pytest.mark.slow
def test_early_stopping_by_its_flag_reports_what_it_ended_as_pruned(tmp_path: Path) -> None:
    file, home = tmp_path / "tiny.yaml", tmp_path / "home"
    file.write_text(dump(tiny_config(study__concurrent=1, study__rerank={"top": 0, "seeds": 1}, study__promote=False)))
    command = f"tune --config {file} --home {home} --name s --trials 8 --early-stop --objectives fid,parameters --json"
    done = subprocess.run([ENTRY, *command.split()], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    outcomes = [trial["outcome"] for trial in json.loads(done.stdout)["trials"]]
    assert len(outcomes) == 8
    assert "pruned" in outcomes
    assert [run.outcome for run in open_tracking(home).runs(role="trial")] == outcomes
    storage = JournalStorage(JournalFileBackend(str(StudyFolder(home, "s").journal)))
    trials = optuna.load_study(study_name=STUDY_NAME, storage=storage).trials
    assert [trial.state == TrialState.PRUNED for trial in trials] == [outcome == "pruned" for outcome in outcomes]
    milestones = [row.milestones for row in load_study(home, "s").rows]
    assert {int(step) for reached in milestones for step in reached} == {2, 3}  # of six
