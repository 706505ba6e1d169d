"""The end of a cluster whose study cannot be paused any more."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from ray.job_submission import JobStatus

from degas_ray.cluster import bring_down, find_status, job, launch, read_cluster
from degas_ray.cluster.hosts import Say
from degas_ray.cluster.opened import Cluster
from degas_ray.cluster.state import ClusterFolder, State

CLUSTER = Path(__file__).parents[2] / "cluster.yaml"


class Hosts:
    """Hosts that only end."""

    @contextmanager
    def reach(self) -> Iterator[str]:
        yield "http://127.0.0.1:1"

    def start(self, say: Say) -> None: ...

    def run(self, command: str) -> str:
        return ""

    def end(self, say: Say) -> list[str]:
        say("ending what runs")
        return []


class Client:
    """Ray's client of a study that runs, and goes on whatever it is told."""

    def __init__(self, address: str) -> None: ...

    def get_job_status(self, job: str) -> JobStatus:
        return JobStatus.RUNNING

    def get_job_logs(self, job: str) -> str:
        return ""

    def stop_job(self, job: str) -> bool:
        return True


def refuse(*_: Any) -> None:
    raise RuntimeError("Request failed with status code 500: No available agent to submit job.")


def break_off(*_: Any) -> None:
    raise requests.ConnectionError("Connection aborted")


@pytest.mark.parametrize(
    ("method", "fails", "why"),
    [
        ("stop_job", refuse, "the cluster did not answer when job degas-1-job-1 was to pause (Request failed with"),
        ("stop_job", break_off, "the cluster did not answer when job degas-1-job-1 was to pause (Connection aborted)"),
        ("get_job_logs", break_off, "the cluster degas has stopped answering (Connection aborted); 'degas-ray status"),
        ("stop_job", None, "job degas-1-job-1 did not end within"),
    ],
)
def test_a_study_that_cannot_be_paused_does_not_keep_its_cluster_up(
    method: str, fails: Any, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # reading a file sets it; undone after the test
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "")
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", Client)
    monkeypatch.setattr(launch, "answers", lambda _: True)
    monkeypatch.setattr(job, "STOP_SECONDS", -31)  # it has had its time
    if fails is not None:
        monkeypatch.setattr(Client, method, fails)
    folder = ClusterFolder(tmp_path, "degas")
    state = State("m", "python3", str(tmp_path), 1, 2, "http://127.0.0.1:3", started=1.0, job="degas-1-job-1")
    said: list[str] = []
    assert bring_down(Cluster(read_cluster(CLUSTER), folder, state, Hosts()), said.append) == []
    assert said[0].startswith(f"not paused: {why}"), said
    assert said[1:] == ["ending what runs"]
    kept = folder.read()
    assert kept is not None
    assert kept.started == 0


class Gone(Hosts):
    """A cloud's hosts that have been given back: nobody knows the head's address."""

    @contextmanager
    def reach(self) -> Iterator[str]:
        raise RuntimeError("Head node of cluster (degas) not found!")
        yield


def test_a_cluster_whose_head_is_gone_is_not_up_and_can_be_brought_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "")
    state = State("m", "python3", str(tmp_path), 1, 2, "http://127.0.0.1:3", started=1.0, job="degas-1-job-1")
    cluster = Cluster(read_cluster(CLUSTER), ClusterFolder(tmp_path, "degas"), state, Gone())
    assert not find_status(cluster).up
    said: list[str] = []
    assert bring_down(cluster, said.append) == []
    assert said == ["ending what runs"]
