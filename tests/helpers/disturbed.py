"""A study whose processes, servers and disk are disturbed at random moments, and what must hold of it afterwards."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from fault_driver import TRIALS

from degas_ray.study import load_study
from degas_ray.study.store import StudyFolder
from degas_ray.tracking import RunDirectory, open_tracking

HELPERS = Path(__file__).parent
NAME = "s"
STEPS = list(range(1, 101))  # every step of the proxy training is reported
SECONDS = 600.0  # a busy machine takes a minute to start a driver, Ray and its workers


class Disturbed:
    """One study and its present driver.

    Args:
        home: A home directory of its own.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.user = home, home.parent / "user"
        self.user.mkdir(parents=True, exist_ok=True)
        self.folder = StudyFolder(home, NAME)
        self.said: list[str] = []
        self.driver: subprocess.Popen[str] | None = None
        self.variables: dict[str, str] = {}
        self.moments: list[float] = []
        self._heard: list[tuple[float, str]] = []
        self._lines: queue.Queue[str | None] = queue.Queue()

    def start(self) -> None:
        """Begin the study, or go on with it."""
        environment = {**os.environ, "HOME": str(self.user), "PYTHONPATH": str(HELPERS), "OMP_NUM_THREADS": "1"}
        self.driver = subprocess.Popen(
            [sys.executable, str(HELPERS / "fault_driver.py"), str(self.home), NAME],
            env={**environment, **self.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines = queue.Queue()
        threading.Thread(target=self._read, args=(self.driver, self._lines), daemon=True).start()

    def _read(self, driver: subprocess.Popen[str], lines: "queue.Queue[str | None]") -> None:
        assert driver.stdout is not None
        for line in driver.stdout:
            self._heard.append((time.monotonic(), line))
            lines.put(line.rstrip())
        lines.put(None)

    def listen(self, count: int, wanted: Callable[[str], bool] = lambda line: line.startswith("progress")) -> bool:
        """Return once the driver has said ``count`` lines more of the wanted kind; ``False`` where it ended before."""
        deadline = time.monotonic() + SECONDS
        while count > 0:
            line = self._lines.get(timeout=max(0.1, deadline - time.monotonic()))
            if line is None:
                return False
            self.said.append(line)
            count -= wanted(line)
        return True

    def wait(self) -> int:
        """Return the driver's exit code, at its end."""
        assert self.driver is not None
        while self.listen(1, lambda line: True):
            pass
        return self.driver.wait(SECONDS)

    def finish(self) -> int:
        """Go on until the study is finished; return how often a driver was needed."""
        for drivers in range(1, 6):
            if self.driver is None or self.driver.poll() is not None:
                self.start()
            if self.wait() == 0:
                return drivers
        raise AssertionError("the study did not finish:\n" + "\n".join(self.said[-30:]))

    def processes(self, title: str) -> list[psutil.Process]:
        """Return the driver's descendants whose command line begins with ``title`` or ends in it."""
        assert self.driver is not None
        found = []
        try:
            for process in psutil.Process(self.driver.pid).children(recursive=True):
                words = process.cmdline()
                if words and (words[0].startswith(title) or words[0].endswith(f"/{title}")):
                    found.append(process)
        except psutil.NoSuchProcess:
            return []
        return found

    def strike(self) -> None:
        """Note that a fault is delivered now."""
        self.moments.append(time.monotonic())

    def recoveries(self, word: str) -> list[float]:
        """Return seconds from each fault to the first progress after the driver's next line with ``word`` in it."""
        found = []
        for moment in self.moments:
            later = [(at, line) for at, line in list(self._heard) if at > moment]
            begin = next((at for at, line in later if word in line), None)
            if begin is not None:
                found += [at - moment for at, line in later if at >= begin and line.startswith("progress")][:1]
        return found

    def kill(self, process: psutil.Process, number: int = signal.SIGKILL) -> None:
        """Send a signal; a process that has just ended is no fault."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            self.strike()

    def facts(self) -> dict[str, Any]:
        """Return what must be the same, however the study was disturbed."""
        result = load_study(self.home, NAME)
        assert result.promotion is not None
        return {
            "winner": result.winner,
            "trials": [
                (row.number, row.outcome, row.genotype, row.seed, dict(row.params), row.distances)
                for row in result.rows
            ],
            "champion": result.promotion.scores,
        }

    def check_records(self) -> None:
        """Hold the run directories and MLflow to: every step once, every trial once."""
        rows = self.folder.rows()
        assert [row.number for row in rows] == list(range(TRIALS))
        tracking = open_tracking(self.home)
        assert tracking.replay() == 0
        (study,) = tracking.runs(role="study")
        children = tracking.runs(parent=study.run_id, role="trial")
        assert sorted(int(child.params["trial"]) for child in children) == list(range(TRIALS))
        for row in rows:
            entries = RunDirectory(self.folder.trial(row.number)).rows()
            assert [entry["step"] for entry in entries if "proxy/critic_loss" in entry] == STEPS
            assert [step for step, _ in tracking.history(row.run_id, "proxy/critic_loss")] == STEPS
