"""The study as a Ray job: submitted, followed, stopped."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from degas_ray.errors import DegasError

STOP_SECONDS = 90  # for the workers to reach the end of a step and write a checkpoint
POLL_SECONDS = 1.0
FIRST_LINE = "Running entrypoint for job "
Write = Callable[[str], None]


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


def attach_job(client: Any, job: str, write: Write) -> str:
    """Pass a job's log on as it grows, and return the status that it ends with.

    A connection that breaks is opened again; what has been written is not written twice.

    Args:
        client: Ray's JobSubmissionClient.
        job: Its id.
        write: Takes pieces of the log.

    Returns:
        SUCCEEDED, FAILED or STOPPED.
    """
    log = _Log(write)
    while True:
        try:
            asyncio.run(_tail(client, job, log))
        except (RuntimeError, ConnectionError, OSError):
            time.sleep(POLL_SECONDS)
        try:
            status = client.get_job_status(job)
            if status.is_terminal():
                log.whole(client.get_job_logs(job))
                return str(status.value)
        except (RuntimeError, ConnectionError, OSError) as error:
            if "does not exist" in str(error):
                raise DegasError(f"the cluster knows no job {job}; it may have been started anew") from error
            time.sleep(POLL_SECONDS)
        time.sleep(POLL_SECONDS)


def stop_job(client: Any, job: str) -> str:
    """Ask a study to pause, and return the status that its job ends with; its workers write checkpoints first."""
    client.stop_job(job)
    deadline = time.monotonic() + STOP_SECONDS + 30
    while time.monotonic() < deadline:
        status = client.get_job_status(job)
        if status.is_terminal():
            return str(status.value)
        time.sleep(POLL_SECONDS / 4)
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


async def _tail(client: Any, job: str, log: _Log) -> None:
    gone_by = ""
    async for piece in client.tail_job_logs(job):
        gone_by += piece
        log.whole(gone_by, end=False)
