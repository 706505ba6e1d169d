"""The repository's cluster.yaml on this machine, with real Ray and MLflow, from launch to down."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
import yaml

from degas_ray.cluster.processes import MARK
from degas_ray.cluster.state import ClusterFolder
from degas_ray.home import StudyFolder

ENTRY = Path(sys.executable).with_name("degas-ray")
CLUSTER = Path(__file__).parents[2] / "cluster.yaml"
SMALL = {"width": 4, "latent_dim": 4, "checkpoint_seconds": 0.5}
SETTINGS = {
    "limit": 64,
    "search": {**SMALL, "steps": 400, "batch": 16},
    "proxy": {**SMALL, "critic_width": 4, "steps": 20, "batch": 8, "generator_batch": 8, "critic_steps": 1},
    "full": {**SMALL, "critic_width": 4, "steps": 20, "batch": 8, "generator_batch": 8, "critic_steps": 1},
    "scores": {"samples": 20, "real": 20, "splits": 2, "batch": 10},
    "study": {"trials": 2, "rerank": {"top": 1}},
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(verb: str, file: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ENTRY, verb, str(file), *args], cwd=file.parent, capture_output=True, text=True, check=False, timeout=600
    )


def marked(mark: str) -> list[str]:
    """Return the processes of a cluster, looked for in another way than the product does."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = f"{MARK}={mark}".encode() in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            maps = Path(f"/proc/{process.pid}/maps").read_text()
            files = [file.path for file in process.open_files()]
            if mine or f"degas-ray-{mark}" in " ".join([*process.cmdline(), *files, maps]):
                found.append(f"{process.pid} {process.cmdline()}")
        except (psutil.Error, OSError):
            continue
    return found


def listening(mark: str) -> set[str]:
    """Return the addresses that a cluster's processes listen on."""
    numbers = {int(line.split()[0]) for line in marked(mark)}
    return {
        connection.laddr.ip
        for connection in psutil.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN and connection.pid in numbers
    }


def telling(known: dict[str, str], *folders: Path) -> list[str]:
    """Return the files below ``folders`` and the processes' command lines that hold one of ``known``."""
    places = [(str(path), path) for folder in folders for path in folder.rglob("*") if path.is_file()]
    places += [(f"process {number}", Path(f"/proc/{number}/cmdline")) for number in psutil.pids()]
    found = []
    for name, path in places:
        try:
            content = path.read_bytes()
        except OSError:  # gone since
            continue
        found += [f"{what} in {name}" for what, secret in known.items() if secret.encode() in content]
    return found


def hide_password(user: Path) -> str:
    """Put a password for MLflow where docs/cluster.md says that it may be; return it."""
    password = secrets.token_hex(16)
    file = user / ".mlflow" / "credentials"
    file.parent.mkdir(parents=True)
    file.write_text(f"[mlflow]\nmlflow_tracking_username = somebody\nmlflow_tracking_password = {password}\n")
    file.chmod(0o600)
    return password


def test_a_newcomers_cluster_from_launch_to_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = yaml.safe_load(CLUSTER.read_text())
    tree["degas"]["settings"] = SETTINGS
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(tree))
    folder = ClusterFolder(tmp_path / "degas-runs", "degas")
    mark, session = folder.mark, Path(tempfile.gettempdir()) / f"degas-ray-{folder.mark}"
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    known = {"the password": hide_password(tmp_path / "user")}
    try:
        _launch_and_leave(file)
        known["the token"] = folder.token.read_text()
        assert folder.token.stat().st_mode & 0o777 == 0o600
        assert list((session / "session_latest" / "logs").glob("job-driver-*.log")), "Ray logs elsewhere"
        assert telling(known, session, folder.home) == [f"the token in {folder.token}"]
        assert {address.removeprefix("::ffff:") for address in listening(mark)} == {"127.0.0.1"}
        status = json.loads(run("status", file, "--json").stdout)
        assert (status["up"], status["nodes"], status["job_status"]) == (True, 1, "RUNNING")
        assert run("launch", file).stderr.startswith("Error: study degas-1 runs on degas; follow it with")
        _pause_and_go_on(file, tmp_path)
        assert telling(known, session, folder.home) == [f"the token in {folder.token}"]
    finally:
        down = run("down", file)
    assert down.stdout == "The cluster degas is down; no process of it is left.\n", down.stderr
    assert marked(mark) == []
    assert StudyFolder(tmp_path / "degas-runs", "degas-1").read()["status"] == "finished"
    assert "no such" not in run("status", file).stdout


def _launch_and_leave(file: Path) -> None:
    with subprocess.Popen(
        [ENTRY, "launch", str(file)], cwd=file.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any("trial 0  search" in line for line in lines)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"Stopped: study degas-1 goes on; come back with 'degas-ray attach {file}'" in said


def _pause_and_go_on(file: Path, tmp_path: Path) -> None:
    stopped = run("stop", file)
    assert stopped.stdout.startswith("Study degas-1 is paused and kept. Go on with: degas-ray launch"), stopped.stderr
    assert StudyFolder(tmp_path / "degas-runs", "degas-1").read()["status"] == "paused"
    resumed = run("launch", file, "--resume", "--detach", "--quiet")
    assert (resumed.returncode, "MLflow:" in resumed.stderr) == (0, False), resumed.stderr
    attached = run("attach", file)
    assert attached.returncode == 0, attached.stderr
    assert "degas-ray-degas-1 version 1, alias champion" in attached.stdout
    log = run("logs", file)
    assert log.stdout == attached.stdout


def test_a_port_that_is_taken_is_said_before_anything_starts(tmp_path: Path) -> None:
    tree = yaml.safe_load(CLUSTER.read_text())
    file = tmp_path / "cluster.yaml"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        tree["degas"]["ports"] = {"dashboard": port}
        file.write_text(yaml.safe_dump(tree))
        result = run("launch", file)
    assert result.returncode == 2
    assert f"degas.ports.dashboard: {port} on 127.0.0.1: Address already in use" in result.stderr


def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    tree = yaml.safe_load(CLUSTER.read_text())
    tree["setup_commands"] = ["sleep 600 </dev/null >/dev/null 2>&1 & echo set up", "echo the disk is gone >&2; false"]
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(tree))
    result = run("launch", file)
    assert result.returncode == 1
    assert "Ray did not start" in result.stderr
    assert "the disk is gone" in result.stderr
    assert marked(ClusterFolder(tmp_path / "degas-runs", "degas").mark) == []
    assert os.listdir(tmp_path / "degas-runs" / "clusters") == ["degas"]
