"""A trial in a worker's hands; MLflow is stood in for by notes, everything else is real."""

import errno
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_study import Notes, tiny_config

from degas_ray.config import Config
from degas_ray.data import prepare
from degas_ray.errors import DegasError, DiskError, DivergedError
from degas_ray.files import checked, read_json, write_json
from degas_ray.gan import load_generator
from degas_ray.home import FAILURE, SPENT, StudyFolder, hold
from degas_ray.loop import Progress
from degas_ray.results import Promotion, Row
from degas_ray.runs.run import Context, JobAttempt, Place
from degas_ray.scores import Scores
from degas_ray.space import Genotype, Space
from degas_ray.tracking import RunDirectory, provenance
from degas_ray.trials import short
from degas_ray.trials import trial as trial_module
from degas_ray.trials.promotion import promotion_task
from degas_ray.trials.short import proxy_facts
from degas_ray.trials.trial import better_half, trial_task
from degas_ray.trials.worker import run_task


class Desk:
    """Tracking that hands out one set of notes a run key."""

    def __init__(self) -> None:
        self.runs: dict[str, Notes] = {}

    def run(self, name: str, role: str, *, key: str, parent: str | None = None, pause: float = 0.0) -> Notes:
        return self.runs.setdefault(key, Notes())


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk()
    monkeypatch.setattr(Context, "tracking", desk)
    return desk


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare("digits", tmp_path_factory.mktemp("data"), limit=64).path


def context(home: Path, data: Path, config: Config | None = None) -> Context:
    return Context(home, "s", config or tiny_config(), data, "", "0", "")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def run(
    context: Context, number: int = 0, stop_at: str = "", seen: int = 0, until: str = "", **params: Any
) -> list[Mapping[str, Any]]:
    """Let a worker do a trial that reports every step; ``stop_at`` asks it to pause when it reaches a phase."""
    reports: list[Mapping[str, Any]] = []

    def report(values: Mapping[str, Any]) -> None:
        reports.append(values)
        if values["phase"] == stop_at:
            context.folder.stop.touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Context, "pace", 0.0)
        run_task(context.to_json(), {**trial_task(context, number, params, seen), "until": until}, report)
    return reports


