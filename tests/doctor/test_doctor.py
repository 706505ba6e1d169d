"""What `degas-ray doctor` finds, on this machine and in files and places that are broken on purpose."""

import json
import os
import socket
import sqlite3
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from degas_ray.cli.main import main
from degas_ray.cluster.file import ClusterFile, read_cluster
from degas_ray.doctor import cluster, machine, software
from degas_ray.scores.extractors import INCEPTION
from degas_ray.tracking import backend, open_tracking

REPOSITORY = Path(__file__).parents[2]
RACK = """
cluster_name: rack
provider: {{type: local, head_ip: 127.0.0.1, worker_ips: [127.0.0.1]}}
auth: {{ssh_user: me, ssh_private_key: {key}{more}}}
degas: {{storage: {{home: /shared/runs}}, tracking: {{host: 10.0.0.1}}}}
"""


@pytest.fixture(autouse=True)
def _no_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # reading a cluster's file sets it; undone after the test


def rack(folder: Path, more: str = "") -> ClusterFile:
    key, file = folder / "id", folder / "cluster.yaml"
    key.touch(mode=0o600)
    file.write_text(RACK.format(key=key, more=more))
    return read_cluster(file)


def run(*args: str):
    return CliRunner().invoke(main, ["doctor", *args])


def test_a_sound_machine_exits_0_and_nothing_is_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    result = run("--home", str(home), "--json")
    facts = json.loads(result.stdout)
    assert (result.exit_code, facts["healthy"]) == (0, True), facts
    assert not home.exists()
    names = [finding["name"] for finding in facts["findings"]]
    expected = [
        "Python",
        "packages",
        "torch",
        "GPU",
        "precision",
        "cores",
        "memory",
        "/dev/shm",
        "disk",
        "home",
        "MLflow database",
    ]
    assert names[: len(expected)] == expected
    assert all(finding["advice"] for finding in facts["findings"] if finding["state"] != "ok")


def test_a_fault_exits_1_and_says_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database at all, whatever its name says")
    result = run("--home", str(tmp_path))
    assert result.exit_code == 1
    assert "✗ MLflow database" in result.stdout
    assert "is no MLflow database: file is not a database" in result.stdout
    assert "1 will fail: MLflow database" in result.stdout


def test_database_of_this_and_of_another_release(tmp_path: Path) -> None:
    open_tracking(tmp_path)
    assert software.database(tmp_path).state == "ok"
    with sqlite3.connect(backend.database_file(tmp_path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0a8213491aaa'")
    finding = software.database(tmp_path)
    assert finding.state == "fault"
    assert "0a8213491aaa" in finding.found
    assert finding.advice.endswith(f"-m mlflow db upgrade sqlite:///{tmp_path}/mlflow.db")


def test_packages_out_of_range_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    true = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.12.0" if name == "scipy" else true(name))
    (finding,) = software.packages()
    texts = [text for text in metadata.requires("degas-ray") or [] if text.startswith("scipy") and ";" not in text]
    specifier = Requirement(texts[0]).specifier
    assert (finding.name, finding.state, finding.found) == ("scipy", "fault", f"1.12.0, expected {specifier}")
    assert finding.advice == f"type: pip install 'scipy{specifier}'"


def test_damaged_weights_are_a_fault(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "extractors"
    folder.mkdir(parents=True)
    (folder / INCEPTION.name).write_bytes(b"half a download")
    finding = list(software.extractors(tmp_path))[-1]
    assert (finding.name, finding.state) == ("inception", "fault")


def test_a_port_in_use_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(machine, "PORTS", {port: "a test"})
        (finding,) = machine.ray_ports()
    assert finding.state == "note"
    assert f"{port} (a test)" in finding.found


def test_a_home_below_a_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    finding = machine.writable(tmp_path / "file" / "home")
    assert finding.state == "fault"
    assert "--home" in finding.advice


def test_hosts_that_do_not_answer_are_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = rack(tmp_path)
    os.chmod(tmp_path / "id", 0o644)
    with socket.socket() as closed:  # bound, so that nobody else takes it, and not listening
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(cluster, "SSH_PORT", closed.getsockname()[1])
        found = {finding.name: finding for finding in cluster.reachability(file)}
    assert found["cluster 127.0.0.1"].state == "fault"
    assert found["cluster key"].advice == f"type: chmod 600 {tmp_path / 'id'}"


def test_a_host_that_answers_is_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = rack(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(cluster, "SSH_PORT", server.getsockname()[1])
        found = {finding.name: finding.state for finding in cluster.reachability(file)}
    assert (found["cluster 127.0.0.1"], found["cluster key"]) == ("ok", "ok")


def test_hosts_behind_a_proxy_command_are_not_knocked_at(tmp_path: Path) -> None:
    names = [finding.name for finding in cluster.reachability(rack(tmp_path, ", ssh_proxy_command: nc %h %p"))]
    assert names[-1] == "cluster hosts"


def test_a_cluster_that_is_this_machine_needs_no_ssh() -> None:
    (finding,) = cluster.reachability(read_cluster(REPOSITORY / "cluster.yaml"))
    assert (finding.name, finding.state) == ("cluster", "ok")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "holds a list"),
        ("provider: {type: local}\n", "cluster_name: missing"),
        ("cluster_name: c\nprovider: {type: local, head_ip: 1, worker_ips: 3}\n", "provider.head_ip"),
        ("cluster_name: c\nprovider: {type: nowhere}\n", "provider.type: got 'nowhere'"),
        ("provider: [\n", "is not YAML"),
        ("cluster_name: c\nprovider: {type: aws}\nauth: {ssh_private_key: [1]}\n", "auth.ssh_private_key"),
        ("a: " + "[" * 5000, "nested too deeply"),
    ],
)
def test_a_cluster_file_that_is_none_exits_2(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    result = run(str(file), "--home", str(tmp_path))
    assert result.exit_code == 2, result.output
    assert said in result.stderr
