"""Ray carries jobs: those that fail, those that die, those that say nothing."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import test_jobs
from ray import cloudpickle

from degas_ray.runs.jobs import Job, Needs, Resources, run_jobs, session

Report = Callable[[Mapping[str, Any]], None]


def worker(task: Mapping[str, Any], report: Report) -> None:
    """Do what the task says; a function of a module, as Ray wants it."""
    import torch

    report(
        {
            "phase": "work",
            "step": 0,
            "steps": 2,
            "threads": torch.get_num_threads(),
            "pid": os.getpid(),
            "waits": os.environ.get("OMP_WAIT_POLICY"),
        }
    )
    if task["do"] == "silent":
        return
    if task["do"] == "raise":
        raise ValueError("out of cheese")
    if task["do"] == "die" and not Path(task["flag"]).exists():
        Path(task["flag"]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    report({"phase": "work", "message": "done", "step": 2, "steps": 2, "loss": float("nan"), "cwd": str(Path.cwd())})


def meet(task: Mapping[str, Any], report: Report) -> None:
    """Wait until so many jobs have begun as the task says; report how many run side by side, and on which GPU this."""
    begun, running = Path(task["folder"]) / "begun", Path(task["folder"]) / "running"
    for folder in (begun, running):
        folder.mkdir(exist_ok=True)
        (folder / task["name"]).touch()
    deadline = time.monotonic() + 200
    while len(list(begun.iterdir())) < task["meets"] and time.monotonic() < deadline:
        time.sleep(0.02)
    import torch

    facts: dict[str, Any] = {"threads": torch.get_num_threads()}
    facts |= {"beside": len(list(running.iterdir())), "gpu": os.environ.get("CUDA_VISIBLE_DEVICES")}
    (running / task["name"]).unlink()
    report({"phase": "met", "message": "met", "step": 1, "steps": 1, "begun": len(list(begun.iterdir())), **facts})


class Given:
    """A queue of given jobs that hands a dead one out again."""

    def __init__(self, *tasks: Mapping[str, Any], needs: Callable[[int], Needs] = lambda index: Needs()) -> None:
        self.jobs = [Job(f"{index}-{task['do']}", task, needs(index)) for index, task in enumerate(tasks)]
        self.ends: list[tuple[str, str]] = []
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.ticks = 0

    def next(self) -> Job | None:
        return self.jobs.pop(0) if self.jobs else None

    def exhausted(self) -> bool:
        return not self.jobs

    def ended(self, job: Job, error: str = "") -> None:
        self.ends.append((job.key, error))
        if "died" in error:
            self.jobs.append(job)

    def progress(self, job: Job, report: Mapping[str, Any]) -> None:
        self.reports.append((job.key, dict(report)))

    def tick(self) -> None:
        self.ticks += 1


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("h")


@pytest.fixture(scope="module")
def ray(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resources]:
    user = tmp_path_factory.mktemp("user")
    before = os.environ["HOME"], signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    os.environ["HOME"] = str(user)
    os.environ["RAY_OVERRIDE_RESOURCES"] = '{"GPU": 2}'  # logical ones: Ray hands them out like real ones
    cloudpickle.register_pickle_by_value(test_jobs)  # workers do not see this folder
    with session(home) as resources:
        assert (os.environ["HOME"], signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == (
            str(user),
            *before[1:],
        )
        yield resources
        assert list(user.iterdir()) == []  # no token, no cache in the user's own directory
    os.environ["HOME"] = before[0]
    del os.environ["RAY_OVERRIDE_RESOURCES"]
    assert not list(home.glob("ray/*"))


TWICE = """
import os, sys
from pathlib import Path
from degas_ray.runs.jobs import session

before = dict(os.environ)
for _ in range(2):
    with session(Path(sys.argv[1])) as resources:
        print(resources.nodes)
    os.environ.clear()
    os.environ.update(before)