def test_reports_are_thinned_but_never_a_message(tmp_path: Path, data: Path, desk: Desk) -> None:
    clock, sent = Clock(), list[Mapping[str, Any]]()
    few, many = context(tmp_path / "few", data), replace(context(tmp_path / "many", data), concurrent=1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("degas_ray.runs.run.time.monotonic", clock)
        for here in (few, many):
            said = JobAttempt(here, here.folder.trial(0), "trial", "t", sent.append, 3)
            for clock.now, phase in ((0, "search"), (0.4, "search"), (0.8, "proxy"), (2, "proxy"), (50, "proxy")):
                said.place().on_progress(Progress(phase, 1, 9, {}, dict))
            said.say("a word")  # a message comes at any time, and delays nothing
            clock.now = 50.5
            said.place().on_progress(Progress("score", 1, 9, {}, dict))
            clock.now = 0
    told = [item.get("message", item["phase"]) for item in sent]
    assert told == ["search", "proxy", "proxy", "a word", "search", "proxy", "a word"]


def test_all_workers_together_report_twenty_times_a_second_at_most(tmp_path: Path, data: Path) -> None:
    here = context(tmp_path, data)
    assert [replace(here, concurrent=number).pace for number in (1, 20, 40, 1000)] == [1, 1, 2, 50]


def row(context: Context, number: int = 0) -> Row:
    found = context.folder.row(number)
    assert found is not None
    return found


def test_the_same_seed_gives_the_same_genotype_and_scores_twice(tmp_path: Path, data: Path, desk: Desk) -> None:
    rows = []
    for name in ("a", "b"):
        here = context(tmp_path / name, data)
        run(here)
        rows.append(row(here))
    assert rows[0].genotype == rows[1].genotype
    assert rows[0].scores == rows[1].scores
    assert rows[0].outcome == "completed"
    assert Scores.from_json(rows[0].scores).fid == rows[0].score


def test_what_a_trial_records(tmp_path: Path, data: Path, desk: Desk) -> None:
    here = context(tmp_path, data)
    write_json(here.folder.provenance, provenance(here.config, "f" * 64, tmp_path))
    run(here, 0)
    run(here, 1, **{"search.n": 2, "prune.compare": "weight"})
    first, second = desk.runs["s/trials/0000"], desk.runs["s/trials/0001"]
    assert first.settings["seed"] != second.settings["seed"]
    assert second.settings["search.n"] == 2
    assert row(here, 1).n == Genotype.parse(row(here, 1).genotype).n == 2
    for notes in (first, second):
        assert notes.outcome == "completed"
        assert {"config.yaml", "diagram.png", "alphas.png", "generator.ckpt", "scores.json"} <= set(notes.names)
        assert any(name.startswith("real-beside-generated") for name in notes.names)
        for metric in ("search/loss", "search/alpha_entropy", "proxy/critic_loss", "proxy/fid", "proxy/parameters"):
            assert notes.series(metric), metric
        assert {"degas.genotype", "degas.genotype_hash", "degas.scores", "degas.scores_protocol"} <= set(notes.facts)
        assert notes.facts["degas.seed"] == str(notes.settings["seed"])  # not the study's, which is 0


@pytest.mark.parametrize("phase", ["search", "proxy", "score"])
def test_a_trial_paused_in_any_phase_ends_as_an_undisturbed_one(
    tmp_path: Path, data: Path, desk: Desk, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("degas_ray.runs.run.LOOK_SECONDS", 0.0)
    whole, parts = context(tmp_path / "a", data), context(tmp_path / "b", data)
    run(whole)
    run(parts, stop_at=phase)
    assert parts.folder.row(0) is None
    assert desk.runs["s/trials/0000"].outcome == "interrupted"
    assert read_json(parts.folder.trial(0) / FAILURE) is None
    parts.folder.stop.unlink()
    run(parts)
    assert row(parts).genotype == row(whole).genotype
    assert row(parts).scores == row(whole).scores
    kept = (parts.folder.trial(0) / "stats.jsonl").read_text().splitlines()
    assert len(kept) == len((whole.folder.trial(0) / "stats.jsonl").read_text().splitlines())


def test_a_trial_of_two_jobs_ends_as_one_of_one(tmp_path: Path, data: Path, desk: Desk) -> None:
    whole, parts = context(tmp_path / "a", data), context(tmp_path / "b", data)
    run(whole)
    assert {report["phase"] for report in run(parts, until="search") if "message" not in report} == {"search"}
    assert parts.folder.row(0) is None
    assert read_json(parts.folder.trial(0) / FAILURE) is None
    assert {report["phase"] for report in run(parts)} == {"proxy", "score"}
    ended, undisturbed = row(parts), row(whole)
    assert (ended.genotype, ended.scores, ended.entropy) == (
        undisturbed.genotype,
        undisturbed.scores,
        undisturbed.entropy,
    )
    (halves, all_of_it) = (RunDirectory(here.folder.trial(0)).rows() for here in (parts, whole))
    assert [sorted(kept) for kept in halves] == [sorted(kept) for kept in all_of_it]  # each step once, with all it has


def test_a_generator_too_large_is_pruned_by_the_job_that_searches(tmp_path: Path, data: Path, desk: Desk) -> None:
    here = context(tmp_path, data, tiny_config(study__max_parameters=1))
    run(here, until="search")
    assert row(here).outcome == "pruned"


def repeat_search(context: Context) -> None:
    """Let trial 1 find what trial 0 found: what is tuned does not change the seed of a trial, its number does."""
    twin = context.folder.trial(1)
    twin.mkdir(parents=True)
    (twin / "search.json").write_bytes((context.folder.trial(0) / "search.json").read_bytes())


def test_a_genotype_trained_before_is_not_trained_again_and_says_so(tmp_path: Path, data: Path, desk: Desk) -> None:
    here = context(tmp_path, data)
    run(here, 0)
    repeat_search(here)
    reports = run(here, 1)
    first, second = row(here, 0), row(here, 1)
    assert second.reused == "trial 0"
    assert second.scores == first.scores
    assert {report["phase"] for report in reports} == set()
    assert desk.runs["s/trials/0001"].facts["degas.reused"] == "trial 0"
    assert desk.runs["s/trials/0001"].series("proxy/fid") == desk.runs["s/trials/0000"].series("proxy/fid")


def test_repeats_measure_the_noise(tmp_path: Path, data: Path, desk: Desk) -> None:
    here = context(tmp_path, data, tiny_config(study__repeats=2))
    run(here)
    distances = row(here).distances
    assert len(set(distances)) == 2
    assert row(here).score == pytest.approx(sum(distances) / 2)


def test_a_trials_scores_are_those_of_its_first_training(tmp_path: Path, data: Path, desk: Desk) -> None:
    here = context(tmp_path, data, tiny_config(study__repeats=2))
    run(here)
    repeat_search(here)
    run(here, 1)
    first = row(here).scores
    assert read_json(here.folder.trial(0) / "scores.json") == first
    assert Scores.from_json(read_json(here.folder.trial(0) / "proxy2-scores.json") or {}).fid == row(here).distances[1]
    for notes in desk.runs.values():
        assert notes.facts["degas.scores"] == Scores.from_json(first).sentence()
        assert json.loads(notes.facts["degas.scores_protocol"]) == first["protocol"]
    assert desk.runs["s/trials/0001"].facts["degas.reused"] == "trial 0"


def test_a_generator_that_is_too_large_is_not_trained(tmp_path: Path, data: Path, desk: Desk) -> None:
    here = context(tmp_path, data, tiny_config(study__max_parameters=10))
    reports = run(here)
    assert row(here).outcome == "pruned"
    assert "more than study.max_parameters = 10" in row(here).error
    assert "proxy" not in {report["phase"] for report in reports}
    assert desk.runs["s/trials/0000"].outcome == "pruned"


def test_the_worse_half_is_ended_at_its_first_milestone(tmp_path: Path, data: Path, desk: Desk) -> None:
    here = context(tmp_path, data, tiny_config(study__early_stop=True, proxy__steps=8))
    for number, distance in enumerate((1.0, 2.0, 3.0)):  # nothing comes near these
        others = Row(number, "completed", {}, 1, distances=(distance,), milestones={"2": distance, "4": distance})
        write_json(here.folder.trial(number) / "result.json", others.to_json())
    run(here, 3, seen=3)
    assert row(here, 3).outcome == "pruned"
    assert list(row(here, 3).milestones) == ["2"]
    assert row(here, 3).score is None
    assert desk.runs["s/trials/0003"].series("proxy/critic_loss")[-1][0] < 8
    assert not list(here.folder.trial(3).rglob("step-*.ckpt"))
    run(here, 4, seen=1)  # one is too few to compare with
    assert row(here, 4).outcome == "completed"
    assert list(row(here, 4).milestones) == ["2", "4"]


def test_the_better_half_goes_on() -> None:
    rows = [Row(index, "completed", {}, 1, milestones={"5": float(index)}) for index in range(4)]
    assert [better_half(rows, "5", value) for value in (0.0, 1.5, 1.6, 9.0)] == [True, True, False, False]
    assert better_half(rows, "7", 9.0)
    assert better_half(rows[:1], "5", 9.0)


def test_a_diverged_training_is_an_outcome(
    tmp_path: Path, data: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(config: Any, what: Any, pack: Any, place: Place, **more: Any) -> None:
        write_json(place.folder / "proxy" / "step-000001.ckpt", {})
        raise DivergedError("the loss is not finite")

    monkeypatch.setattr(short, "training_work", diverge)
    here = context(tmp_path, data)
    run(here)
    assert row(here).outcome == "diverged"
    assert not list(here.folder.trial(0).rglob("step-*.ckpt"))
    assert row(here).genotype
    assert row(here).objectives(("fid",)) == ()
    assert desk.runs["s/trials/0000"].outcome == "diverged"


def test_a_trial_that_raises_leaves_its_traceback(
    tmp_path: Path, data: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **more: Any) -> None:
        raise ZeroDivisionError("out of cheese")

    here = context(tmp_path, data)
    with monkeypatch.context() as patch:
        patch.setattr(trial_module, "search_work", fail)
        with pytest.raises(ZeroDivisionError):
            run(here)
    failure = read_json(here.folder.trial(0) / FAILURE)
    assert failure is not None
    assert failure["error"].strip().splitlines()[-1] == "ZeroDivisionError: out of cheese"
    assert desk.runs["s/trials/0000"].outcome == "failed"
    run(here)  # tried again, it is forgotten
    assert read_json(here.folder.trial(0) / FAILURE) is None


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device", "a.png"), DiskError("cannot write a.ckpt: no space")]
)
def test_a_full_disk_is_no_failure_of_the_trial(
    tmp_path: Path, data: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: Any, **more: Any) -> None:
        raise error

    here = context(tmp_path, data)
    with monkeypatch.context() as patch:
        patch.setattr(trial_module, "search_work", fail)
        with pytest.raises(type(error)):
            run(here)
    failure = read_json(here.folder.trial(0) / FAILURE)
    assert failure is not None
    assert failure["kind"] == "DiskError"
    assert failure["error"].startswith("cannot write a.")


def test_a_run_is_finished_where_the_time_spent_cannot_be_written(
    tmp_path: Path, data: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = context(tmp_path, data)

    def fail(*args: Any, **more: Any) -> None:
        (here.folder.trial(0) / SPENT).mkdir()  # no file can take its place
        raise DiskError("cannot write a.ckpt: no space")

    monkeypatch.setattr(trial_module, "search_work", fail)
    with pytest.raises(DiskError):
        run(here)
    assert desk.runs["s/trials/0000"].outcome == "failed"


def test_a_finished_trial_is_not_looked_at_again(tmp_path: Path, data: Path, desk: Desk) -> None:
    here = context(tmp_path, data)
    run(here)
    desk.runs.clear()
    assert run(here) == []
    assert desk.runs == {}


def test_two_workers_never_share_a_folder(
    tmp_path: Path, data: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = context(tmp_path, data)
    monkeypatch.setattr("degas_ray.home.LOCK_SECONDS", 0.0)
    with hold(StudyFolder(tmp_path, "s").trial(0)), pytest.raises(DegasError, match="another process works in"):
        run(here)
    assert here.folder.row(0) is None


def test_a_promotion_keeps_the_best_of_its_milestones_and_its_end(tmp_path: Path, data: Path, desk: Desk) -> None:
    here = context(tmp_path, data, tiny_config(full__milestones=(0.25, 0.5)))
    genotype = Space().random(0)
    task = promotion_task(here, genotype)
    run_task(here.to_json(), task, lambda report: None)
    folder = Path(task["folder"])
    found = checked(Promotion, read_json(folder / "result.json"), folder)
    reached = read_json(folder / "milestones.json") or {}
    distances = {2: reached["2"], 4: reached["4"], 8: Scores.from_json(found.scores).fid}
    step = min(distances, key=lambda step: distances[step])
    assert found.best == {"step": step, "distance": distances[step]}
    assert load_generator(folder / "best.ckpt")[1]["meta"]["step"] == step
    assert set(found.pictures) == {"samples", "real beside generated", "diagram", "scores along the way"}
    assert all(Path(path).exists() for path in found.pictures.values())


def test_scores_depend_on_the_content_of_the_extractor_s_file_and_not_on_its_place(tmp_path: Path) -> None:
    pack = prepare("digits", tmp_path, limit=64)
    found = {}
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(content)
        found[name] = proxy_facts(tiny_config(scores__weights=tmp_path / name), pack)
    assert found["a"] == found["b"] != found["c"]
    assert "weights" not in proxy_facts(tiny_config(), pack)  # keys of earlier studies hold
