"""Runs in a real MLflow database."""

import json
import math
import multiprocessing
import os
import pickle
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import requests
from sqlalchemy import make_url

from degas_ray.errors import DegasWarning, InputError
from degas_ray.figures import curve
from degas_ray.tracking import OUTCOMES, Tracking, backend, mirror, open_tracking
from degas_ray.tracking.mirror import Sender
from degas_ray.tracking.record import create_journal, journal_folders


class _Refusing:
    """A client whose uploads end in a plain answer, as behind a proxy that lets no large file through."""

    def __init__(self, client: Any, status: int) -> None:
        self._client, self._status = client, status

    def __getattr__(self, name: str) -> Any:
        return self._refuse if name.startswith("log_artifact") else getattr(self._client, name)

    def _refuse(self, *_: Any) -> None:
        raise _answer(self._status)


def _answer(status: int) -> requests.HTTPError:
    answer = requests.Response()
    answer.status_code, answer.url = status, "http://me:geheim@mlflow.example/"
    with pytest.raises(requests.HTTPError) as caught:
        answer.raise_for_status()
    return caught.value


class _Away:
    """A client that loses its server while ``down`` is set."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.down, self.refused = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        if self.down.is_set():
            self.refused.set()
            raise ConnectionRefusedError(111, "Connection refused")
        return getattr(self._client, name)


def _loss(step: int) -> dict[str, Any]:
    return {"op": "metrics", "values": {"loss": str(float(step))}, "step": step, "time": 1_000 + step}


def _leave(tracking: Tracking, key: str, records: list[dict[str, Any]]) -> Path:
    """Write a journal as a worker does, and die."""
    header = {"op": "open", "address": tracking.address.mark, "name": key, "role": "trial", "key": key, "parent": None}
    book = create_journal(tracking.address.queue, {**header, "time": 1})
    for record in records:
        book.append(record)
    book.close(remove=False)
    return book.folder


def _open_and_record(job: tuple[Path, int]) -> str:
    tracking = open_tracking(job[0])
    for name in (f"trial {job[1]}", *(["shared"] if job[1] == 3 else [])):
        run = tracking.run(name, "trial", key=name)
        for step in range(20):
            run.metrics({"loss": 1.0}, step)
        run.finish("completed")
    return tracking.address.experiment_id


def _images(run_folder: Path) -> list[str]:
    return sorted(path.name for path in (run_folder / "images").iterdir())


def test_what_is_recorded_is_in_mlflow(tracking: Tracking, tmp_path: Path) -> None:
    study = tracking.run("study", "study", key="study/a")
    trial = tracking.run("trial 1", "trial", key="study/a/trial/1", parent=study.run_id)
    trial.params({"dataset": "digits", "search.lr": 0.1, "seed": 7})
    trial.tags({"degas.genotype": "N1a=conv_3x3(U0)"})
    for step in range(0, 50, 10):
        trial.metrics({"search/loss": 1 / (step + 1), "search/margin": np.float64(step)}, step)
    (tmp_path / "note").write_text("1")
    trial.artifact(tmp_path / "note", "notes")
    (tmp_path / "note").unlink()  # it is kept as it was
    trial.text("seed: 7\n", "config.yaml")
    trial.figure(curve([{"step": 1, "loss": 2.0}], "step", ["loss"]), "figures/loss.png")
    trial.finish("completed")
    study.finish("completed")
    run = tracking.find_run(trial.run_id)
    assert (run.name, run.role, run.outcome, run.status) == ("trial 1", "trial", "completed", "FINISHED")
    assert run.parent == study.run_id
    assert run.params == {"dataset": "digits", "search.lr": "0.1", "seed": "7"}
    assert run.tags["degas.genotype"] == "N1a=conv_3x3(U0)"
    assert run.metrics["search/margin"] == 40.0
    assert tracking.history(run.run_id, "search/loss") == [(step, 1 / (step + 1)) for step in range(0, 50, 10)]
    assert tracking.download(run.run_id, "notes/note").read_text() == "1"
    assert tracking.download(run.run_id, "config.yaml").read_text() == "seed: 7\n"
    assert tracking.download(run.run_id, "figures/loss.png").read_bytes().startswith(b"\x89PNG")
    assert [r.run_id for r in tracking.runs(parent=study.run_id)] == [run.run_id]
    assert [r.role for r in tracking.runs()] == ["study", "trial"]
    assert [r.name for r in tracking.runs(role="study")] == ["study"]
    assert tracking.find_key("study/a/trial/1") == run
    assert tracking.find_key("study/a/trial/2") is None


def test_nothing_is_left_in_the_queue_or_outside_the_home(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run = open_tracking(home).run("a", "search", key="a")
    run.image(np.zeros((8, 8, 3), np.uint8), "samples", 1)
    run.finish("completed")
    assert list(elsewhere.iterdir()) == []
    kept = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
    assert [name for name in kept if not name.startswith("mlflow-artifacts/")] == [
        "mlflow.db",
        "tracking/database.lock",
        "tracking/queue/lock",
        "tracking/queue/runs.lock",
    ]


def test_files_of_another_database_are_in_the_home(
    new_home: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database keeps no files; MLflow's own place for them is wherever the command was typed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "weights").write_bytes(b"1")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("DEGAS_RAY_TRACKING_URI", backend.database_uri(new_home("other")))
    home = tmp_path / "home"
    tracking = open_tracking(home)
    run = tracking.run("a", "promotion", key="a")
    run.text("seed: 7\n", "config.yaml")
    run.finish("completed")
    tracking.register(run.run_id, elsewhere, "net")
    found = [tracking.download(run.run_id, "config.yaml"), tracking.resolve_model("models:/net@champion") / "weights"]
    assert [path.read_bytes() for path in found] == [b"seed: 7\n", b"1"]
    assert all(path.is_relative_to(home / "mlflow-artifacts") for path in found)
    assert [path.name for path in elsewhere.iterdir()] == ["weights"]


def test_a_relative_database_is_one_file_in_every_folder(
    home: Path, new_home: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = new_home("other")
    monkeypatch.chdir(other)
    address = open_tracking(home, "sqlite:///mlflow.db").address
    assert address.uri == backend.database_uri(other)
    monkeypatch.chdir(tmp_path)
    run = Tracking(address).run("a", "trial", key="a")
    run.finish("completed")
    assert [found.name for found in open_tracking(home, backend.database_uri(other)).runs()] == ["a"]
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("sign", [*"?%#&;:@+ '\"\\*[]$é", "%41", "%3F", "?x=1", "\n"])
def test_a_home_is_where_its_path_says_whatever_is_in_it(
    sign: str, new_home: Callable[[str], Path], tmp_path: Path
) -> None:
    home = new_home(f"a{sign}b")
    tracking = open_tracking(home)
    run = tracking.run("a", "promotion", key="a")
    run.text("seed: 7\n", "config.yaml")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "weights").write_bytes(b"1")
    run.finish("completed")
    tracking.register(run.run_id, tmp_path / "net", "net")
    assert tracking.download(run.run_id, "config.yaml").read_text() == "seed: 7\n"
    assert tracking.resolve_model("models:/net@champion").is_relative_to(home)
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["net", home.name])
    assert backend.revision(home) == backend.expected_revision()


@pytest.mark.parametrize(
    ("uri", "path"), [("sqlite:///m.db", "m.db"), ("sqlite:///a%3Fb.db", "a?b.db"), ("sqlite+pysqlite:///m.db", "m.db")]
)
def test_a_relative_database_below_a_folder_of_any_name(
    uri: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "c?d%41"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert make_url(backend.check_uri(uri)).database == str(folder / path)
    assert make_url(backend.check_uri(f"{uri}?timeout=9")).query == {"timeout": "9"}


def test_a_second_opening_goes_on_without_repeating(tracking: Tracking) -> None:
    first = tracking.run("a", "trial", key="a")
    first.params({"lr": 0.1})
    first.image(np.zeros((8, 8, 3), np.uint8), "proxy/samples", 10)
    for step in (10, 20, 30):
        first.metrics({"loss": float(step)}, step)
    first.finish("interrupted")
    assert tracking.find_run(first.run_id).status == "KILLED"

    second = tracking.run("a", "trial", key="a")  # from a checkpoint at step 10
    assert second.run_id == first.run_id
    second.params({"lr": 0.1})
    second.image(np.zeros((8, 8, 3), np.uint8), "proxy/samples", 10)
    second.image(np.zeros((8, 8, 3), np.uint8), "proxy/samples", 40)
    for step in (20, 30, 40):
        second.metrics({"loss": -1.0 if step < 40 else 40.0}, step)
    second.finish("completed")
    run = tracking.find_run(first.run_id)
    assert (run.status, run.outcome) == ("FINISHED", "completed")
    assert tracking.history(run.run_id, "loss") == [(step, float(step)) for step in (10, 20, 30, 40)]
    assert len(tracking.runs()) == 1
    names = _images(tracking.download(run.run_id, "images").parent)
    assert [name.split("+")[2] for name in names] == ["10", "10", "40", "40"]


def test_a_run_that_goes_on_is_running_and_has_no_outcome(tracking: Tracking) -> None:
    tracking.run("a", "trial", key="a").finish("failed")
    _leave(tracking, "a", [{"op": "start"}])
    assert tracking.replay() == 0
    (run,) = tracking.runs()
    assert (run.status, run.outcome) == ("RUNNING", "")


def test_images_have_the_names_that_mlflow_gives_them(tracking: Tracking) -> None:
    """The step slider reads names; ours and those of MLflow's own log_image differ in their random part alone."""
    ours = tracking.run("a", "trial", key="a")
    array = np.random.default_rng(0).integers(0, 255, (300, 600, 3), dtype=np.uint8)
    ours.image(array, "proxy/samples", 20)
    ours.finish("completed")
    client = backend.client(tracking.address.uri)
    theirs = client.create_run(tracking.address.experiment_id).info.run_id
    client.log_image(theirs, array, key="proxy/samples", step=20, timestamp=1, synchronous=True)

    def shape(name: str) -> str:
        return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", re.sub(r"timestamp\+\d+", "TIME", name))

    folders = [tracking.download(run, "images").parent for run in (ours.run_id, theirs)]
    ours_named, theirs_named = ([shape(name) for name in _images(folder)] for folder in folders)
    assert (
        ours_named
        == theirs_named
        == ["proxy~samples+step+20+TIME+ID+compressed.webp", "proxy~samples+step+20+TIME+ID.png"]
    )
    tags = [client.get_run(run).data.tags["mlflow.loggedImages"] for run in (ours.run_id, theirs)]
    assert tags == ["True", "True"]