"""


def test_a_process_may_hold_one_session_after_another(tmp_path: Path) -> None:
    # Whoever calls the command line as a function may undo what it set in the environment.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {
        "HOME": str(tmp_path),
        "RAY_gcs_server_port_wait_time_s": "20",
    }
    command = [sys.executable, "-c", TWICE, str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "1\n1\n"), ended.stderr


@pytest.fixture(scope="module")
def ran(ray: Resources, home: Path) -> Given:
    queue = Given(
        {"do": "work"}, {"do": "silent"}, {"do": "raise"}, {"do": "die", "flag": str(home / "died")}, {"do": "work"}
    )
    run_jobs(queue, worker, name="test", scratch=home / "scratch", concurrent=2)
    return queue


def test_every_job_ends_whatever_becomes_of_the_others(ran: Given) -> None:
    ends = [key for key, error in ran.ends if not error]
    assert sorted(ends) == ["0-work", "1-silent", "3-die", "4-work"]


def test_a_job_that_raises_says_why(ran: Given) -> None:
    (error,) = [error for key, error in ran.ends if key == "2-raise"]
    assert "ValueError: out of cheese" in error


def test_a_job_whose_worker_died_can_be_handed_out_again(ran: Given) -> None:
    first, second = [error for key, error in ran.ends if key == "3-die"]
    assert "died" in first
    assert second == ""


def test_progress_arrives_without_any_metric_that_tune_would_want(ran: Given) -> None:
    reports = [report for key, report in ran.reports if key == "0-work"]
    assert [report["step"] for report in reports] == [0, 2]
    assert ran.ticks > 0


def test_a_worker_has_the_threads_of_its_cpus(ran: Given) -> None:
    assert {report["threads"] for _, report in ran.reports if "threads" in report} == {1}


def test_threads_of_a_worker_sleep_while_they_wait(ran: Given) -> None:
    assert {report["waits"] for _, report in ran.reports if "waits" in report} == {"PASSIVE"}


def test_workers_stay_in_the_drivers_directory(ran: Given) -> None:
    assert {report["cwd"] for _, report in ran.reports if "cwd" in report} == {str(Path.cwd())}


def test_workers_are_used_again(ran: Given) -> None:
    first = {key: report["pid"] for key, report in ran.reports if report["step"] == 0}
    lost = {first["2-raise"], first["3-die"]}
    assert len({first[key] for key in ("0-work", "1-silent", "4-work")} - lost) <= 2


@pytest.mark.parametrize(("share", "beside", "a_gpu"), [(0.5, 4, 2), (1.0, 2, 1)])
def test_gpus_are_shared_out_in_fractions_and_as_wholes(
    ray: Resources, home: Path, tmp_path: Path, share: float, beside: int, a_gpu: int
) -> None:
    assert ray.gpus == 2
    needs = Needs(0.25, share)
    assert ray.fitting(needs) == beside
    tasks = [
        {"do": "meet", "folder": str(tmp_path), "name": str(index), "meets": beside * (index // beside + 1)}
        for index in range(4)
    ]
    queue = Given(*tasks, needs=lambda index: needs)
    run_jobs(queue, meet, name="gpus", scratch=home / f"scratch-{beside}", concurrent=4)
    met = [report for _, report in queue.reports if report["phase"] == "met"]
    assert len(met) == 4
    assert all(report["begun"] >= beside for report in met)
    assert all(report["beside"] <= beside for report in met)  # though four are wanted
    assert Counter(report["gpu"] for report in met[:beside]) == {"0": a_gpu, "1": a_gpu}


def test_each_job_has_its_own_gpus_and_threads(ray: Resources, home: Path, tmp_path: Path) -> None:
    """Quarters and wholes in one run: workers are used again by what needs the same, and give way to what does not."""
    sizes = [Needs(0.25, 0.25)] * 4 + [Needs(2, 1)] * 2 + [Needs(0.25, 0.25)]
    tasks = [
        {"do": "meet", "folder": str(tmp_path), "name": str(index), "meets": meets}
        for index, meets in enumerate([4, 4, 4, 4, 1, 1, 1])
    ]
    queue = Given(*tasks, needs=lambda index: sizes[index])
    run_jobs(queue, meet, name="sizes", scratch=home / "scratch-sizes", concurrent=4)
    met = {key: report for key, report in queue.reports if report["phase"] == "met"}
    assert [met[f"{index}-meet"]["threads"] for index in range(7)] == [1, 1, 1, 1, 2, 2, 1]
    assert Counter(met[f"{index}-meet"]["gpu"] for index in range(4)) == {"0": 4}  # four quarters are one
    assert all(error == "" for _, error in queue.ends)


def test_how_many_jobs_fit() -> None:
    machine = Resources(cpus=8, gpus=2, nodes=1)
    assert machine.fitting(Needs(1, 0)) == 8
    assert machine.fitting(Needs(1, 0.25)) == 8
    assert machine.fitting(Needs(1, 1)) == 2
    assert machine.fitting(Needs(0.5, 0.1)) == 16
    assert machine.fitting(Needs(16, 0)) == 1


def test_a_job_by_itself_has_a_host_that_exists() -> None:
    rack = Resources(cpus=72, gpus=3, nodes=3, hosts=((64, 0), (4, 1), (4, 2)))
    assert rack.whole(0) == 64
    assert rack.whole(1) == 4  # not a third of all: no host has 24 CPUs and a GPU
    assert rack.whole(2) == 4
    assert Resources(cpus=1, gpus=0, nodes=1, hosts=((0, 0),)).whole(1) == 1  # a head whose workers are still to come
