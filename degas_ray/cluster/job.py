"""The study as a Ray job: submitted, followed, stopped."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from degas_ray.errors import DegasError

STOP_SECONDS = 90  # for the workers to reach the end of a step and write a checkpoint
LOST_SECONDS = 60.0  # of failures in a row, before a connection counts as gone for good
POLL_SECONDS = 1.0
FIRST_LINE = "Running entrypoint for job "
Write = Callable[[str], None]
T = TypeVar("T")


def submit(client: Any, entrypoint: str, job: str, variables: Mapping[str, str], upload: str | None = None) -> None:
    """Submit a study's driver.

    Args:
        client: Ray's JobSubmissionClient.
        entrypoint: A shell command; the shell is replaced by the driver, which signals must reach.
        job: The submission's id.
        variables: Of the driver's environment.
        upload: A folder that becomes the driver's working directory.
    """
    environment: dict[str, Any] = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), **variables}}
    if upload is not None:
        environment["working_dir"] = upload
    try:
        client.submit_job(entrypoint=entrypoint, submission_id=job, runtime_env=environment)
    except (RuntimeError, ConnectionError) as error:
        raise DegasError(f"Ray did not take the job {job}: {error}") from error


def attach_job(
    client: Any,
    job: str,
    write: Write,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Pass a job's log on as it grows, and return the status that it ends with.

    A connection that breaks is tried again for a minute; what has been written is not written twice.

    Args:
        client: Ray's JobSubmissionClient.
        job: Its id.
        write: Takes pieces of the log.
        clock: Seconds, for tests.
        sleep: Waits, for tests.

    Returns:
        SUCCEEDED, FAILED or STOPPED.

    Raises:
        DegasError: Where the cluster knows no such job, or has not answered for a minute.
    """
    log = _Log(write)
    lost_at: float | None = None
    while True:
        with suppress(_LostError):  # the job's status says whether that was its end
            asyncio.run(_tail(client, job, log))
        try:
            status = _ask(lambda: client.get_job_status(job))
            end = _ask(lambda: client.get_job_logs(job)) if status.is_terminal() else None
        except _LostError as error:
            if "does not exist" in str(error):
                raise DegasError(f"the cluster knows no job {job}; it may have been started anew") from error
            lost_at = clock() if lost_at is None else lost_at
            if clock() - lost_at > LOST_SECONDS:
                raise DegasError(
                    f"the cluster has not answered for {LOST_SECONDS:.0f} s ({error}); its study may go on all the "
                    "same: 'degas-ray status CLUSTER.YAML' looks, 'degas-ray attach CLUSTER.YAML' comes back to the log"
                ) from error
        else:
            if end is not None:
                log.whole(end)
                return str(status.value)
            lost_at = None
        sleep(POLL_SECONDS)


def stop_job(client: Any, job: str) -> str:
    """Ask a study to pause, and return the status that its job ends with; its workers write checkpoints first.

    Raises:
        DegasError: Where the cluster does not take that, or the job does not end.
    """
    try:
        _ask(lambda: client.stop_job(job))
        deadline = time.monotonic() + STOP_SECONDS + 30
        while time.monotonic() < deadline:
            status = _ask(lambda: client.get_job_status(job))
            if status.is_terminal():
                return str(status.value)
            time.sleep(POLL_SECONDS / 4)
    except _LostError as error:
        raise DegasError(
            f"the cluster did not answer when job {job} was to pause ({error}); 'degas-ray status CLUSTER.YAML' looks "
            "whether it still runs"
        ) from error
    raise DegasError(f"job {job} did not end within {STOP_SECONDS + 30} s; 'degas-ray down' ends it with its cluster")


def without_preamble(text: str) -> str:
    """Return a job's log without what Ray says before the driver speaks."""
    at = text.find(FIRST_LINE)
    return text if at < 0 else text[at:].partition("\n")[2]


class _Log:
    """What of a job's log has been passed on."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._seen = 0
        self._begun = ""
        self._open = False

    def piece(self, text: str) -> None:
        """Take the next piece; Ray's preamble is left out."""
        if self._open:
            self._write(text)
            return
        self._begun += text
        _, mark, rest = self._begun.partition(FIRST_LINE)
        if mark and "\n" in rest:
            self._open = True
            if after := rest.partition("\n")[2]:
                self._write(after)

    def whole(self, text: str, end: bool = True) -> None:
        """Take the log from its beginning, of which a part has been passed on."""
        new = text[self._seen :]
        if new:
            self._seen += len(new)
            self.piece(new)
        if end and not self._open and self._begun:
            self._write(self._begun)


class _LostError(Exception):
    """The cluster did not answer, or not with what it was asked for."""


def _ask(question: Callable[[], T]) -> T:
    try:
        return question()
    except (RuntimeError, OSError) as error:  # Ray's for an answer that is none; those of connections
        raise _LostError(str(error)) from error


async def _tail(client: Any, job: str, log: _Log) -> None:
    from aiohttp import ClientError

    gone_by = ""
    pieces = client.tail_job_logs(job)
    while True:
        try:
            gone_by += await anext(pieces)
        except StopAsyncIteration:
            return
        except (RuntimeError, OSError, ClientError) as error:
            raise _LostError(str(error)) from error
        log.whole(gone_by, end=False)  # what fails there is not the cluster's: a closed pipe ends the command
