"""The kinds of faults: each disturbs a study once, at a random moment, and tells whether that came to pass."""

import contextlib
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import psutil
from disturbed import Disturbed, Fault

from degas_ray.checkpoint import list_steps
from degas_ray.tracking import Server, start_server

TWICE = 0.25  # share of killed drivers whose successor is killed too
STARTING = 15.0  # seconds within which that happens
GRACE = 10.0  # seconds between SIGTERM and SIGKILL, as cluster schedulers give
SILENT = 20.0  # seconds without a report after which MLflow's server comes back in any case
Kind = Callable[[Disturbed, random.Random], bool]


class Service:
    """An MLflow server that goes down and comes back at the same address.

    Args:
        home: Whose database it serves.
    """

    def __init__(self, home: Path) -> None:
        self._home, self._server = home, start_server(home)
        self.uri = self._server.address

    def stop(self) -> None:
        """Go down."""
        self._server.stop()

    def start(self) -> None:
        """Come back."""
        self._server: Server = start_server(self._home, int(self.uri.rpartition(":")[2]))


def kill_worker(study: Disturbed, chance: random.Random) -> bool:
    """Kill -9 the process that does a trial, a re-ranking or the promotion."""
    return _end_worker(study, chance, "worker", corrupt=False)


def corrupt_checkpoint(study: Disturbed, chance: random.Random) -> bool:
    """Cut the newest checkpoint of a job short, or change a byte of it, and kill -9 its process."""
    return _end_worker(study, chance, "corrupt", corrupt=True)


def _end_worker(study: Disturbed, chance: random.Random, kind: str, *, corrupt: bool) -> bool:
    if not study.moment(chance) or not (workers := study.workers()):
        return False
    folder = chance.choice(sorted(workers))
    try:
        workers[folder].suspend()  # so that nothing moves while we look
        if (stand := study.stand(folder)) is None or (corrupt and not stand.kept):
            workers[folder].resume()
            return False
        if corrupt:
            _damage(list_steps(folder / stand.phase)[-1], chance)
            stand = study.sound(folder, stand)
        workers[folder].kill()
    except psutil.NoSuchProcess:
        return False
    fault = study.strike(kind)
    fault.stands.append(stand)
    study.settle(fault, stand.work)
    if corrupt and fault.recovery is not None:
        said = [said.text for said in study.heard if said.at > fault.at and said.kind == "message"]
        assert any("skipped a checkpoint" in text for text in said), study.tail()
    return True


def _damage(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    where = chance.randrange(len(content) - 1)
    if chance.random() < 0.5:
        del content[where:]
    else:
        content[where : where + 64] = bytes(byte ^ 0xFF for byte in content[where : where + 64])
    path.write_bytes(content)


def kill_driver(study: Disturbed, chance: random.Random) -> bool:
    """Kill -9 the driver, now and then once more while it starts again; the same command goes on."""
    if not study.moment(chance):
        return False
    assert study.driver is not None
    study.driver.kill()
    if chance.random() < TWICE:
        study.strike("driver")
        study.wait()
        study.start()
        study.wait(chance.uniform(0, STARTING))
        study.driver.kill()
    return _again(study, "driver")


def kill_raylet(study: Disturbed, chance: random.Random) -> bool:
    """Kill -9 Ray's process on the node, then go on with the same command."""
    return _end_ray(study, chance, "raylet")


def kill_gcs(study: Disturbed, chance: random.Random) -> bool:
    """Kill -9 Ray's control service, then go on with the same command."""
    return _end_ray(study, chance, "gcs_server")


def _end_ray(study: Disturbed, chance: random.Random, name: str) -> bool:
    if not study.moment(chance):
        return False
    found = [process for process in study.children() if _is(process, name)]
    if not found:
        return False
    found[0].kill()
    return _again(study, name)


def _is(process: psutil.Process, name: str) -> bool:
    with contextlib.suppress(psutil.Error):
        words = process.cmdline()
        return bool(words) and Path(words[0]).name == name
    return False


def ask_driver(study: Disturbed, chance: random.Random) -> bool:
    """Send SIGTERM to the driver and, where it has not ended after the grace, SIGKILL; then go on."""
    if not study.moment(chance):
        return False
    assert study.driver is not None
    study.driver.terminate()
    fault = study.strike("sigterm")
    code = study.wait(GRACE)
    if code is None:
        fault.kind = "sigterm, then kill"
        study.driver.kill()
    elif code == 0:  # it was at its end
        study.faults.remove(fault)
        return False
    else:
        assert code == 130, study.tail()
        assert study.folder.read()["status"] == "paused"
    return _again(study, fault.kind, fault)


def _again(study: Disturbed, kind: str, fault: Fault | None = None) -> bool:
    fault = fault or study.strike(kind)
    study.wait()
    study.start()
    fault.stands += study.stands()  # a driver takes far longer to start than workers to end
    study.settle(fault)
    return True


def stop_service(service: Service) -> Kind:
    """Return the fault that the MLflow server is down for a while."""

    def kind(study: Disturbed, chance: random.Random) -> bool:
        if not study.moment(chance):
            return False
        service.stop()
        study.moment(chance, SILENT)  # the study works on meanwhile, and at its end waits for the server
        service.start()
        study.drain(study.strike("mlflow down"))
        return True

    return kind


def lock_database(study: Disturbed, chance: random.Random) -> bool:
    """Hold MLflow's SQLite database for a while, as a backup or another program may."""
    if not study.moment(chance):
        return False
    with contextlib.closing(sqlite3.connect(study.home / "mlflow.db", timeout=60, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        study.moment(chance)
        database.execute("ROLLBACK")
    study.drain(study.strike("sqlite locked"))
    return True


def fill_disk(study: Disturbed, chance: random.Random) -> bool:
    """Take every byte of the home's disk until the study has noticed; then give it back and go on."""
    if not study.moment(chance):
        return False
    ballast = study.home / "ballast"
    try:
        _fill(ballast, spare=chance.choice([0, 0, 2**12, 2**16]))
        code = study.wait()
    finally:
        ballast.unlink(missing_ok=True)
    assert code == 1, study.tail()
    return _again(study, "disk full")


def _fill(path: Path, spare: int) -> None:
    """Take every byte that is left, and give a few back."""
    with path.open("wb", buffering=0) as file:
        for size in (2**22, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size):
                    pass
        file.truncate(max(0, file.tell() - spare))


KINDS: dict[str, Kind] = {
    "worker": kill_worker,
    "corrupt": corrupt_checkpoint,
    "driver": kill_driver,
    "sigterm": ask_driver,
    "raylet": kill_raylet,
    "gcs": kill_gcs,
    "locked": lock_database,
    "full": fill_disk,
}
