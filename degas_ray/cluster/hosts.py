"""The hosts of a cluster, and the one that is this machine.

Ray's own launcher (``ray up``) reaches every host over SSH, also a head at 127.0.0.1: on a laptop without a server for
it that is a connection refused. So a cluster of this machine alone is started with the same commands, run here.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from degas_ray.cluster import commands
from degas_ray.cluster.file import ClusterFile
from degas_ray.cluster.processes import describe, end_processes, find_processes, ray_folder
from degas_ray.cluster.state import ClusterFolder, State
from degas_ray.errors import DegasError
from degas_ray.ports import LOOPBACK, free_port

SETUP_SECONDS = 1800.0  # packages are fetched and installed meanwhile
START_SECONDS = 180.0
LOG_CHARACTERS = 2000
Say = Callable[[str], None]


class Hosts(Protocol):
    """How commands come onto the hosts of a cluster."""

    def start(self, say: Say) -> None:
        """Start Ray on every host."""

    def run(self, command: str) -> str:
        """Run a shell command on the head and return what it prints."""

    def reach(self) -> AbstractContextManager[str]:
        """Give the address of the dashboard from here, while it is needed."""

    def end(self, say: Say) -> list[str]:
        """End every process of the cluster on every host; return those that are left, with their host."""


class Here:
    """This machine as the whole cluster.

    Args:
        file: The cluster's.
        folder: Of the cluster on this machine.
        state: Ports and Python.
    """

    def __init__(self, file: ClusterFile, folder: ClusterFolder, state: State) -> None:
        self.file, self.folder, self.state = file, folder, state

    def start(self, say: Say) -> None:
        """Run the file's start commands, or ours, on this machine."""
        say(f"starting Ray on this machine ({LOOPBACK} only)")
        self.folder.root.mkdir(parents=True, exist_ok=True)
        self.folder.log.write_bytes(b"")
        ray = self.file.ray
        given = [*ray.get("initialization_commands", []), *ray.get("setup_commands", [])]
        given += ray.get("head_setup_commands", [])
        for command in given:
            self._start(command, SETUP_SECONDS)
        for command in self._head_commands():
            self._start(command, START_SECONDS)

    def _head_commands(self) -> list[str]:
        given = self.file.ray.get("head_start_ray_commands")
        if given:
            return list(given)
        agent, client = free_port(LOOPBACK), free_port(LOOPBACK)
        more = (
            f"--node-ip-address={LOOPBACK} --dashboard-agent-listen-port={agent} --ray-client-server-port={client} "
            "--include-log-monitor=false"
        )
        state = self.state
        folder = str(ray_folder(state.mark))
        ports = {"gcs": state.gcs, "dashboard": state.dashboard}
        return [commands.start_head(state.python, state.mark, folder, **ports, more=more)]

    def _start(self, command: str, seconds: float) -> None:
        own = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}  # that of another cluster
        environment = {**own, **self._environment(), "RAY_HEAD_IP": LOOPBACK}
        with self.folder.log.open("ab") as log:
            code = run_within(seconds, ["bash", "-c", command], environment, log)
        if code is None:
            raise DegasError(
                f"Ray did not start: {command!r} did not end within {seconds:.0f} s; see that it does when typed by "
                f"hand, then launch again. The end of {self.folder.log}:\n{tail(self.folder.log)}"
            )
        if code:
            raise DegasError(f"Ray did not start; the end of {self.folder.log}:\n{tail(self.folder.log)}")

    def run(self, command: str) -> str:
        """Run a shell command and return what it prints."""
        done = subprocess.run(
            ["bash", "-c", command],
            env={**os.environ, **self._environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
            check=False,
        )
        if done.returncode:
            raise DegasError(done.stderr.strip()[-LOG_CHARACTERS:] or f"{command} ended with {done.returncode}")
        return done.stdout

    @contextmanager
    def reach(self) -> Iterator[str]:
        """Give the dashboard's address."""
        yield f"http://{LOOPBACK}:{self.state.dashboard}"

    def end(self, say: Say) -> list[str]:
        """End every process of the cluster on this machine and remove Ray's session."""
        count = len(find_processes(self.state.mark))
        say(f"ending {count} processes on this machine")
        left = end_processes(self.state.mark)
        if not left:
            shutil.rmtree(ray_folder(self.state.mark), ignore_errors=True)
        return [f"{LOOPBACK}  {describe(process)}" for process in left]

    def _environment(self) -> Mapping[str, str]:
        return commands.environment(self.state.mark, str(self.folder.token), here=True)


def run_within(seconds: float, words: Sequence[str], environment: Mapping[str, str], log: BinaryIO) -> int | None:
    """Run a command that writes into a log; return its exit code, or ``None`` where it was ended after ``seconds``."""
    process = subprocess.Popen(
        words,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for the launcher, not for what it has started
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:  # after Ctrl-C too
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def tail(path: Path) -> str:
    """Return the end of a log."""
    return path.read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS:]
