"""The way to a head's dashboard through SSH, with a stand-in for ssh."""

import os
import signal
import stat
import sys
from pathlib import Path

import pytest
import yaml

from degas_ray.cluster import read_cluster
from degas_ray.cluster.ssh import OverSsh
from degas_ray.cluster.state import ClusterFolder, State
from degas_ray.cluster.tunnel import Tunnel
from degas_ray.ports import LOOPBACK, is_free

SSH = """\
import os, signal, socket, sys
port = int(sys.argv[sys.argv.index("-L") + 1].split(":")[1])
server = socket.create_server(("127.0.0.1", port))
with open({fifo!r}, "w") as file:
    file.write(str(os.getpid()))
signal.pause()
"""


@pytest.mark.timeout(60)
def test_a_tunnel_that_breaks_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = tmp_path / "opened"  # each ssh writes its number here once it listens
    os.mkfifo(opened)
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{SSH.format(fifo=str(opened))}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # reading a file sets it; undone after the test
    monkeypatch.setattr(Tunnel, "PAUSE", 0.01)
    with _hosts(tmp_path).reach() as address:
        port = int(address.rpartition(":")[2])
        first = int(opened.read_text())
        os.kill(first, signal.SIGKILL)
        second = int(opened.read_text())
        assert first != second
        assert not is_free(LOOPBACK, port)
    assert is_free(LOOPBACK, port)
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def _hosts(folder: Path) -> OverSsh:
    tree = {
        "cluster_name": "rack",
        "provider": {"type": "local", "head_ip": "10.0.0.1", "worker_ips": []},
        "degas": {"storage": {"home": "/shared/runs"}},
    }
    file = folder / "cluster.yaml"
    file.write_text(yaml.safe_dump(tree))
    state = State(mark="m", python="python3", home="/shared/runs", gcs=6379, dashboard=8265, tracking="")
    return OverSsh(read_cluster(file), ClusterFolder(folder, "rack"), state)
