"""Faults at random moments: afterwards the study equals the undisturbed one, with every trial and every step once.

``DEGAS_RAY_FAULTS`` is how many of each kind are tried; docs/reliability.md has the numbers of a long run.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from disturbed import Disturbed

from degas_ray.checkpoint import list_steps
from degas_ray.tracking import start_server

FAULTS = int(os.environ.get("DEGAS_RAY_FAULTS", "2"))
# Words of the line with which work goes on; a fault that ends the driver is over when the next one has its plan.
AGAIN = {
    "test_workers_are_killed": "its worker died",
    "test_mlflow_is_down_for_a_while": "",
    "test_the_database_is_locked": "",
}
FAR = 30  # reports between two faults, at most

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


@pytest.fixture
def study(request: pytest.FixtureRequest, tmp_path: Path, make_study: Callable[[Path, str], Disturbed]) -> Disturbed:
    return make_study(tmp_path / "home", AGAIN.get(request.node.originalname, "plan"))


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.node.name)


def hold(study: Disturbed, undisturbed: Disturbed) -> None:
    """Hold a disturbed study that is finished to what the undisturbed one found."""
    assert study.facts() == undisturbed.facts()
    study.check_records()


def test_the_undisturbed_study_has_every_step_once(undisturbed: Disturbed) -> None:
    undisturbed.check_records()


def test_workers_are_killed(study: Disturbed, undisturbed: Disturbed, chance: random.Random) -> None:
    study.start()
    for _ in range(FAULTS):
        if not study.listen(chance.randint(1, FAR)):
            break
        if workers := study.processes("ray::ImplicitFunc"):
            study.kill(chance.choice(workers))
    study.finish()
    hold(study, undisturbed)


@pytest.mark.parametrize("title", ["raylet", "gcs_server"])
def test_ray_itself_is_killed(title: str, study: Disturbed, undisturbed: Disturbed, chance: random.Random) -> None:
    for _ in range(FAULTS):
        study.start()
        if study.listen(chance.randint(1, FAR)):
            (process,) = study.processes(title)
            study.kill(process)
        study.wait()
    study.finish()
    hold(study, undisturbed)


def test_the_driver_is_killed(study: Disturbed, undisturbed: Disturbed, chance: random.Random) -> None:
    for _ in range(FAULTS):
        study.start()
        assert study.driver is not None
        if study.listen(chance.randint(1, FAR)):
            study.kill(psutil.Process(study.driver.pid))
        study.wait()
    study.finish()
    hold(study, undisturbed)


def test_the_driver_is_asked_to_end(study: Disturbed, undisturbed: Disturbed, chance: random.Random) -> None:
    for _ in range(FAULTS):
        study.start()
        assert study.driver is not None
        if study.listen(chance.randint(1, FAR)):
            study.kill(psutil.Process(study.driver.pid), signal.SIGTERM)
            assert study.wait() == 130
            assert study.folder.read()["status"] == "paused"
    study.finish()
    hold(study, undisturbed)


def test_the_latest_checkpoint_is_corrupt(study: Disturbed, undisturbed: Disturbed, chance: random.Random) -> None:
    broken = 0
    for _ in range(FAULTS):
        study.start()
        assert study.driver is not None
        if study.listen(chance.randint(1, FAR), lambda line: " proxy " in line):
            study.kill(psutil.Process(study.driver.pid))
        study.wait()
        for trial in sorted((study.folder.root / "trials").glob("[0-9]*")):
            if files := list_steps(trial / "proxy"):
                latest = max(files, key=lambda path: path.name)
                content = bytearray(latest.read_bytes())
                del content[chance.randrange(len(content)) :]
                latest.write_bytes(content)
                broken += 1
    study.finish()
    assert broken, "no checkpoint was there to be broken"
    hold(study, undisturbed)


def test_mlflow_is_down_for_a_while(study: Disturbed, undisturbed: Disturbed, chance: random.Random) -> None:
    server = start_server(study.home)
    port = int(server.address.rpartition(":")[2])
    study.variables = {"DEGAS_RAY_TRACKING_URI": server.address}
    try:
        study.start()
        for _ in range(FAULTS):
            if not study.listen(chance.randint(1, FAR)):
                break
            study.strike()
            server.stop()
            study.listen(chance.randint(1, FAR))
            server = start_server(study.home, port)
        study.finish()
    finally:
        server.stop()
    hold(study, undisturbed)


def test_the_database_is_locked(study: Disturbed, undisturbed: Disturbed, chance: random.Random) -> None:
    study.start()
    for _ in range(FAULTS):
        if not study.listen(chance.randint(1, FAR)):
            break
        with sqlite3.connect(study.home / "mlflow.db", timeout=60, isolation_level=None) as database:
            database.execute("BEGIN EXCLUSIVE")
            study.strike()
            study.listen(chance.randint(1, FAR))
            database.execute("ROLLBACK")
        database.close()
    study.finish()
    hold(study, undisturbed)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_the_disk_is_full(
    tmp_path: Path, make_study: Callable[[Path, str], Disturbed], undisturbed: Disturbed, chance: random.Random
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(disk)], check=True)
    try:
        study = make_study(disk / "home", "plan")
        for _ in range(FAULTS):
            study.start()
            if study.listen(chance.randint(1, FAR), lambda line: " proxy " in line or " full " in line):
                _fill(disk / "ballast")
                study.strike()
            study.wait()
            (disk / "ballast").unlink(missing_ok=True)
        study.finish()
        hold(study, undisturbed)
    finally:
        _end_users(disk)
        subprocess.run(["umount", str(disk)], check=True)


def _fill(path: Path) -> None:
    """Take every byte that is left."""
    with path.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue


def _end_users(folder: Path) -> None:
    """End what a broken driver left with files open below ``folder``, so that it can be unmounted."""
    for process in psutil.process_iter():
        try:
            if any(Path(file.path).is_relative_to(folder) for file in process.open_files()):
                process.kill()
                process.wait(10)
        except psutil.Error:
            continue
    shutil.rmtree(folder / "home", ignore_errors=True)
