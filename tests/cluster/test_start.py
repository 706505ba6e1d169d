"""Starts that do not come to an end."""

from pathlib import Path

import pytest
import yaml

from degas_ray.cluster import hosts, read_cluster, ssh
from degas_ray.cluster.processes import find_processes
from degas_ray.cluster.state import ClusterFolder, State
from degas_ray.errors import DegasError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterFolder:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # reading a file sets it; undone after the test
    folder = ClusterFolder(tmp_path, "degas")
    folder.make_token()
    return folder


def _state(folder: ClusterFolder) -> State:
    return State(folder.mark, "python3", str(folder.home), gcs=6379, dashboard=8265, tracking="")


@pytest.mark.parametrize(
    ("key", "limit"), [("setup_commands", "SETUP_SECONDS"), ("head_start_ray_commands", "START_SECONDS")]
)
def test_a_command_that_does_not_end_is_said_and_ended(
    key: str, limit: str, folder: ClusterFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, limit, 0.0)
    file = folder.root / "cluster.yaml"
    provider = {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []}
    file.write_text(yaml.safe_dump({"cluster_name": "degas", "provider": provider, key: ["sleep 600"]}))
    with pytest.raises(
        DegasError, match=r"'sleep 600' did not end within 0 s; .* launch again\. The end of .*start\.log"
    ):
        hosts.Here(read_cluster(file), folder, _state(folder)).start(lambda _: None)
    assert find_processes(folder.mark) == []


@pytest.mark.parametrize("verb", ["up", "down"])
def test_a_launcher_of_rays_that_does_not_end_is_said(
    verb: str, folder: ClusterFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "UP_SECONDS", 0.0)
    file = folder.root / "cluster.yaml"
    provider = {"type": "local", "head_ip": "10.0.0.1", "worker_ips": []}
    degas = {"storage": {"home": "/shared/runs"}}
    file.write_text(yaml.safe_dump({"cluster_name": "degas", "provider": provider, "degas": degas}))
    over = ssh.OverSsh(read_cluster(file), folder, _state(folder))
    with pytest.raises(DegasError, match=rf"'ray {verb}' did not end within 0 s; 'degas-ray doctor .*cluster\.yaml'"):
        over._ray(verb)
