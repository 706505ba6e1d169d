"""``degas-ray tune`` and ``promote``: what is passed on, shown, printed; the study itself is a stand-in here."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import degas_ray.study
from degas_ray.cli.main import main
from degas_ray.cli.results import print_study
from degas_ray.errors import Interrupted
from degas_ray.report.result import StudyResult
from degas_ray.report.worth import Worth
from degas_ray.results import Promotion, Rerun, Row, Yardstick
from degas_ray.runs.jobs import Resources
from degas_ray.scores import Protocol, Scores
from degas_ray.space import PUBLISHED, Genotype
from degas_ray.study.events import Event
from degas_ray.study.placement import misfits, place
from degas_ray.study.plan import Plan

CIFAR, STL = PUBLISHED["degas-cifar10"], PUBLISHED["degas-stl10"]
PROTOCOL = {
    "extractor": "efficientnet-lite0", "weights_hash": "579344248a93e230", "resizer": "clean-bicubic-64",
    "n_fake": 1000, "n_real": 1000, "splits": 10, "reference": "9f0b3ca25c660bc3", "bn": "batch", "checkpoint": "last",
    "method": 1, "seed": 0, "version": "0.1.0",
}  # fmt: skip


def scores(fid: float) -> dict[str, Any]:
    names = ("kid", "is_mean", "is_std", "precision", "recall", "density", "coverage")
    return {"fid": fid, **dict.fromkeys(names, 0.5), "protocol": PROTOCOL, "protocol_hash": "x"}


def row(number: int, outcome: str = "completed", genotype: str = "", fid: float = 0.0, **more: Any) -> Row:
    scored = {"scores": scores(fid), "distances": (fid,), "n": 1, "parameters": 123_456, "entropy": (1.0, 0.75)}
    return Row(number, outcome, {"search.lr": 0.1}, 7, genotype, seconds=65.4, **(scored if fid else {}), **more)


RESULT = StudyResult(
    name="digits-1",
    folder=Path("/home/studies/digits-1"),
    run_id="0" * 32,
    rows=(
        row(0, genotype=str(CIFAR), fid=1234.56),
        row(1, "diverged", error="search: the loss became non-finite at step 12"),
        row(2, genotype=str(STL), fid=1300.0),
        row(3, "failed", error="Traceback (most recent call last):\n  ...\nRuntimeError: out of memory"),
    ),
    reruns=(Rerun(str(CIFAR), 0, 1, "completed", scores(1500.0)), Rerun(str(STL), 0, 2, "completed", scores(1400.0))),
    winner=str(STL),
    promotion=Promotion(
        str(STL), "/f", "completed", scores(99.5), 200_000, 7_000_000, "1" * 32, "degas-ray-digits-1", 3
    ),
    pictures={"diagram": "/f/diagram.svg", "real beside generated": "/f/real.png"},
    next_command="degas-ray sample models:/degas-ray-digits-1@champion --grid --out samples.png",
    seconds=245.0,
    verdict=(
        "Champion: Fréchet distance 99.5, recall 0.50, coverage 0.50.",
        "Floor, real images: 50.0.",
    ),
    worth=Worth(Scores.from_json(scores(50.0)), Yardstick("resnet", "completed", scores(1300.0))),
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Replace studies by one that notes what it is given, tells a short story, and ends at once."""
    found: list[dict[str, Any]] = []

    def study(config: Any, home: Path, *, on_event: Any, **more: Any) -> StudyResult:
        found.append({"config": config, "home": home, **more})
        on_event(Event("plan", steps=4, text="digits-1"))
        on_event(Event("start", work="trial 0", trial=0))
        on_event(Event("progress", work="trial 0", trial=0, phase="search", step=3, steps=10))
        on_event(Event("message", text="trial 1: its worker died; it goes on from its last checkpoint (1 of 3)"))
        best: dict[str, Any] = {"best": 1234.56, "protocol": Protocol.from_json(PROTOCOL)}
        on_event(Event("end", work="trial 0", trial=0, outcome="completed", score=1234.56, eta=90.0, **best))
        on_event(Event("start", work="trial 1", trial=1, eta=80.0, **best))
        on_event(Event("end", work="trial 1", trial=1, outcome="diverged", **best))
        return RESULT

    def promote(home: Path, name: str, **more: Any) -> StudyResult:
        return study(None, home, name=name, **more)

    monkeypatch.setattr(degas_ray.study, "run_study", study, raising=False)
    monkeypatch.setattr(degas_ray.study, "promote_genotype", promote, raising=False)
    monkeypatch.chdir(tmp_path)
    return found


