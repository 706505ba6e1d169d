"""A study whose processes, servers and disk are disturbed at random moments, and what must hold of it afterwards."""

import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
import psutil
from fault_driver import STEPS, TRIALS
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from degas_ray.checkpoint import list_steps
from degas_ray.home import StudyFolder, hold
from degas_ray.study import load_study
from degas_ray.tracking import open_tracking
from degas_ray.tracking.record import journal_folders

HELPERS = Path(__file__).parent
SECONDS = 600.0  # a busy machine takes a minute to start a driver, Ray and its workers
FAR = 6  # reports between two faults, at most; each job reports once a second
METRICS = {"search": "search/loss", "proxy": "proxy/critic_loss", "full": "full/critic_loss"}


@dataclass(frozen=True)
class Said:
    """One line of a driver, and when it came."""

    at: float
    kind: str
    work: str = ""
    phase: str = ""
    step: int = 0
    text: str = ""


@dataclass(frozen=True)
class Stand:
    """How far a job had come: the last step that it recorded and the last of which a good checkpoint was there."""

    work: str
    phase: str
    done: int
    kept: int


@dataclass
class Fault:
    """A fault that was delivered.

    Args:
        kind: Which.
        at: When; for an outage, when it was over.
        stands: Of the jobs that it ended.
        recovery: Seconds until work, or delivery to MLflow, went on; ``None`` where nothing was left to be done.
        repeated: Steps that a job did again.
    """

    kind: str
    at: float
    stands: list[Stand] = field(default_factory=list)
    recovery: float | None = None
    repeated: list[int] = field(default_factory=list)


