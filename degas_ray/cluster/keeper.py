"""What runs on the head beside Ray: the MLflow server, started again where it died, and the end of an idle cluster.

Called on the head as ``python -m degas_ray.cluster.keeper JSON``: starts a process of its own, prints the server's
address once it answers, and returns. The JSON has the fields of :class:`Task`.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from degas_ray.cluster.processes import end_processes, find_processes, ray_folder
from degas_ray.errors import DegasError

POLL_SECONDS = 2.0
STOP_SECONDS = 15.0
LAUNCHER = "~/ray_bootstrap_config.yaml"  # what `ray up` leaves on the head of a cloud's cluster


@dataclass(frozen=True)
class Task:
    """What to keep.

    Args:
        mark: The cluster's.
        log: A file.
        home: Whose runs MLflow serves.
        host: Where it listens.
        port: And on which port; 0 where another server is used.
        dashboard: Address of the cluster's jobs.
        idle: Seconds without a running job after which the cluster ends; 0 for never.
        cloud: Whether the hosts are a cloud's, and are given back.
    """

    mark: str
    log: str
    home: str
    host: str
    port: int
    dashboard: str
    idle: float = 0.0
    cloud: bool = False


def start(task: Task) -> None:
    """Start a keeper that outlives this process, and return once its server answers.

    Raises:
        DegasError: Where it does not, with the end of its log.
    """
    log = Path(task.log).expanduser()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "degas_ray.cluster.keeper", json.dumps(asdict(task)), "run"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise DegasError(f"the MLflow server of the head did not start; the end of {log}:\n{end}")


class Keeper:
    """The process itself.

    Args:
        task: What to keep.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.server: subprocess.Popen[bytes] | None = None
        self._group = 0  # of MLflow's own processes, which outlive the one that started them where that is killed

    def run(self) -> None:
        """Keep the server up until a signal comes, or until the cluster has been idle for too long."""
        signal.signal(signal.SIGTERM, self._leave)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if not self._serve():
            return  # its caller sees that nothing was printed
        print("ready", flush=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads any more
        quiet_since = time.monotonic()
        while True:
            time.sleep(POLL_SECONDS)
            if self.server is not None and self.server.poll() is not None:
                print("the MLflow server ended; it is started again", file=sys.stderr, flush=True)
                self._serve()
            if self.task.idle:
                if busy(self.task.dashboard):
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > self.task.idle:
                    self._end_cluster()

    def _serve(self) -> bool:
        """Start the server, and return whether it answers."""
        if not self.task.port:
            return True
        self._end_orphans()
        address = ["--home", self.task.home, "--host", self.task.host, "--port", str(self.task.port)]
        self.server = subprocess.Popen(
            [sys.executable, "-m", "degas_ray.cli.main", "ui", *address, "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self.server.stdout is not None
        said = b""
        for line in self.server.stdout:
            said += line
            if line.strip() == b"}":  # the whole object: the server answers
                self._group = int(json.loads(said)["pid"])
                return True
        return False

    def _end_orphans(self) -> None:
        """End what is left of a server whose first process was killed: it holds the port."""
        if self._group and any(process.pid == self._group for process in find_processes(self.task.mark)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._group, signal.SIGKILL)
        self._group = 0

    def _leave(self, number: int, frame: FrameType | None) -> None:
        if self.server is not None:
            self.server.terminate()
            try:
                self.server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.server.kill()
        os._exit(0)

    def _end_cluster(self) -> None:
        print(f"no study has run for {self.task.idle:.0f} s: the cluster ends", file=sys.stderr, flush=True)
        if self.task.cloud:
            down = [sys.executable, "-m", "ray.scripts.scripts", "down", "-y", str(Path(LAUNCHER).expanduser())]
            subprocess.run(down, check=False)
        if not end_processes(self.task.mark):
            shutil.rmtree(ray_folder(self.task.mark), ignore_errors=True)
        os._exit(0)


def busy(dashboard: str) -> bool:
    """Return whether a job runs or waits; a cluster that does not answer is not called idle."""
    from ray.job_submission import JobSubmissionClient

    try:
        jobs = JobSubmissionClient(dashboard).list_jobs()
    except (RuntimeError, ConnectionError, OSError):
        return True
    return any(not job.status.is_terminal() for job in jobs)


def main(text: str, verb: str = "start") -> None:
    """Start a keeper, or be one."""
    task = Task(**json.loads(text))
    if verb == "run":
        Keeper(task).run()
    else:
        start(task)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except DegasError as error:
        sys.exit(str(error))
