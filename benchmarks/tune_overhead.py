"""What a study adds to a trial: a study of short trials, against the same trials called in a row.

Run ``python -m benchmarks.tune_overhead``. Both go through :func:`~degas_ray.trials.trial.run_trial` with the settings
that Optuna proposed for the study, on the same images, one trial at a time, recorded in MLflow. Medians: of the time
from one trial's result to the next one's in the study, and of the time of a trial in the row.
"""

import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import click
import torch

from benchmarks.timing import report
from degas_ray.config import Config, resolve
from degas_ray.data import open_pack, prepare, split
from degas_ray.home import StudyFolder
from degas_ray.runs.run import Context
from degas_ray.runs.work import judge
from degas_ray.study import run_study
from degas_ray.tracking import open_tracking
from degas_ray.trials.trial import run_trial, trial_task

SHORT = (
    "search.steps=2",
    "search.width=4",
    "search.batch=8",
    "proxy.steps=2",
    "proxy.width=4",
    "proxy.critic_width=4",
    "scores.samples=64",
    "study.rerank.top=1",
    "study.promote=false",
    "study.yardstick=false",
    "study.concurrent=1",
)


def study_seconds(config: Config, home: Path, trials: int) -> list[float]:
    """Return how long after the trial before it each trial of a study, but the first, had its result."""
    settings = config.model_copy(update={"study": config.study.model_copy(update={"trials": trials})})
    name = f"overhead-{trials}"
    run_study(settings, home, name=name, should_stop=lambda: False)
    study = StudyFolder(home, name)
    ends = sorted((study.trial(row.number) / "result.json").stat().st_mtime for row in study.rows())
    return [later - earlier for earlier, later in pairwise(ends)]


def row_seconds(config: Config, home: Path, like: StudyFolder) -> list[float]:
    """Return how long each trial of the study ``like`` takes when called in this process, one after the other."""
    pack, _ = split(prepare(config.dataset, home, resolution=config.resolution))
    judge(config.scores, pack, home)
    tracking = open_tracking(home)
    parent = tracking.run("row", "study", key="row")
    address = tracking.address
    context = Context(home, "row", config, pack.path, address.uri, address.experiment_id, parent.run_id)
    seconds = []
    for row in like.rows():
        task = trial_task(context, row.number, row.params)
        Path(task["folder"]).mkdir(parents=True)
        start = time.perf_counter()
        run_trial(context, open_pack(context.pack), task, lambda report: None)
        seconds.append(time.perf_counter() - start)
    return seconds


@click.command()
@click.option("--trials", default=24, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(trials: int, threads: int) -> None:
    """Print seconds a trial, in a study and in a row, as JSON."""
    torch.set_num_threads(threads)
    config = resolve(sets=[*SHORT, f"study.cpus={threads}"])
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        study_seconds(config, home, 2)  # makes the database, the pack and the statistics
        in_study = median(study_seconds(config, home, trials))
        in_row = median(row_seconds(config, Path(folder) / "row", StudyFolder(home, f"overhead-{trials}"))[1:])
    report(
        {
            "benchmark": "tune_overhead",
            "trials": trials,
            "seconds_a_trial": {"in_a_study": round(in_study, 3), "in_a_row": round(in_row, 3)},
            "overhead_seconds_a_trial": round(in_study - in_row, 3),
            "share_of_a_one_minute_trial": round((in_study - in_row) / 60, 4),
        }
    )


if __name__ == "__main__":
    main()