class Disturbed:
    """One study and its present driver.

    Args:
        home: The home directory, which studies of a session share.
        name: Of the study.
        uri: Of an MLflow server; the home's own database by default.
    """

    def __init__(self, home: Path, name: str, uri: str | None = None) -> None:
        self.home, self.name, self.uri = home, name, uri
        self.folder = StudyFolder(home, name)
        self.driver: subprocess.Popen[str] | None = None
        self.faults: list[Fault] = []
        self.lost = self.twice = 0
        self.heard: list[Said] = []
        self._taken = 0
        self._lines: queue.Queue[Said | None] = queue.Queue()

    def start(self) -> None:
        """Begin the study, or go on with it."""
        user = self.home / "user"
        user.mkdir(parents=True, exist_ok=True)
        paths = os.pathsep.join([str(HELPERS), str(HELPERS.parents[1])])
        environment = {**os.environ, "HOME": str(user), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        environment["RAY_worker_niceness"] = "0"  # or a loaded machine hardly lets workers start
        if self.uri is not None:
            environment["DEGAS_RAY_TRACKING_URI"] = self.uri
        self.driver = subprocess.Popen(
            [sys.executable, str(HELPERS / "fault_driver.py"), str(self.home), self.name],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines = queue.Queue()
        threading.Thread(target=self._read, args=(self.driver, self._lines), daemon=True).start()

    def _read(self, driver: subprocess.Popen[str], lines: "queue.Queue[Said | None]") -> None:
        assert driver.stdout is not None
        for line in driver.stdout:
            words = json.loads(line) if line.startswith('["') else ["noise", "", "", 0, line.rstrip()]
            lines.put(Said(time.monotonic(), *words))
        lines.put(None)

    @property
    def running(self) -> bool:
        """Whether there is a driver whose end has not been heard."""
        return self.driver is not None and self.driver.returncode is None

    def until(self, wanted: Callable[[Said], bool], seconds: float = SECONDS) -> Said | None:
        """Return the driver's next line of the wanted kind; ``None`` where it ended before, or took too long."""
        deadline = time.monotonic() + seconds
        while self.running:
            try:
                said = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                return None
            if said is None:
                assert self.driver is not None
                self.driver.wait(SECONDS)
                return None
            self.heard.append(said)
            if wanted(said):
                return said
        return None

    def moment(self, chance: random.Random, seconds: float = SECONDS) -> bool:
        """Let the study work on to a random moment; tell whether it is working there, and has reported in time."""
        for _ in range(chance.randint(1, FAR)):
            if self.until(lambda said: said.kind == "progress", seconds) is None:
                return False
        # Reports come once a second: without this, a fault would always come just after one.
        self.until(lambda said: False, chance.random())
        return self.running

    def wait(self, seconds: float = SECONDS) -> int | None:
        """Return the driver's exit code, or ``None`` where it has not ended in time."""
        self.until(lambda said: False, seconds)
        assert self.driver is not None
        return self.driver.returncode

    def finish(self) -> None:
        """Go on until the study is finished."""
        for _ in range(6):
            if not self.running:
                self.start()
            if self.wait() == 0:
                return
        raise AssertionError("the study did not finish:\n" + self.tail())

    def tail(self) -> str:
        """Return what was said last."""
        return "\n".join(f"{said.kind} {said.work} {said.phase} {said.step} {said.text}" for said in self.heard[-40:])

    def children(self) -> list[psutil.Process]:
        """Return the driver's descendants."""
        assert self.driver is not None
        try:
            return psutil.Process(self.driver.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def workers(self) -> dict[Path, psutil.Process]:
        """Return the folders of the jobs that are being done, with who does them: they hold the folder's lock."""
        found = {}
        for process in self.children():
            try:
                for file in process.open_files():
                    path = Path(file.path)
                    if path.name == ".lock" and path.is_relative_to(self.folder.root):
                        found[path.parent] = process
            except psutil.Error:
                continue
        return found

    def stand(self, folder: Path) -> Stand | None:
        """Return how far the loop of a job has come; ``None`` where it is not in one."""
        trial = f"trial {int(folder.name)}" if folder.name.isdigit() else ""
        work = {"trials": trial, "rerank": "re-rank", "promotion": "promotion"}[folder.parent.name]
        for phase, metric in reversed(METRICS.items()):
            done = [step for step, _ in series(folder, metric)]
            if done:
                ended = folder / ("search.json" if phase == "search" else "generator.ckpt")
                kept = [int(path.stem.removeprefix("step-")) for path in list_steps(folder / phase)]
                stand = Stand(work, phase, done[-1], max(kept, default=0))
                return None if ended.exists() else stand
        return None

    def sound(self, folder: Path, stand: Stand) -> Stand:
        """Return a stand of which the newest checkpoint has been damaged."""
        kept = [int(path.stem.removeprefix("step-")) for path in list_steps(folder / stand.phase)]
        return replace(stand, kept=max(kept[:-1], default=0))

    def stands(self) -> list[Stand]:
        """Return how far the jobs came whose workers' driver is gone; they end shortly after it."""
        found = []
        for lock in sorted(self.folder.root.glob("*/*/.lock")):
            with hold(lock.parent) as free:
                if free and (stand := self.stand(lock.parent)) is not None:
                    found.append(stand)
        return found

    def strike(self, kind: str) -> Fault:
        """Note that a fault has been delivered."""
        self.faults.append(Fault(kind, time.monotonic()))
        return self.faults[-1]

    def settle(self, fault: Fault, work: str = "") -> None:
        """Wait for the first report after a fault, of a job whose name begins with ``work``, and note what it cost."""
        self.until(lambda said: said.at > fault.at and said.kind in ("start", "plan") and said.work.startswith(work))
        said = self.until(lambda said: said.kind == "progress" and said.work.startswith(work))
        fault.recovery = said.at - fault.at if said is not None else None

    def drain(self, fault: Fault) -> None:
        """Wait until MLflow has all records that were waiting at the end of an outage."""
        waiting = {folder: _size(folder) for folder in journal_folders(self.home / "tracking" / "queue")}
        deadline = time.monotonic() + SECONDS
        while any(_sent(folder) < size for folder, size in waiting.items()):
            assert time.monotonic() < deadline, f"records still wait after {SECONDS:.0f} s:\n{self.tail()}"
            if self.driver is None or self.driver.poll() is not None:
                return  # the next command sends them
            time.sleep(0.05)
        fault.recovery = time.monotonic() - fault.at

    def check_repeats(self) -> None:
        """Hold every job that was ended to its newest good checkpoint: it went on with the very next step."""
        for index, fault in enumerate(self.faults):
            end = self.faults[index + 1].at if index + 1 < len(self.faults) else float("inf")
            for stand in fault.stands:
                again = [s for s in self.heard if fault.at < s.at < end and s.work.startswith(stand.work)]
                began = next((s.at for s in again if s.kind == "start"), end)
                first = next((s for s in again if s.at > began and s.kind == "progress"), None)
                if first is not None and first.phase == stand.phase:
                    assert first.step == stand.kept + 1, f"{fault.kind}: {stand}, then step {first.step}"
                    fault.repeated.append(max(0, stand.done - stand.kept))

    def facts(self) -> dict[str, Any]:
        """Return what must be the same, however the study was disturbed."""
        result = load_study(self.home, self.name)
        assert result.promotion is not None
        return {
            "winner": result.winner,
            "trials": [
                (row.number, row.outcome, row.genotype, row.seed, dict(row.params), row.distances)
                for row in result.rows
            ],
            "champion": result.promotion.scores,
            "losses": [[series(folder, metric) for metric in METRICS.values()] for folder in self.jobs()],
        }

    def jobs(self) -> list[Path]:
        """Return the folders of all pieces of work."""
        return [path.parent for path in sorted(self.folder.root.glob("*/*/stats.jsonl"))]

    def check_records(self) -> None:
        """Hold the run directories, Optuna and MLflow to: every step once, every trial once, nothing waiting."""
        rows = self.folder.rows()
        tracking = open_tracking(self.home, self.uri)
        assert tracking.replay() == 0
        assert not journal_folders(self.home / "tracking" / "queue")
        (study,) = [run for run in tracking.runs(role="study") if run.name == self.name]
        children = tracking.runs(parent=study.run_id, role="trial")
        numbers = sorted(int(child.params["trial"]) for child in children)
        proposed = len(optuna.load_study(study_name=None, storage=self._optuna()).trials)
        self.lost = TRIALS - len({row.number for row in rows if row.outcome == "completed"} & set(numbers))
        self.twice = len(numbers) - len(set(numbers)) + proposed - TRIALS
        assert (self.lost, self.twice) == (0, 0), self.tail()
        assert {run.outcome for run in [study, *children]} == {"completed"}
        for folder in self.jobs():
            phases = {"trials": ("search", "proxy"), "rerank": ("proxy",), "promotion": ("full",)}[folder.parent.name]
            run = tracking.find_key(f"{self.name}/{folder.relative_to(self.folder.root).as_posix()}")
            for phase in phases:
                steps = list(range(1, STEPS[phase] + 1))
                assert [step for step, _ in series(folder, METRICS[phase])] == steps
                if run is not None:
                    assert [step for step, _ in tracking.history(run.run_id, METRICS[phase])] == steps

    def _optuna(self) -> JournalStorage:
        return JournalStorage(JournalFileBackend(str(self.folder.journal)))


def series(folder: Path, metric: str) -> list[tuple[int, float]]:
    """Return the steps and values of a metric in a run directory, as far as whole lines are there."""
    file = folder / "stats.jsonl"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    rows = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [(row["step"], row[metric]) for row in rows if metric in row]


def _size(folder: Path) -> int:
    file = folder / "records.jsonl"
    return file.stat().st_size if file.exists() else 0


def _sent(folder: Path) -> float:
    try:
        return int((folder / "sent").read_text(encoding="ascii"))
    except FileNotFoundError:
        return 0 if (folder / "records.jsonl").exists() else float("inf")