def run(*args: str | Path):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_options_become_the_configuration(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("search: {steps: 11, width: 8}\nstudy: {trials: 9}\n")
    args = ["--config", file, "--set", "search.width=12", "--trials", "2", "--name", "mine", "--seed", "5"]
    more = ["--dataset", "photos", "--objectives", "fid,macs", "--time-budget", "90m", "--max-parameters", "1000"]
    assert run("tune", *args, *more).exit_code == 0
    (call,) = calls
    config = call["config"]
    assert (config.search.steps, config.search.width, config.study.trials, config.seed) == (11, 12, 2, 5)
    assert (config.dataset, config.study.objectives) == ("photos", ("fid", "macs"))
    assert (config.study.budget.hours, config.study.max_parameters) == (1.5, 1000)
    assert (call["name"], call["resume"], call["extend"]) == ("mine", False, 0)
    assert call["home"] == tmp_path / "degas-runs"


def test_home_comes_from_the_environment(calls: list[dict[str, Any]], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DEGAS_RAY_HOME", str(tmp_path / "elsewhere"))
    result = run("tune")
    assert calls[0]["home"] == tmp_path / "elsewhere"
    assert result.stdout.endswith(f"{RESULT.next_command}\n\n")


def test_the_story_goes_to_stderr(calls: list[dict[str, Any]]) -> None:
    result = run("tune")
    lines = [line.partition("  ")[2] for line in result.stderr.splitlines()]
    assert lines == [
        "study digits-1: 4 trials",
        "trial 0  begins",
        "trial 0  search 3/10",
        "trial 1: its worker died; it goes on from its last checkpoint (1 of 3)",
        "trial 0  completed  Fréchet distance 1,234.6",
        "best so far: Fréchet distance 1,234.6 (efficientnet-lite0 features) (1 of 4 trials · 01:30 left)",
        "trial 1  begins",
        "trial 1  diverged",
        "2 of 4 trials",
    ]
    assert run("tune", "--quiet").stderr == ""


def test_the_end_says_everything(calls: list[dict[str, Any]]) -> None:
    text = run("tune", "--home", "h").stdout
    for part in (
        "Study digits-1: 4 trials in 04:05",
        "04:05\nChampion: Fréchet distance 99.5, recall 0.50, coverage 0.50.\nFloor, real images: 50.0.\n",
        "0   completed    1,234.6       25      0.95   123,456   01:05   dcb41174",
        "1   diverged           –        –         –         –   01:05          –",
        "★ 2   completed    1,300.0",
        "distance: Fréchet distance on efficientnet-lite0 features (1,000 samples against 1,000 real images), after",
        "protocol               clean-bicubic-64 resizing, BN with batch statistics, last checkpoint, real images 9f0b",
        "trial 1: search: the loss became non-finite at step 12",
        "trial 3: RuntimeError: out of memory",
        "★ 37c0b809        1,300.0      1,400.0   1,400.0",
        "Winner 37c0b8098c9f",
        "Stage 2: N2a is avg_pool_3x3 of U1; U2 is deconv_4x4 of N2a.",
        f"As text: {STL}",
        "degas-ray-digits-1 version 3, alias champion",
        "Fréchet distance 99.50 (efficientnet-lite0 features, 1,000 samples against 1,000 real images)",
        "Pictures in /f\n",
        "real beside generated  real.png",
        f"Next\n{RESULT.next_command} --home {Path('h').absolute()}\n",
    ):
        assert part in text
    assert "FID" not in text
    table = text.split("distance: ")[0].splitlines()
    assert max(map(len, table)) <= 80


def test_json_is_all_there_is(calls: list[dict[str, Any]]) -> None:
    result = run("tune", "--json", "--quiet")
    found = json.loads(result.stdout)
    assert result.stderr == ""
    assert (found["study"], found["genotype"], len(found["trials"])) == ("digits-1", str(STL), 4)
    assert (found["trials"][0]["score"], found["trials"][1]["score"]) == (1234.56, None)
    assert found["promotion"]["scores"]["protocol"]["extractor"] == "efficientnet-lite0"
    assert found["verdict"] == list(RESULT.verdict)
    assert found["judge"]["yardstick"] == {"name": "resnet", "outcome": "completed", "distance": 1300.0}
    assert (found["judge"]["floor"]["fid"], found["judge"]["reliability"]) == (50.0, None)


def test_resume_and_extend(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    result = run("tune", "--resume", "digits-1", "--extend-trials", "3")
    assert calls[0] == {
        "config": None, "home": tmp_path / "degas-runs", "name": "digits-1", "resume": True, "extend": 3,
    }  # fmt: skip
    assert "best so far: Fréchet distance 1,234.6" in result.stderr


def test_promote_takes_a_trial_or_a_genotype(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    assert run("promote", "digits-1", "--trial", "2").exit_code == 0
    assert run("promote", "digits-1", "--genotype", "degas-stl10").exit_code == 0
    assert [(call["name"], call["trial"], call["genotype"]) for call in calls] == [
        ("digits-1", 2, None),
        ("digits-1", None, STL),
    ]


def test_interruption_is_130_and_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def study(*args: Any, **more: Any) -> None:
        raise Interrupted("study x is paused and kept; go on with 'degas-ray tune --resume x'")

    monkeypatch.setattr(degas_ray.study, "run_study", study, raising=False)
    result = run("tune")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "Stopped: study x is paused and kept; go on with 'degas-ray tune --resume x'\n"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (["--name", "s"], "'degas-ray search --resume s'"),
        ([], "'degas-ray search --resume RUN', where RUN is its folder's name"),
    ],
)
def test_an_interrupted_search_says_how_to_go_on(name: list[str], hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*args: Any, **more: Any) -> None:
        raise Interrupted("the search was stopped at step 5 of 300")

    monkeypatch.setattr(degas_ray.study, "run_search", search, raising=False)
    result = run("search", *name)
    assert (result.exit_code, result.stdout) == (130, "")
    assert f"Stopped: the search was stopped at step 5 of 300; go on with {hint}" in result.stderr


def test_dry_run_prints_settings_trials_and_costs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def plan(config: Any, home: Path) -> Plan:
        trials = tuple({"search.lr": 0.1 / (1 + index), "search.n": 1} for index in range(9))
        seconds = {"search": 60.0, "proxy": 30.0, "score": 3.0, "full": 90.0}
        there = Resources(8, 2, 1, ((8, 2),))
        placement = place(config, there)
        missing = misfits(config, placement, there)
        return Plan(config, 1797, "ready", trials, placement, seconds, 425.0, 67_000_000, missing)

    monkeypatch.setattr(degas_ray.study, "make_plan", plan, raising=False)
    monkeypatch.chdir(tmp_path)
    text = run("tune", "--dry-run", "--trials", "9").stdout
    assert text.startswith("dataset: digits\n")
    assert "trials: 9\n" in text
    assert text.count("search.lr") == 2  # in two tables, side by side there is no room
    assert "trial 8" in text
    assert "a trial    search 01:00, proxy 00:30, score 00:03" in text
    assert "placement  a trial on 1 CPU and 1 GPU, 2 side by side; the promotion on 8 CPUs and 1 GPU" in text
    assert "in all     about 07:05" in text
    assert "disk       about 67 MB" in text
    found = json.loads(run("tune", "--dry-run", "--json").stdout)
    assert (found["config"]["dataset"], found["total_seconds"], len(found["trials"])) == ("digits", 425.0, 9)
    assert found["placement"]["training"] == {"cpus": 1.0, "gpus": 1.0}
    assert found["misfits"] == []
    result = run("tune", "--dry-run", "--set", "study.gpus=4")
    assert result.exit_code == 0  # it may be meant for another machine
    assert "not here   study.gpus: got 4, but no host has more than 2 GPUs\n" in result.stdout
    sets = [f"--set=study.{key}" for key in ("gpus=0.5", "search_gpus=0.25", "search_cpus=2", "promote=false")]
    assert (
        "placement  a search on 2 CPUs and 0.25 GPU, 4 side by side; a proxy training on 1 CPU and 0.5 GPU, "
        "4 side by side\n"
    ) in run("tune", "--dry-run", *sets).stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--set", "a"], "--set a: expected key=value"),
        (["--set", "serach.width=1", "--trials", "0"], "2 faults in the configuration:"),
        (["--time-budget", "2 weeks"], "got '2 weeks', expected a number with s, m, h or d"),
        (["--objectives", "fid,speed"], "study.objectives.1: got 'speed', expected 'fid', 'parameters' or 'macs'"),
        (["--extend-trials", "2"], "--extend-trials goes with --resume STUDY"),
        (["--resume", "digits-9"], "no study 'digits-9'"),
        (["--resume", "digits-9", "--trials", "3"], "--trials does not go with --resume"),
        (["--resume", "digits-9", "--dry-run"], "--dry-run does not go with --resume"),
        (["--dataset", "digit"], "there is no data source 'digit'; did you mean digits?"),
        (["--name", "../x"], "name: got '../x', expected"),
        (["--set", "study.tune=[search.lt]"], "study.tune: search.lt is not tuned; did you mean search.lr?"),
        (["--config", "."], "cannot read the configuration"),
        (["--seed", "-3"], "got -3, expected 0 to"),
    ],
)
def test_wrong_input_is_a_sentence_and_writes_nothing(
    args: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("tune", *args)
    assert (result.exit_code, result.stdout) == (2, ""), result.exception
    assert part in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_wider_than_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    print_study(RESULT, Path("degas-runs").absolute())
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert max(len(line) for line in lines) <= 80
    assert Genotype.parse(" ".join(lines).split("As text:")[1].split("Champion")[0]) == STL


@pytest.mark.parametrize("verb", [("tune",), ("train", "degas-cifar10")])
def test_missing_weights_are_told_before_anything_is_written(tmp_path: Path, verb: tuple[str, ...]) -> None:
    home, weights = tmp_path / "home", tmp_path / "inception.pt"
    settings = ("--set", "scores.extractor=inception", "--set", f"scores.weights={weights}")
    result = run(*verb, *settings, "--home", home)
    assert result.exit_code == 2
    assert "inception.pt" in result.stderr
    assert not list(home.rglob("*"))
