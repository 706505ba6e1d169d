"""Following a study's job over connections that break, and over one that never comes back."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import requests
from ray.job_submission import JobStatus

from degas_ray.cluster import attach_job
from degas_ray.errors import DegasError

LOG = "Ray says something\nRunning entrypoint for job a: exec tune\ntrial 0\ntrial 1\ntrial 2\n"


class Time:
    """A clock that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Client:
    """Ray's client of a job whose log has ``LOG`` in the end; ``away`` tells when nobody answers."""

    def __init__(self, time: Time, away: Callable[[float], bool], ends: float) -> None:
        self._time, self._away, self._ends = time, away, ends

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        self._reach(aiohttp.ServerDisconnectedError())  # what a tunnel gives whose far end is gone
        yield LOG[: len(LOG) // 2]
        raise RuntimeError("WebSocket connection closed unexpectedly with close code 1006")

    def get_job_status(self, job: str) -> JobStatus:
        self._reach(requests.ConnectionError("Connection refused"))
        return JobStatus.RUNNING if self._time() < self._ends else JobStatus.SUCCEEDED

    def get_job_logs(self, job: str) -> str:
        self._reach(requests.ConnectionError("Connection refused"))
        return LOG

    def _reach(self, error: Exception) -> None:
        if self._away(self._time()):
            raise error


def test_a_log_is_followed_over_connections_that_break() -> None:
    """Nobody answers for 50 of every 70 seconds, far longer than a minute in all."""
    time, said = Time(), list[str]()
    client = Client(time, lambda now: now % 70 >= 20, ends=500)
    assert attach_job(client, "a", said.append, time, time.sleep) == "SUCCEEDED"
    assert "".join(said) == "trial 0\ntrial 1\ntrial 2\n"


def test_a_connection_that_never_comes_back_is_said() -> None:
    time = Time()
    client = Client(time, lambda now: now >= 100, ends=10_000)
    with pytest.raises(
        DegasError, match=r"has not answered for 60 s \(Connection refused\).*'degas-ray attach"
    ) as caught:
        attach_job(client, "a", lambda _: None, time, time.sleep)
    assert caught.value.exit_code == 1
    assert 160 <= time.now <= 165


def test_a_job_that_the_cluster_does_not_know_is_said_at_once() -> None:
    def unknown(job: str) -> Any:
        raise RuntimeError(f"Request failed with status code 404: Job {job} does not exist")

    time = Time()
    client = Client(time, lambda now: False, ends=0)
    client.get_job_status = unknown  # type: ignore[method-assign]
    with pytest.raises(DegasError, match="the cluster knows no job a; it may have been started anew"):
        attach_job(client, "a", lambda _: None, time, time.sleep)
    assert time.now == 0


def test_a_reader_that_has_gone_ends_the_following() -> None:
    """As in ``degas-ray attach cluster.yaml | head``."""

    def gone(text: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    time = Time()
    with pytest.raises(BrokenPipeError):
        attach_job(Client(time, lambda now: False, ends=10), "a", gone, time, time.sleep)