def test_what_is_not_finite_is_a_gap_and_a_tag(tracking: Tracking) -> None:
    run = tracking.run("a", "trial", key="a")
    run.metrics({"loss": 1.0}, 1)
    run.metrics({"loss": math.inf}, 2)
    run.metrics({"loss": math.nan}, 3)
    run.metrics({"loss": 4.0}, 4)
    run.finish("diverged")
    values = dict(tracking.history(run.run_id, "loss"))
    assert [step for step, value in values.items() if math.isnan(value)] == [2, 3]
    found = tracking.find_run(run.run_id)
    assert found.status == "FAILED"
    assert found.tags["degas.non_finite"] == "loss = nan at step 3"


def test_long_text_is_kept_whole_beside_the_run(tracking: Tracking) -> None:
    text = "conv " * 4000
    run = tracking.run("a", "trial", key="a")
    run.params({"space": text})
    run.tags({"degas.long": text})
    run.finish("completed")
    found = tracking.find_run(run.run_id)
    assert len(found.params["space"]) == 6000
    assert found.params["space"].endswith("(in full: params/space.txt)")
    assert found.tags["degas.long"].endswith("(in full: tags/degas.long.txt)")
    assert tracking.download(run.run_id, "params/space.txt").read_text() == text
    assert tracking.download(run.run_id, "tags/degas.long.txt").read_text() == text


