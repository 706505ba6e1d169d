"""The MLflow server of a home directory, as a group of processes that ends as a whole."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from degas_ray.errors import DegasError
from degas_ray.ports import LOOPBACK, free_port
from degas_ray.tracking import backend
from degas_ray.tracking.backend import front_page
from degas_ray.tracking.runs import open_tracking

START_SECONDS = 120.0
STOP_SECONDS = 10.0
LOG_CHARACTERS = 2000


@dataclass(frozen=True)
class Server:
    """A running MLflow server."""

    address: str  # such as http://127.0.0.1:43210
    front: str  # the page to open first: the runs with their scores and genotypes
    pid: int  # of its process group
    stop: Callable[[], None]  # ends every process of it; may be called twice


def start_server(home: Path, port: int | None = None, host: str = LOOPBACK) -> Server:
    """Serve the home's runs and models, and return once the server answers.

    Args:
        home: The home directory; its database is made where it is missing.
        port: A free one is taken by default.
        host: The address to listen on: loopback unless a cluster's file says otherwise.

    Raises:
        InputError: Where the port is taken.
        DegasError: Where the server ends or does not answer in two minutes; with the end of its log.
    """
    home = home.absolute()
    experiment = open_tracking(home).address.experiment_id
    port = free_port(host, port)
    log = home / "tracking" / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(home, host, port),
            cwd=home,
            env={
                **os.environ,
                **backend.ENVIRONMENT,
                "MLFLOW_BACKEND_STORE_URI": backend.database_uri(home),
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a dozen processes that nothing here needs
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://{host}:{port}"
    server = Server(address, front_page(address, experiment), process.pid, lambda: _stop(process))
    with ExitStack() as undo:  # whatever ends the wait, Ctrl-C too
        undo.callback(server.stop)
        _wait(server.address, process, log)
        undo.pop_all()
    return server


def _command(home: Path, host: str, port: int) -> list[str]:
    names = sorted({host, LOOPBACK, "localhost"})
    return [
        sys.executable,
        *("-m", "mlflow", "server"),
        *("--artifacts-destination", backend.artifact_root(home)),
        *("--default-artifact-root", "mlflow-artifacts:/"),
        *("--host", host),
        *("--port", str(port)),
        *("--workers", "1"),
        # both forms: the check compares the whole Host header, port and all
        *("--allowed-hosts", ",".join([*names, *(f"{name}:{port}" for name in names)])),
    ]


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DegasError(f"the MLflow server ended at once; the end of {log}:\n{_tail(log)}")
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            opener.open(f"{address}/health", timeout=5) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise DegasError(f"the MLflow server did not answer in {START_SECONDS:.0f} s; the end of {log}:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            process.poll()  # reaps it, or its group would stay for ever
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
