"""The server of a home, and a study that outlives it."""

import contextlib
import os
import signal
import socket
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from degas_ray.errors import DegasWarning, InputError
from degas_ray.tracking import open_tracking, start_server


def _answer(address: str, host: str | None = None) -> int:
    request = urllib.request.Request(f"{address}/ajax-api/2.0/mlflow/experiments/search?max_results=1")
    if host:
        request.add_header("Host", host)
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)
    return 403


def test_a_server_answers_on_loopback_and_leaves_no_process(home: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"1")
    own = open_tracking(home)
    run = own.run("a", "promotion", key="a")
    run.finish("completed")
    own.register(run.run_id, model, "net")
    server = start_server(home)
    try:
        port = int(server.address.rpartition(":")[2])
        assert server.address == f"http://127.0.0.1:{port}"
        assert _answer(server.address) == 200
        assert _answer(server.address, "evil.example") == 403
        with pytest.raises(InputError, match=f"port {port}.*in use"):
            start_server(home, port)
        far = open_tracking(tmp_path / "another home", server.address)
        assert [found.name for found in far.runs()] == ["a"]
        assert (far.resolve_model("models:/net@champion") / "weights").read_bytes() == b"1"
    finally:
        server.stop()
    server.stop()  # twice is no harm
    with pytest.raises(ProcessLookupError):
        os.killpg(server.pid, 0)
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back_loses_nothing(new_home: Callable[[str], Path], tmp_path: Path) -> None:
    """Metrics, an image, an artifact and a second run's start fall into the outage; all arrive, in order and once."""
    home, worker_home = new_home("served"), tmp_path / "worker"
    server = start_server(home)
    port = int(server.address.rpartition(":")[2])
    tracking = open_tracking(worker_home, server.address)
    study = tracking.run("study", "study", key="s")
    trial = tracking.run("trial", "trial", key="s/1", parent=study.run_id)
    for step in range(100):
        trial.metrics({"loss": float(step)}, step)
    os.killpg(server.pid, signal.SIGKILL)
    late = tracking.run("late", "trial", key="s/2", parent=study.run_id)
    with pytest.warns(DegasWarning, match="cannot be reached"):
        late.metrics({"loss": 1.0}, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegasWarning)
        for step in range(100, 300):
            trial.metrics({"loss": float(step)}, step)
        trial.text("seed: 1\n", "config.yaml")
        trial.tags({"degas.genotype": "g"})
    server.stop()
    server = start_server(home, port)
    try:
        for step in range(300, 400):
            trial.metrics({"loss": float(step)}, step)
        for run in (late, trial, study):
            run.finish("completed")
        assert tracking.replay() == 0
        assert tracking.history(trial.run_id, "loss") == [(step, float(step)) for step in range(400)]
        assert tracking.download(trial.run_id, "config.yaml").read_text() == "seed: 1\n"
        assert sorted(run.name for run in tracking.runs(parent=study.run_id)) == ["late", "trial"]
        assert {run.outcome for run in tracking.runs()} == {"completed"}
    finally:
        server.stop()


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("degas_ray.tracking.runs.OPEN_SECONDS", 0.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        address = f"http://name:secret@127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(InputError, match="the MLflow server does not answer") as caught:
            open_tracking(tmp_path, address)
    assert "secret" not in str(caught.value)