def test_a_changed_param_keeps_its_first_value_and_says_the_newer(tracking: Tracking) -> None:
    for trials in (4, 8):
        run = tracking.run("a", "study", key="a")
        run.params({"study.trials": trials, "seed": 0})
        run.finish("completed")
    found = tracking.find_run(run.run_id)
    assert found.params == {"study.trials": "4", "seed": "0"}
    assert found.tags["degas.now.study.trials"] == "8"


def test_many_metrics_and_params_pass_mlflows_limits(tracking: Tracking) -> None:
    run = tracking.run("a", "trial", key="a")
    run.params({f"p{i}": i for i in range(250)})
    for step in range(30):
        run.metrics({f"m{i}": float(i) for i in range(100)}, step)
    run.finish("completed")
    found = tracking.find_run(run.run_id)
    assert len(found.params) == 250
    assert len(found.metrics) == 100
    assert len(tracking.history(run.run_id, "m99")) == 30


def test_a_worker_gets_coordinates_alone(tracking: Tracking) -> None:
    address = pickle.loads(pickle.dumps(tracking.address))  # noqa: S301
    assert address == tracking.address
    run = Tracking(address).run("a", "trial", key="a")
    run.finish("pruned")
    assert tracking.find_run(run.run_id).status == "KILLED"


