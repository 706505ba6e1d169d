"""What runs on the head beside Ray: an MLflow server that is killed is started again, an idle cluster ends itself."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from degas_ray.cluster.keeper import Task, start
from degas_ray.cluster.processes import MARK, end_processes, ray_folder
from degas_ray.cluster.state import ClusterFolder
from degas_ray.errors import DegasError
from degas_ray.home import StudyFolder
from degas_ray.tracking import open_tracking

ENTRY = Path(sys.executable).with_name("degas-ray")
CLUSTER = Path(__file__).parents[2] / "cluster.yaml"
ENDLESS = {"width": 4, "latent_dim": 4, "checkpoint_seconds": 0.5, "steps": 1_000_000, "batch": 16}
SETTINGS = {"limit": 64, "search": ENDLESS, "study": {"trials": 2, "concurrent": 1}}

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def run(verb: str, file: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ENTRY, verb, str(file), *args], cwd=file.parent, capture_output=True, text=True, check=False, timeout=600
    )


def wait_for(what: str, true: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.2)


def marked(mark: str) -> dict[int, list[str]]:
    """Return the command lines of a cluster's processes by number."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found[process.pid] = process.cmdline()
        except psutil.Error:
            continue
    return found


def serving(mark: str, *words: str) -> set[int]:
    """Return the processes of a cluster that have all of ``words`` in their command lines."""
    return {pid for pid, line in marked(mark).items() if all(word in line for word in words)}


def answers(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    tree = yaml.safe_load(CLUSTER.read_text())
    tree["degas"] |= {"settings": SETTINGS, "idle_shutdown": "5s"}
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(tree))
    yield path
    run("down", path)


def test_mlflow_comes_back_and_an_idle_cluster_goes(file: Path, tmp_path: Path) -> None:
    mark = ClusterFolder(tmp_path / "degas-runs", "degas").mark
    launched = run("launch", file, "--detach", "--json")
    assert launched.returncode == 0, launched.stderr
    address = json.loads(run("status", file, "--json").stdout)["tracking"]
    study = StudyFolder(tmp_path / "degas-runs", "degas-1")
    wait_for("search", lambda: (study.trial(0) / "stats.jsonl").exists())

    # The server itself dies, and then the command that watches it, which leaves a server that holds the port.
    for words in (("mlflow", "server"), ("degas_ray.cli.main", "ui")):
        before = serving(mark, *words)
        assert before, marked(mark)
        for pid in before:
            psutil.Process(pid).kill()
        wait_for(
            f"new {words[0]}",
            lambda words=words, before=before: bool(serving(mark, *words) - before) and answers(address),
        )
        assert serving(mark, "mlflow", "server").isdisjoint(before)
    assert run("status", file, "--json").stdout.count('"RUNNING"') == 1  # the study went on, and the cluster with it

    stopped = run("stop", file)
    assert "Study degas-1 is paused and kept" in stopped.stdout, stopped.stderr
    wait_for("end of the idle cluster", lambda: not marked(mark))
    wait_for("end of Ray's folder", lambda: not ray_folder(mark).exists())
    status = json.loads(run("status", file, "--json").stdout)
    assert (status["up"], status["nodes"], status["study"]) == (False, 0, "degas-1")
    assert study.read()["status"] == "paused"
    runs = open_tracking(study.home).runs(role="trial")
    assert [item.outcome for item in runs] == ["interrupted"]


def test_a_server_that_cannot_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("a file where a folder should be")
    log = tmp_path / "keeper.log"
    monkeypatch.setenv(MARK, "none")
    task = Task("none", str(log), str(tmp_path / "home"), "127.0.0.1", 5999, "http://127.0.0.1:1")
    with pytest.raises(DegasError, match=r"the MLflow server of the head did not start; the end of .*keeper\.log"):
        start(task)
    assert end_processes("none") == []
