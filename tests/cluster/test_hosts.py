"""A head and two workers on one machine: launched over SSH, cut off, killed, paused, gone on with, ended.

The hosts are network namespaces with an sshd, processes and mounts of their own; see tests/helpers/namespaces.py.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from namespaces import SHARED, Hosts, missing

from degas_ray.home import StudyFolder

ENTRY = Path(sys.executable).with_name("degas-ray")
SMALL = {"width": 4, "latent_dim": 4, "checkpoint_seconds": 0.5}
GAN = {**SMALL, "critic_width": 4, "steps": 20, "batch": 8, "generator_batch": 8, "critic_steps": 1}
SETTINGS = {
    "limit": 64,
    "search": {**SMALL, "steps": 300, "batch": 16},
    "proxy": GAN,
    "full": GAN,
    "scores": {"samples": 20, "real": 20, "splits": 2, "batch": 10},
    "study": {"trials": 4, "concurrent": 3, "max_failures": 5, "rerank": {"top": 0}},
}

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(missing()), reason=missing() or "hosts can be made"),
]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with Hosts(tmp_path_factory.mktemp("hosts"), 3) as made:
        yield made


@pytest.fixture(scope="module")
def file(hosts: Hosts) -> Path:
    folder = hosts.folder / "launcher"
    folder.mkdir()
    tree = {
        "cluster_name": "rack",
        "provider": {"type": "local", "head_ip": hosts.addresses[0], "worker_ips": hosts.addresses[1:]},
        "auth": {"ssh_user": "root", "ssh_private_key": str(hosts.key)},
        "degas": {
            "settings": SETTINGS,
            "storage": {"home": f"{SHARED}/runs"},
            "tracking": {"host": "head"},
            "python": sys.executable,
        },
    }
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def run(hosts: Hosts, verb: str, file: Path, *args: str) -> subprocess.CompletedProcess[str]:
    words = hosts.launcher(str(ENTRY), verb, str(file), *args)
    return subprocess.run(words, cwd=file.parent, capture_output=True, text=True, check=False, timeout=900)


def wait_for(what: str, true: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.5)


def trains(hosts: Hosts, address: str) -> bool:
    return any(line.startswith("ray::") and ".train" in line for line in hosts.processes(address))


def test_trials_run_on_every_host_and_down_leaves_nothing(hosts: Hosts, file: Path) -> None:
    try:
        launched = run(hosts, "launch", file, "--detach")
        assert launched.returncode == 0, launched.stderr
        assert "3 of 3 hosts are up" in launched.stderr
        for address in hosts.addresses:
            wait_for(f"trial on {address}", lambda address=address: trains(hosts, address))
    finally:
        down = run(hosts, "down", file)
    assert down.stdout == "The cluster rack is down; no process of it is left.\n", down.stderr
    assert "study rack-1 is paused and kept" in down.stderr
    assert [line for address in hosts.addresses for line in hosts.processes(address)] == []


def test_a_study_survives_what_happens_to_its_hosts(hosts: Hosts, file: Path) -> None:
    try:
        launched = run(hosts, "launch", file, "--detach", "--json")
        assert launched.returncode == 0, launched.stderr
        name = json.loads(launched.stdout)["study"]
        study = StudyFolder(hosts.shared / "runs", name)
        for address in hosts.addresses:
            wait_for(f"trial on {address}", lambda address=address: trains(hosts, address))
        head, worker = hosts.addresses[0], hosts.addresses[-1]

        hosts.link(worker, "down")
        wait_for("word of the lost worker", lambda: "its worker died" in run(hosts, "logs", file).stdout)
        hosts.link(worker, "up")

        hosts.on(head, "kill -9 $(pgrep -f '[d]egas_ray.cli.main tune')")
        wait_for("end of the job", lambda: _job(hosts, file) == "FAILED")
        assert study.read()["status"] == "running"  # it could not say anything more
        again = run(hosts, "launch", file, "--resume", "--detach")
        assert again.returncode == 0, again.stderr
        wait_for("trial after the driver's death", lambda: trains(hosts, head))

        stopped = run(hosts, "stop", file)
        assert f"Study {name} is paused and kept" in stopped.stdout, stopped.stderr
        assert study.read()["status"] == "paused"
        resumed = run(hosts, "launch", file, "--resume")
        assert resumed.returncode == 0, resumed.stderr + resumed.stdout
        assert f"degas-ray-{name} version 1, alias champion" in resumed.stdout
    finally:
        down = run(hosts, "down", file)
    assert down.stdout == "The cluster rack is down; no process of it is left.\n", down.stderr
    assert [line for address in hosts.addresses for line in hosts.processes(address)] == []
    assert [row.number for row in study.rows()] == [0, 1, 2, 3]
    assert all(row.outcome in ("completed", "collapsed") for row in study.rows())
    assert study.read()["status"] == "finished"


def test_hosts_that_share_no_storage_are_refused(hosts: Hosts, file: Path) -> None:
    tree = yaml.safe_load(file.read_text())
    tree["cluster_name"] = "apart"
    tree["degas"]["storage"]["home"] = "/tmp/runs"  # every host has its own
    apart = file.with_name("apart.yaml")
    apart.write_text(yaml.safe_dump(tree))
    try:
        launched = run(hosts, "launch", apart)
        assert launched.returncode == 1
        assert "is not the same folder on every host: 10.77.0.2, 10.77.0.3 cannot see" in launched.stdout
        assert "degas.storage.home" in launched.stdout
    finally:
        down = run(hosts, "down", apart)
    assert down.returncode == 0, down.stderr


def _job(hosts: Hosts, file: Path) -> str:
    return str(json.loads(run(hosts, "status", file, "--json").stdout)["job_status"])
