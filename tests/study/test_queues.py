"""What the driver makes of jobs that end, fail, die or pause; no Ray, no MLflow."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from tiny_study import Notes, places, tiny_config

from degas_ray.config import Config
from degas_ray.errors import DegasError, DegasWarning
from degas_ray.files import write_json
from degas_ray.home import FAILURE, FOUND, SPENT
from degas_ray.ports import LOOPBACK, free_port
from degas_ray.results import Ledger, Rerun, Row, Yardstick
from degas_ray.runs.jobs import Job
from degas_ray.runs.run import Context
from degas_ray.scores import Scores
from degas_ray.scores.protocol import METHOD, Protocol
from degas_ray.space import Space
from degas_ray.study.estimate import Estimate
from degas_ray.study.events import Event
from degas_ray.study.monitor import GRACE_SECONDS, Monitor
from degas_ray.study.queues import ListQueue, StudyQueue
from degas_ray.tracking import Address, Tracking, mirror
from degas_ray.tracking.record import journal_folders
from degas_ray.trials.order import fresh_scores, winner
from degas_ray.trials.proposals import Proposals

SPACE: dict[str, BaseDistribution] = {"search.lr": FloatDistribution(0.1, 1.0)}
GENOTYPES = [str(Space().random(seed)) for seed in range(6)]


class Desk:
    """Tracking that notes which runs the driver opens, and what results were there then."""

    def __init__(self) -> None:
        self.runs: dict[str, Notes] = {}
        self.results: list[bool] = []
        self.home = Path()

    def run(self, name: str, role: str, *, key: str, parent: str | None = None) -> Notes:
        self.results.append((self.home / "studies" / key / "result.json").exists())
        assert key not in self.runs, "recorded twice"
        return self.runs.setdefault(key, Notes())


@pytest.fixture(autouse=True)
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Desk:
    desk = Desk()
    desk.home = tmp_path
    monkeypatch.setattr(Context, "tracking", desk)
    return desk


def scores(fid: float) -> dict[str, Any]:
    protocol = Protocol("efficientnet-lite0", "w", "r", 20, 20, 2, "f", "batch", "last", METHOD, 0, "0")
    return Scores(fid, 0.1, 1.0, 0.1, 0.0, 0.0, 0.0, 0.0, protocol).to_json()


class Bench:
    """A queue, its events, and hands that end jobs."""

    def __init__(self, home: Path, config: Config, **more: Any) -> None:
        placement = more.get("placement", places(4))
        self.events: list[Event] = []
        self.stop: Callable[[], bool] = lambda: False
        self.context = Context(home, "s", config, home / "pack", "", "0", "")
        self.context.folder.root.mkdir(parents=True, exist_ok=True)
        self.proposals = Proposals(self.context.folder.journal, SPACE, {"search.lr": 0.5}, seed=0, lag=4)
        self.monitor = Monitor(
            self.context,
            self.events.append,
            lambda: self.stop(),
            Estimate(config, placement),
            more.get("ledger", Ledger()),
            lambda: None,
        )
        self.queue = StudyQueue(self.context, self.proposals, self.monitor, config.study.trials, placement)

    def next(self) -> Job:
        job = self.queue.next()
        assert job is not None
        return job

    def finish(self, job: Job, score: float | None, outcome: str = "completed", genotype: int = 0) -> None:
        """Let a trial end with a score, or without."""
        number = job.task["number"]
        row = Row(
            number,
            outcome,
            job.task["params"],
            1,
            GENOTYPES[genotype] if score is not None else "",
            scores=scores(score) if score is not None else {},
            distances=(score,) if score is not None else (),
        )
        write_json(Path(job.task["folder"]) / "result.json", row.to_json())
        self.queue.ended(job)

    def search(self, job: Job) -> None:
        """Let the search of a trial end."""
        write_json(Path(job.task["folder"]) / FOUND, {"genotype": GENOTYPES[0]})
        self.queue.ended(job)

    def fail(self, job: Job, text: str) -> None:
        """Let a trial raise."""
        write_json(Path(job.task["folder"]) / FAILURE, {"kind": "ValueError", "error": f"Traceback\n{text}"})
        self.queue.ended(job, "RayTaskError")

    def said(self) -> str:
        return "\n".join(event.text for event in self.events)


def rerun(job: Job, fid: float) -> None:
    genotype = job.task["genotype"]
    write_json(
        Path(job.task["folder"]) / "result.json",
        asdict(Rerun(genotype, job.task["index"], 5, "completed", scores(fid))),
    )


def test_trials_then_the_best_few_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=3))
    first, second = bench.next(), bench.next()
    assert [first.key, second.key] == ["trial 0", "trial 1"]
    bench.finish(first, 30.0, genotype=0)
    third = bench.next()
    assert bench.queue.next() is None  # re-ranking waits for the last trial
    assert not bench.queue.exhausted()
    bench.finish(third, 10.0, genotype=1)
    bench.finish(second, 20.0, genotype=2)
    again = [bench.next(), bench.next()]
    assert [job.task["genotype"] for job in again] == [GENOTYPES[1], GENOTYPES[2]]
    assert bench.queue.next() is None
    assert bench.queue.exhausted()
    rerun(again[0], 40.0)
    bench.queue.ended(again[0])
    assert bench.monitor.best == 10.0  # of the trials; re-rankings are another measurement
    assert [event.outcome for event in bench.events if event.kind == "end"] == ["completed"] * 4


def test_the_winner_is_chosen_by_its_fresh_seeds_alone() -> None:
    config = tiny_config()
    rows = [
        Row(index, "completed", {}, 1, GENOTYPES[index], scores=scores(score), distances=(score,))
        for index, score in enumerate((10.0, 20.0, 30.0))
    ]
    fresh = [Rerun(GENOTYPES[0], 0, 1, "completed", scores(35.0)), Rerun(GENOTYPES[1], 0, 1, "completed", scores(25.0))]
    assert str(winner(rows, [], config)) == GENOTYPES[0]
    assert str(winner(rows, fresh, config)) == GENOTYPES[1]
    diverged = [Rerun(GENOTYPES[0], 0, 1, "diverged"), fresh[1]]
    assert str(winner(rows, diverged, config)) == GENOTYPES[1]
    assert winner([], [], config) is None
    again = [
        *diverged,
        Rerun(GENOTYPES[1], 1, 2, "completed", scores(15.0)),
        Rerun(GENOTYPES[2], 0, 1, "completed", scores(22.0)),
    ]
    assert list(fresh_scores(again).items()) == [
        (GENOTYPES[1], [25.0, 15.0]),
        (GENOTYPES[2], [22.0]),
        (GENOTYPES[0], []),
    ]


def test_the_yardstick_comes_before_re_rankings_where_it_is_not_known(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=2, study__yardstick=True))
    trials = [bench.next(), bench.next()]
    assert bench.monitor.waiting[1] == 3  # two re-rankings and the yardstick
    for index, job in enumerate(trials):
        bench.finish(job, 10.0 + index, genotype=index)
    job = bench.next()
    assert (job.key, job.task["kind"]) == ("yardstick", "yardstick")
    write_json(Path(job.task["folder"]) / "result.json", asdict(Yardstick("resnet", "completed", scores(5.0))))
    bench.queue.ended(job)
    end = bench.events[-1]
    assert (end.work, end.outcome, end.score) == ("yardstick", "completed", 5.0)
    assert bench.monitor.best == 10.0  # it is no trial
    again = Bench(tmp_path, bench.context.config)
    assert [again.next().task["kind"] for _ in range(2)] == ["rerank", "rerank"]


def test_a_yardstick_that_fails_does_not_keep_a_study_from_its_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=1, study__yardstick=True))
    bench.finish(bench.next(), 10.0)
    bench.fail(bench.next(), "out of cheese")
    assert "yardstick failed: out of cheese" in bench.said()
    assert bench.queue.next() is None
    assert bench.queue.exhausted()


def test_what_collapsed_is_neither_the_best_nor_re_ranked_first(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=3, study__rerank={"top": 2, "seeds": 1}))
    for score, genotype, outcome in ((10.0, 0, "collapsed"), (30.0, 1, "completed"), (20.0, 2, "completed")):
        bench.finish(bench.next(), score, outcome, genotype=genotype)
    assert bench.monitor.best == 20.0
    assert [bench.next().task["genotype"] for _ in range(2)] == [GENOTYPES[2], GENOTYPES[1]]
    assert Bench(tmp_path, bench.context.config).monitor.best == 20.0


def test_a_genotype_found_twice_is_re_ranked_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=3))
    for score, genotype in ((10.0, 0), (11.0, 0), (20.0, 1)):
        bench.finish(bench.next(), score, genotype=genotype)
    assert [bench.next().task["genotype"] for _ in range(2)] == GENOTYPES[:2]


@pytest.mark.parametrize("outcome", ["diverged", "pruned"])
def test_a_trial_without_a_score_is_an_outcome_and_the_study_goes_on(tmp_path: Path, outcome: str) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=4))
    for _ in range(3):
        bench.finish(bench.next(), None, outcome=outcome)
    assert bench.next().key == "trial 3"
    assert bench.queue.problem == ""


def test_a_job_whose_worker_died_is_handed_out_again_until_it_is_hopeless(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__max_failures=2))
    job = bench.next()
    for _ in range(2):
        bench.queue.ended(job, "ActorDiedError: gone")
        assert bench.next() == job
    bench.queue.ended(job, "ActorDiedError: gone")
    row = bench.context.folder.row(0)
    assert row is not None
    assert row.outcome == "failed"
    assert "is there enough memory?" in row.error
    assert "it goes on from its last checkpoint (2 of 2)" in bench.said()


def test_a_death_is_told_to_mlflow_by_the_driver_once_its_result_is_there(tmp_path: Path, desk: Desk) -> None:
    bench = Bench(tmp_path, tiny_config(study__max_failures=0))
    job = bench.next()
    bench.queue.ended(job, "ActorDiedError: gone")
    assert desk.results == [True]
    assert desk.runs["s/trials/0000"].outcome == "failed"
    row = bench.context.folder.row(0)
    assert row is not None
    assert (row.outcome, row.run_id) == ("failed", "notes")


def test_mlflow_that_is_away_does_not_end_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = Address(tmp_path, f"http://{LOOPBACK}:{free_port(LOOPBACK)}", "0")
    monkeypatch.setattr(Context, "tracking", Tracking(nobody))
    monkeypatch.setattr(mirror, "FINISH_SECONDS", 0.0)
    bench = Bench(tmp_path, tiny_config(study__max_failures=0))
    with pytest.warns(DegasWarning, match="MLflow cannot be reached"):
        bench.queue.ended(bench.next(), "ActorDiedError: gone")
    row = bench.context.folder.row(0)
    assert row is not None
    assert row.outcome == "failed"
    (left,) = journal_folders(nobody.queue, "s/trials/0000")
    assert '"outcome": "failed"' in (left / "records.jsonl").read_text()


def test_a_failure_that_its_worker_recorded_is_not_recorded_again(tmp_path: Path, desk: Desk) -> None:
    bench = Bench(tmp_path, tiny_config())
    job = bench.next()
    write_json(Path(job.task["folder"]) / SPENT, {"seconds": 12.0, "run_id": "worker's"})
    bench.fail(job, "ValueError: out of cheese")
    assert desk.runs == {}  # MLflow may be away: nothing is asked of it
    row = bench.context.folder.row(0)
    assert row is not None
    assert (row.outcome, row.run_id, row.seconds) == ("failed", "worker's", 12.0)


def test_three_first_failures_of_one_kind_end_the_study_with_one_traceback(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=8))
    for _ in range(3):
        bench.fail(bench.next(), "ValueError: out of cheese")
    assert bench.queue.problem.count("out of cheese") == 1
    assert bench.queue.exhausted()
    assert bench.queue.next() is None
    assert bench.context.folder.stop.exists()  # the others are asked to pause


def test_failures_of_several_kinds_do_not(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=8))
    for text in ("ValueError: a", "ValueError: a", "KeyError: b"):
        bench.fail(bench.next(), text)
    assert bench.queue.problem == ""
    assert bench.next().key == "trial 3"


def test_a_full_disk_ends_the_study_for_now_and_fails_no_trial(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=8))
    first, second = bench.next(), bench.next()
    error = "cannot write the checkpoint x.ckpt: No space left on device"
    write_json(Path(first.task["folder"]) / FAILURE, {"kind": "DiskError", "error": error})
    bench.queue.ended(first, "RayTaskError")
    assert bench.queue.problem.startswith(error)
    assert "degas-ray tune --resume s" in bench.queue.problem
    assert bench.queue.exhausted()
    assert bench.context.folder.stop.exists()  # the others are asked to pause
    assert bench.context.folder.rows() == []
    assert bench.proposals.running()[0].params == first.task["params"]
    assert Bench(tmp_path, tiny_config(study__trials=8)).next().task == first.task
    assert second.key == "trial 1"


def test_one_success_among_them_does_not_either(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=8))
    bench.finish(bench.next(), 10.0)
    for _ in range(4):
        bench.fail(bench.next(), "ValueError: a")
    assert bench.queue.problem == ""


def test_trials_that_ended_well_before_a_resumption_count_too(tmp_path: Path) -> None:
    config = tiny_config(study__trials=8)
    before = Bench(tmp_path, config)
    before.finish(before.next(), 10.0)
    after = Bench(tmp_path, config)
    for _ in range(3):
        after.fail(after.next(), "ValueError: a")
    assert after.queue.problem == ""
    assert after.next().key == "trial 4"


def test_a_resumed_study_gives_out_the_unfinished_trials_first_and_none_twice(tmp_path: Path) -> None:
    config = tiny_config(study__trials=4)
    before = Bench(tmp_path, config)
    jobs = [before.next() for _ in range(3)]
    before.finish(jobs[0], 10.0)
    # Trial 1 ended, and the driver was killed before it told Optuna.
    row = Row(1, "completed", jobs[1].task["params"], 1, GENOTYPES[1], scores=scores(5.0), distances=(5.0,))
    write_json(before.context.folder.trial(1) / "result.json", row.to_json())
    after = Bench(tmp_path, config)
    assert after.monitor.best == 5.0
    assert after.next() == jobs[2]
    fourth = after.next()
    assert fourth.key == "trial 3"
    after.finish(jobs[2], 20.0, genotype=2)
    after.finish(fourth, 30.0, genotype=3)
    assert [row.number for row in after.context.folder.rows()] == [0, 1, 2, 3]
    assert after.proposals.running() == []


def test_a_pause_gives_out_nothing_more_and_leaves_trials_unfinished(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=4))
    job = bench.next()
    bench.stop = lambda: True
    bench.queue.tick()
    assert bench.context.folder.stop.exists()
    assert bench.queue.next() is None
    bench.queue.ended(job)  # it returned without a result
    assert bench.events[-1].outcome == "interrupted"
    assert [proposal.number for proposal in bench.proposals.running()] == [0]


def test_workers_that_do_not_pause_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, tiny_config())
    bench.monitor.stop()
    start = bench.monitor._stopped_at
    monkeypatch.setattr("degas_ray.study.monitor.time.monotonic", lambda: start + GRACE_SECONDS + 1)
    with pytest.raises(DegasError, match="did not pause within a minute"):
        bench.queue.tick()


def test_halves_that_need_different_things_are_two_jobs(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=3), placement=places(4, 2))
    first, second, third = (bench.next() for _ in range(3))
    assert [job.task["until"] for job in (first, second, third)] == ["search"] * 3
    bench.search(second)
    bench.search(first)
    training = bench.next()  # in the half that a search left, beside two quarters
    assert (training.key, training.task) == ("trial 1", {**second.task, "until": ""})
    assert (first.needs.gpus, training.needs.gpus) == (0, 0.5)
    assert bench.queue.next() is None  # a quarter is free, a half is wanted
    assert not bench.queue.exhausted()
    bench.search(third)
    assert bench.next().key == "trial 0"
    bench.finish(training, 10.0)
    assert bench.next().key == "trial 2"
    assert [event.trial for event in bench.events if event.kind == "end"] == [1]


def test_a_trial_of_two_jobs_ends_with_the_first_where_nothing_is_to_be_trained(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=2), placement=places(4, 2))
    bench.finish(bench.next(), None, outcome="pruned")
    assert bench.next().key == "trial 1"


def test_a_half_whose_worker_died_is_handed_out_again_and_a_resumed_study_begins_with_it(tmp_path: Path) -> None:
    config, placement = tiny_config(study__trials=1), places(4, 2)
    before = Bench(tmp_path, config, placement=placement)
    search = before.next()
    before.queue.ended(search, "ActorDiedError: gone")
    assert before.next() == search
    before.search(search)
    training = before.next()
    before.queue.ended(training, "ActorDiedError: gone")
    assert before.next() == training
    assert Bench(tmp_path, config, placement=placement).next() == training


def test_a_pause_between_the_halves_hands_out_no_second(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=2), placement=places(4, 2))
    job = bench.next()
    bench.monitor.stop()
    bench.search(job)
    assert bench.events[-1].outcome == "interrupted"
    assert bench.queue.next() is None
    assert bench.queue.exhausted()


def test_gpu_hours_are_those_of_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, tiny_config(study__trials=3), placement=places(4, 2))
    bench.search(bench.next())
    bench.next()
    bench.next()  # a search on no GPU beside a training on half of one
    start = bench.monitor._last
    monkeypatch.setattr("degas_ray.study.monitor.time.monotonic", lambda: start + 60)
    bench.queue.tick()
    assert bench.monitor.ledger.gpu_seconds == pytest.approx(30)


@pytest.mark.parametrize(
    ("budget", "ledger"),
    [
        ({"hours": 1.0}, Ledger(3600.0, 0.0)),
        ({"gpu_hours": 2.0}, Ledger(10.0, 7200.0)),
        ({"dollars": 3.0, "dollars_per_hour": 6.0}, Ledger(1800.0, 0.0)),
    ],
)
def test_a_spent_budget_asks_for_no_more_trials(tmp_path: Path, budget: dict[str, float], ledger: Ledger) -> None:
    config = tiny_config(study__trials=4, study__budget=budget)
    bench = Bench(tmp_path, config, ledger=ledger)
    assert bench.queue.next() is None
    assert bench.queue.exhausted()
    assert f"budget.{next(iter(budget))} is spent" in bench.said()


def test_the_promotion_is_tried_again_when_its_worker_dies_and_not_when_it_raises(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_config(study__max_failures=1))
    job = Job("promotion", {"kind": "promotion", "folder": str(tmp_path / "p"), "genotype": GENOTYPES[0]})
    queue = ListQueue(bench.context, bench.monitor, [job])
    assert queue.next() == job
    queue.ended(job, "died")
    assert not queue.exhausted()
    assert queue.next() == job
    write_json(tmp_path / "p" / FAILURE, {"kind": "E", "error": "out of cheese"})
    queue.ended(job, "RayTaskError")
    assert queue.exhausted()
    assert "out of cheese" in queue.problem