def test_what_a_worker_left_that_is_gone_arrives_with_the_next_replay(tracking: Tracking) -> None:
    _leave(tracking, "a", [_loss(step) for step in range(5)])
    assert tracking.replay() == 0
    (run,) = tracking.runs()
    assert (run.status, run.outcome) == ("RUNNING", "")
    assert [step for step, _ in tracking.history(run.run_id, "loss")] == list(range(5))


def test_what_a_dead_worker_left_arrives_before_its_successors_records(tracking: Tracking) -> None:
    _leave(tracking, "a", [_loss(step) for step in (1, 2, 3)])
    _leave(tracking, "a", [_loss(step) for step in (2, 3, 4)])
    run = tracking.run("a", "trial", key="a")
    run.metrics({"loss": 40.0}, 4)
    run.metrics({"loss": 5.0}, 5)
    run.finish("completed")
    assert tracking.history(run.run_id, "loss") == [(step, float(step)) for step in (1, 2, 3, 4, 5)]
    assert len(tracking.runs()) == 1


def test_a_journal_for_another_address_is_let_be(tracking: Tracking, new_home: Callable[[str], Path]) -> None:
    left = _leave(tracking, "a", [_loss(1)])
    other = open_tracking(tracking.address.home, backend.database_uri(new_home("other")))
    other.run("a", "trial", key="a").finish("completed")
    assert left.exists()
    assert [other.history(run.run_id, "loss") for run in other.runs()] == [[]]
    tracking.replay()
    assert [tracking.history(run.run_id, "loss") for run in tracking.runs()] == [[(1, 1.0)]]


