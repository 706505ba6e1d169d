"""The orchestration alone: a study of very many trials that sleep.

Run ``python -m benchmarks.scaling --trials 1000``. Ray, Optuna, MLflow and the study's own code are the real ones; a
trial records its settings, a few reports and a made-up distance, sleeps, and ends. The study is paused half-way and
gone on with in a process of its own, as a user would, and once more when it is over. Memory is the driver's.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import psutil

from benchmarks.timing import report
from degas_ray.config import Config, resolve
from degas_ray.errors import Interrupted
from degas_ray.files import write_json
from degas_ray.home import StudyFolder, hold
from degas_ray.loop import Progress
from degas_ray.results import Row
from degas_ray.runs.run import Context, JobAttempt
from degas_ray.scores import Protocol, Scores
from degas_ray.space import PUBLISHED
from degas_ray.study import Event, run_study
from degas_ray.tracking import open_tracking, tags
from degas_ray.trials.ranges import apply

NAME = "scaling"
REPORTS = 5
GENOTYPES = tuple(PUBLISHED.values())


def simulate(
    sleep: float, shared: Mapping[str, Any], task: Mapping[str, Any], tell: Callable[[Mapping[str, Any]], None]
) -> None:
    """Do one trial as a worker, with everything but search, training and scores."""
    context, number, folder = Context.from_json(shared), int(task["number"]), Path(task["folder"])
    config = apply(context.config, task["params"])
    genotype = GENOTYPES[number % len(GENOTYPES)]
    with (
        hold(folder),
        JobAttempt(context, folder, "trial", f"trial {number}", tell, number, config, trial=number) as attempt,
    ):
        attempt.tracker.tags({tags.GENOTYPE: str(genotype), tags.GENOTYPE_HASH: genotype.hash})
        distance = 100 + abs(math.log10(config.search.lr) + 2)
        for step in range(1, REPORTS + 1):
            time.sleep(sleep / REPORTS)
            attempt.tracker.metrics({"proxy/fid": distance + 1 / step}, step)
            attempt.place().on_progress(Progress("proxy", step, REPORTS, {}, dict))
        attempt.tracker.finish("completed")
        scores = made_up(distance).to_json()
        row = Row(number, "completed", task["params"], number, str(genotype), genotype.n, scores, (distance,))
        write_json(folder / "result.json", row.to_json())


def made_up(distance: float) -> Scores:
    """Return scores that nothing was measured for, and that say so."""
    protocol = Protocol("simulated", "none", "none", 0, 0, 1, "none", "unknown", "unknown", 0, 0, "none")
    return Scores(distance, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, protocol)


@dataclass
class Watch:
    """What is measured in the driver while a study runs.

    Args:
        every: Trials between two marks.
        ended: Trials that ended before.
        stop_at: Ended trials after which the study pauses.
    """

    every: int
    ended: int
    stop_at: int
    began: float = field(default_factory=time.perf_counter)
    first: float = 0.0
    marks: list[dict[str, float | None]] = field(default_factory=list)
    _ends: list[float] = field(default_factory=list)

    def see(self, event: Event) -> None:
        """Take note of the memory and the time each time so many more trials have ended."""
        now = time.perf_counter()
        if event.kind == "start" and not self.first:
            self.first = now - self.began
        if event.kind == "end" and event.outcome == "completed":
            self.ended += 1
            self._ends.append(now)
            if self.ended % self.every == 0:
                self._mark()

    def full(self) -> bool:
        """Return whether the study shall pause."""
        return self.ended >= self.stop_at

    def _mark(self) -> None:
        between = [later - earlier for earlier, later in pairwise(self._ends)]
        process = psutil.Process()
        self.marks.append(
            {
                "trials": self.ended,
                "median_seconds_a_trial": round(statistics.median(between), 3) if between else None,
                "mean_seconds_a_trial": round(statistics.fmean(between), 3) if between else None,
                "driver_cpu_seconds": round(sum(process.cpu_times()[:2]), 1),
                "driver_mib": round(process.memory_info().rss / 2**20),
            }
        )
        self._ends = self._ends[-1:]


def settings(trials: int, concurrent: int) -> Config:
    """Return a study of so many trials, with the embedded images."""
    share = min(1.0, 2.0 / concurrent)  # that many trials fit on two cores
    sets = (f"study.trials={trials}", f"study.concurrent={concurrent}", f"study.cpus={share}", "scores.samples=64")
    return resolve(sets=[*sets, "study.rerank.top=0", "study.promote=false", "study.yardstick=false"])


def run_part(home: Path, trials: int, concurrent: int, every: int, sleep: float, stop_at: int) -> dict[str, Any]:
    """Begin the study or go on with it, as far as ``stop_at`` trials; return what was measured."""
    folder = StudyFolder(home, NAME)
    there = folder.file.exists()
    watch = Watch(every, len(folder.rows()), stop_at)
    config = None if there else settings(trials, concurrent)
    paused = False
    try:
        run_study(
            config,
            home,
            name=NAME,
            resume=there,
            on_event=watch.see,
            should_stop=watch.full if stop_at < trials else lambda: False,
            worker=partial(simulate, sleep),
        )
    except Interrupted:
        paused = True
    seconds = time.perf_counter() - watch.began
    return {
        "paused": paused,
        "trials_there": len(folder.rows()),
        "seconds_to_first_trial": round(watch.first, 2) if watch.first else None,
        "seconds": round(seconds, 2),
        "marks": watch.marks,
    }


def count(home: Path) -> dict[str, Any]:
    """Return what is in MLflow and on the disk."""
    tracking = open_tracking(home)
    (study,) = tracking.runs(role="study")
    children = tracking.runs(parent=study.run_id, role="trial")
    folder = StudyFolder(home, NAME)
    return {
        "mlflow_children": len(children),
        "mlflow_distinct_trials": len({child.params["trial"] for child in children}),
        "mlflow_completed": sum(child.outcome == "completed" for child in children),
        "mib": {
            "mlflow_database": round(sum(path.stat().st_size for path in home.glob("mlflow.db*")) / 2**20, 1),
            "optuna_journal": round(folder.journal.stat().st_size / 2**20, 2),
        },
    }


def measure(home: Path, trials: int, concurrent: int, every: int, sleep: float) -> dict[str, Any]:
    """Run the study in three processes: to its half, to its end, and once more."""

    def part(stop_at: int) -> dict[str, Any]:
        own = [sys.executable, "-m", "benchmarks.scaling", "--trials", str(trials), "--concurrent", str(concurrent)]
        own += ["--every", str(every), "--sleep", str(sleep), "--part", str(home), str(stop_at)]
        start = time.perf_counter()
        done = subprocess.run(own, check=True, stdout=subprocess.PIPE, text=True)
        return {"process_seconds": round(time.perf_counter() - start, 1), **json.loads(done.stdout)}

    half, rest, over = part(trials // 2), part(trials), part(trials)
    return {
        "trials": trials,
        "concurrent": concurrent,
        "sleep_seconds": sleep,
        "first_half": half,
        "second_half": rest,
        "gone_on_with_when_over": over,
        **count(home),
    }


@click.command()
@click.option("--trials", default=1000, show_default=True, type=click.IntRange(min=4))
@click.option("--concurrent", default=2, show_default=True)
@click.option("--every", default=100, show_default=True, help="Trials between two marks.")
@click.option("--sleep", default=0.5, show_default=True, help="Seconds that a trial does nothing.")
@click.option("--part", type=(Path, int), hidden=True, help="A home, and the trials after which to pause.")
def main(trials: int, concurrent: int, every: int, sleep: float, part: tuple[Path, int] | None) -> None:
    """Print memory, seconds a trial and the resumptions as JSON."""
    if part is not None:
        home, stop_at = part
        print(json.dumps(run_part(home, trials, concurrent, every, sleep, stop_at)))
        return
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder) / "home", trials, concurrent, every, sleep)
    report({"benchmark": "scaling", "load_at_the_end": round(os.getloadavg()[0], 1), **results})


if __name__ == "__main__":
    main()