def test_records_wait_on_disk_while_mlflow_is_away(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    away = _Away(backend.client(tracking.address.uri))
    monkeypatch.setattr(backend, "client", lambda _: away)
    monkeypatch.setattr(Sender, "PAUSE", 0.01)
    monkeypatch.setattr(Sender, "LONGEST_PAUSE", 0.02)
    run = tracking.run("a", "trial", key="a")
    run.metrics({"loss": 1.0}, 1)
    away.down.set()

    def go_on() -> None:
        for step in range(2, 400):
            run.metrics({"loss": float(step)}, step)
            away.refused.wait(10)

    with pytest.warns(DegasWarning, match=r"cannot be reached.*sent in order") as caught:
        go_on()
    assert len(caught) == 1
    run.image(np.zeros((8, 8, 3), np.uint8), "samples", 400)
    away.down.clear()
    run.finish("completed")
    assert tracking.history(run.run_id, "loss") == [(step, float(step)) for step in range(1, 400)]
    assert len(_images(tracking.download(run.run_id, "images").parent)) == 2


def test_what_cannot_be_sent_at_the_end_goes_with_the_next_command(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = _Away(backend.client(tracking.address.uri))
    away.down.set()
    monkeypatch.setattr(mirror, "FINISH_SECONDS", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(backend, "client", lambda _: away)
        run = tracking.run("a", "trial", key="a")
        assert run.run_id == ""
        with pytest.warns(DegasWarning, match="cannot be reached"):
            run.metrics({"loss": 1.0}, 1)
        with pytest.warns(DegasWarning, match="sent by the next command"):
            run.finish("completed")
        run._sender.join()  # type: ignore[attr-defined]
    open_tracking(tracking.address.home)
    (found,) = tracking.runs()
    assert (found.outcome, found.metrics) == ("completed", {"loss": 1.0})


def test_a_locked_database_does_not_hold_up_the_loop(tracking: Tracking) -> None:
    run = tracking.run("a", "trial", key="a")
    with closing(sqlite3.connect(tracking.address.home / "mlflow.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        for step in range(50):
            run.metrics({"loss": float(step)}, step)
        other.execute("commit")
    run.finish("completed")
    assert len(tracking.history(run.run_id, "loss")) == 50


@pytest.mark.parametrize("workers", [8])
def test_a_fresh_home_is_made_once_by_many(workers: int, tmp_path: Path) -> None:
    """MLflow's own migrations fail in seven of eight such processes (duplicate column, table exists)."""
    backend.client(backend.database_uri(tmp_path / "warm"))
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        found = pool.map(_open_and_record, [(tmp_path / "home", i) for i in range(workers)], chunksize=1)
    assert len(set(found)) == 1
    tracking = open_tracking(tmp_path / "home")
    runs = tracking.runs()
    assert sorted(run.name for run in runs) == sorted([*(f"trial {i}" for i in range(workers)), "shared"])
    assert all(run.outcome == "completed" for run in runs)
    assert [len(tracking.history(run.run_id, "loss")) for run in runs] == [20] * (workers + 1)


@pytest.mark.slow
def test_processes_that_open_a_fresh_home_at_once_all_succeed(tmp_path: Path) -> None:
    """MLflow's own migrations fail in seven of eight such processes (duplicate column, table exists)."""
    code = (
        "import sys; from pathlib import Path; from degas_ray.tracking import open_tracking\n"
        "tracking = open_tracking(Path(sys.argv[1]))\n"
        "run = tracking.run(sys.argv[2], 'trial', key=sys.argv[2])\n"
        "for step in range(20): run.metrics({'loss': 1.0}, step)\n"
        "run.finish('completed')\n"
        "print(tracking.address.experiment_id)\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::degas_ray.errors.DegasWarning"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), f"trial {i}"],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for i in range(8)
    ]
    said = [worker.communicate(timeout=240) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 8, said
    assert len({out for out, _ in said}) == 1
    tracking = open_tracking(tmp_path)
    runs = tracking.runs()
    assert sorted(run.name for run in runs) == [f"trial {i}" for i in range(8)]
    assert all(len(tracking.history(run.run_id, "loss")) == 20 for run in runs)


def test_a_refused_record_is_set_aside_and_the_rest_arrives(tracking: Tracking) -> None:
    run = tracking.run("a", "trial", key="a", pause=1000.0)  # one round at the start and one at the end

    def record() -> None:  # it is refused in whichever round it is sent
        run.metrics({"not@allowed": 1.0}, 1)
        run.tags({"degas.genotype": "g"})
        run.finish("completed")

    with pytest.warns(DegasWarning, match=r"refused a record.*rejected\.jsonl"):
        record()
    assert tracking.find_run(run.run_id).tags["degas.genotype"] == "g"
    text = (tracking.address.home / "tracking" / "rejected.jsonl").read_text()
    assert "not@allowed" in text


@pytest.mark.parametrize("status", [413, 403, 404])
def test_a_refused_upload_is_set_aside_with_its_file(
    status: int, tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"1")
    refusing = _Refusing(backend.client(tracking.address.uri), status)
    monkeypatch.setattr(backend, "client", lambda _: refusing)
    monkeypatch.setattr(backend, "local_path", lambda *_: None)  # as on a server

    def record() -> str:
        run = tracking.run("a", "trial", key="a", pause=1000.0)
        run.artifact(tmp_path / "model")
        run.text("seed: 7\n", "notes/config.yaml")
        run.tags({"degas.genotype": "g"})
        run.finish("completed")
        return run.run_id

    with pytest.warns(DegasWarning, match=rf"refused a record \({status} .*rejected\.jsonl"):
        run_id = record()
    assert tracking.find_run(run_id).tags["degas.genotype"] == "g"
    assert journal_folders(tracking.address.queue) == []
    folder = tracking.address.home / "tracking"
    text = (folder / "rejected.jsonl").read_text()
    kept = [folder / json.loads(line)["path"] for line in text.splitlines()]
    assert [path.name for path in kept] == ["model", "config.yaml"]
    assert [(kept[0] / "weights").read_bytes(), kept[1].read_text()] == [b"1", "seed: 7\n"]
    assert "geheim" not in text


class _Wall(BaseHTTPRequestHandler):
    """Answers an upload with the status in its path."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(int(self.path.split("/")[1]))

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("status", [401, 403, 404, 413])
def test_mlflows_own_uploads_fail_for_good(status: int, tmp_path: Path) -> None:
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

    (tmp_path / "weights").write_bytes(b"1")
    with HTTPServer(("127.0.0.1", 0), _Wall) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        uploads = HttpArtifactRepository(f"http://127.0.0.1:{server.server_port}/{status}")
        with pytest.raises(backend.failures()) as caught:
            uploads.log_artifact(str(tmp_path / "weights"))
    assert backend.is_permanent(caught.value)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_answers_that_pass_are_waited_for(status: int) -> None:
    assert not backend.is_permanent(_answer(status))


def test_errors_of_a_store_that_is_loaded_are_failures_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages of stores are no dependency: the module is made here, its error has the attributes of botocore's."""

    class ClientError(Exception):
        def __init__(self, status: int) -> None:
            self.response = {"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}

    assert not issubclass(ClientError, backend.failures())
    module = ModuleType("botocore.exceptions")
    module.ClientError, module.BotoCoreError = ClientError, type("BotoCoreError", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "botocore.exceptions", module)
    assert issubclass(ClientError, backend.failures())
    assert [backend.is_permanent(ClientError(status)) for status in (403, 429, 503)] == [True, False, False]


def test_every_outcome_has_a_status() -> None:
    assert set(mirror.STATUS) == set(OUTCOMES)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("mlruns", "expected http://HOST:PORT"),
        ("file:///tmp/mlruns", "expected http://HOST:PORT"),
        ("sqlite://", "expected http://HOST:PORT"),
        ("sqlite:////tmp/h?x=1/mlflow.db", "a question mark ends the path; write %3F"),
        ("", "expected http://HOST:PORT"),
    ],
)
def test_addresses_that_cannot_work_are_refused(uri: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        open_tracking(tmp_path, uri)


def test_a_missing_driver_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pip install psycopg") as caught:
        open_tracking(tmp_path, "postgresql://name:secret@db.example/x")
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database(home: Path) -> None:
    (home / "mlflow.db").write_text("this is not a database, whatever its name says")
    with pytest.raises(InputError, match=r"cannot be opened.*not a database"):
        open_tracking(home)


def test_a_database_of_another_version(home: Path) -> None:
    with sqlite3.connect(home / "mlflow.db") as database:
        database.execute("update alembic_version set version_num = '90e64c465722'")
    with pytest.raises(InputError, match=r"-m mlflow db upgrade .?sqlite:///"):
        open_tracking(home)


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(InputError, match=r"cannot write to.*choose another --home"):
        open_tracking(tmp_path / "home")


@pytest.mark.parametrize("run_id", ["", "a b", "x'or'1'='1", "0" * 32])
def test_runs_that_are_not_there(run_id: str, tracking: Tracking) -> None:
    with pytest.raises(InputError, match="run"):
        tracking.find_run(run_id)


@pytest.mark.parametrize("key", ["", "it's", 'a"b', "a\nb"])
def test_keys_that_cannot_be_searched_are_refused(key: str, tracking: Tracking) -> None:
    with pytest.raises(InputError, match="run key"):
        tracking.run("a", "trial", key=key)
