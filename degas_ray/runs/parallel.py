"""One training on many workers: Ray Train's TorchTrainer runs them, and what they say is heard in the driver.

As with a study's jobs, Ray carries work and progress and nothing else: the checkpoints are in the run's folder (on a
cluster, on shared storage), so workers that died are started again and go on from there, and so does another driver.
"""

import logging
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from degas_ray import errors
from degas_ray.checkpoint import load
from degas_ray.config import Config, TrainConfig, from_tree
from degas_ray.data import open_pack
from degas_ray.errors import DegasError, InputError
from degas_ray.gan.group import Group
from degas_ray.gan.handmade import HANDMADE
from degas_ray.home import GENERATOR
from degas_ray.loop import OnProgress, Progress, ShouldStop
from degas_ray.runs.jobs import Resources, session
from degas_ray.runs.run import Place, ignore, never, no_state
from degas_ray.runs.work import training_work
from degas_ray.space import Genotype

POLL_SECONDS = 0.2
LOOK_SECONDS = 0.5  # between two looks for a request to stop
SILENCE_SECONDS = 24 * 3600  # workers wait for the first while it scores a milestone; a dead one is seen at once


@dataclass(frozen=True)
class Task:
    """What every worker needs to know; crosses to them as JSON.

    Args:
        what: A genotype's text, or the name of a generator.
        pack: The images' file.
        home: The home directory.
        folder: The run's.
        seed: Of the weights and every draw.
        config: Its ``full`` and ``scores`` count.
        threads: Of each worker on the CPU.
        begin: The file of the end of a short training that this one goes on with; empty without.
    """

    what: str
    pack: str
    home: str
    folder: str
    seed: int
    config: Mapping[str, Any]
    threads: int
    begin: str


def train_in_parallel(
    config: Config,
    what: str | Genotype,
    pack: Path,
    place: Place,
    *,
    workers: int,
    seed: int,
    setting: str,
    again: str,
    begin: Path | None = None,
    resources: Resources | None = None,
) -> None:
    """Train a generator on many workers; the run's folder ends with it, as after :func:`training_work` with one.

    Args:
        config: Its ``full`` settings are trained with; milestones are scored by ``scores``.
        what: A genotype, or the name of a generator.
        pack: The images' file.
        place: The run's; on a cluster on storage that every worker sees.
        workers: How many share each batch.
        seed: Of the weights and every draw.
        setting: What the number of workers was set by, for errors.
        again: What goes on with the training, for errors.
        begin: The file of the end of a short training that this one goes on with.
        resources: Those of the session that is open; a session of its own by default.

    Raises:
        InputError: For more workers than there are CPUs or GPUs, or batches that they cannot share.
        DivergedError: When a loss becomes non-finite.
        Interrupted: When ``place.should_stop`` said so.
        DegasError: When workers died more often than ``study.max_failures`` allows.
    """
    if (place.folder / GENERATOR).exists():
        return
    full = config.full
    Group(0, workers).check(batch=full.batch, generator_batch=full.generator_batch)
    with session(place.home) if resources is None else nullcontext(resources) as there:
        gpu = _on_gpus(full, workers, there, setting)
        task = Task(
            str(what),
            str(pack),
            str(place.home),
            str(place.folder),
            seed,
            config.model_dump(mode="json"),
            max(1, int(there.cpus // workers)),
            str(begin or ""),
        )
        try:
            outcome = _fit(task, place, workers, gpu, config.study.max_failures, again)
        finally:
            shutil.rmtree(_scratch(place.folder), ignore_errors=True)
    if outcome is not None:
        kind, text = outcome
        raise getattr(errors, kind)(text)


def _on_gpus(config: TrainConfig, workers: int, resources: Resources, setting: str) -> bool:
    """Return whether each worker has a GPU; refuse more workers than there is room for."""
    gpu = config.device != "cpu" and resources.gpus > 0
    room, unit = (int(resources.gpus), "GPUs") if gpu else (int(resources.cpus), "CPUs")
    if workers > room:
        hint = "; set full.device=cpu to train on CPUs" if gpu else ""
        raise InputError(f"{setting}: got {workers}, but Ray has {room} {unit}; use {max(1, room)}{hint}")
    return gpu


def _fit(task: Task, place: Place, workers: int, gpu: bool, max_failures: int, again: str) -> tuple[str, str] | None:
    """Run the workers and pass on what they say; return the kind and text of what they ended with, if with an error."""
    import ray
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    board: Any = ray.remote(num_cpus=0)(Board).remote()
    trainer = TorchTrainer(
        run_worker,
        train_loop_config={"task": vars(task), "board": board},
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo", timeout_s=SILENCE_SECONDS),
        scaling_config=train.ScalingConfig(num_workers=workers, use_gpu=gpu, resources_per_worker={"CPU": 1}),
        run_config=train.RunConfig(  # type: ignore[call-arg]
            name="workers",
            storage_path=str(_scratch(place.folder)),
            failure_config=train.FailureConfig(max_failures=max_failures),
            logging_config=train.LoggingConfig(log_level="CRITICAL"),
        ),
    )
    fitting = _Fitting(trainer)
    fitting.start()
    outcome: tuple[str, str] | None = None
    asked = False
    while not fitting.ended.wait(POLL_SECONDS):
        outcome = _pass_on(ray.get(board.take.remote()), place) or outcome
        if not asked and place.should_stop():
            asked = True
            ray.get(board.stop.remote())
    outcome = _pass_on(ray.get(board.take.remote()), place) or outcome
    if fitting.error is not None and outcome is None:
        raise DegasError(
            f"workers died more than {max_failures} times, last: {_last_line(fitting.error)}; go on with {again}"
        )
    return outcome


class _Fitting(threading.Thread):
    """Waits for the trainer, so that the main thread can listen and answer signals."""

    def __init__(self, trainer: Any) -> None:
        super().__init__(daemon=True)
        self._trainer = trainer
        self.ended = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        """Wait."""
        from ray.exceptions import RayError
        from ray.train import TrainingFailedError

        try:
            self._trainer.fit()
        except (RayError, TrainingFailedError) as error:
            self.error = error
        finally:
            self.ended.set()


def _pass_on(news: list[tuple[str, Any]], place: Place) -> tuple[str, str] | None:
    """Do in the driver what workers asked for; return what they ended with, if that is among it."""
    outcome = None
    for kind, what in news:
        if kind == "progress":
            place.on_progress(Progress(**what, state=no_state))
        elif kind == "ended":
            outcome = what
        else:
            getattr(place.tracker, kind)(*what)
    return outcome


def run_worker(config: dict[str, Any]) -> None:
    """Train as one of the workers, in a process of Ray's; the first of them records and keeps checkpoints for all."""
    import ray
    import torch

    task, board = Task(**config["task"]), config["board"]
    torch.set_num_threads(task.threads)
    group, settings = Group.joined(), from_tree(task.config)
    place = Place(Path(task.home), Path(task.folder), Relay(board, ""), tells(board), asks(board))
    if not group.leads:
        place = replace(place, on_progress=ignore, should_stop=never)
    what = task.what if task.what in HANDMADE else Genotype.parse(task.what)
    try:
        training_work(
            settings.full,
            what,
            open_pack(Path(task.pack)),
            place,
            phase="full",
            seed=task.seed,
            scores=settings.scores,
            group=group,
            begin=load(Path(task.begin), "proxy") if task.begin else None,
        )
    except DegasError as error:  # all workers see it, and another try would end the same
        if group.leads:
            ray.get(board.tell.remote("ended", (type(error).__name__, str(error))))


def _scratch(folder: Path) -> Path:
    return folder / "ray-train"


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class Board:
    """Where workers leave what they have to say, and find out whether they are to stop; a Ray actor."""

    def __init__(self) -> None:
        self._news: list[tuple[str, Any]] = []
        self._stop = False

    def tell(self, kind: str, what: Any) -> None:
        """Leave one piece of news."""
        self._news.append((kind, what))

    def take(self) -> list[tuple[str, Any]]:
        """Return the news since the last call."""
        news, self._news = self._news, []
        return news

    def stop(self) -> None:
        """Ask the workers to stop."""
        self._stop = True

    def stopping(self) -> bool:
        """Return whether they were asked to."""
        return self._stop


class Relay:
    """A tracker that has the driver record everything.

    Args:
        board: The driver listens there.
        run_id: Of the driver's own tracker.
    """

    def __init__(self, board: Any, run_id: str) -> None:
        self._board, self.run_id = board, run_id

    def params(self, flat: Mapping[str, Any]) -> None:
        """Have settings recorded."""
        self._tell("params", dict(flat))

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Have numbers recorded."""
        self._tell("metrics", dict(values), step)

    def tags(self, values: Mapping[str, str]) -> None:
        """Have facts recorded."""
        self._tell("tags", dict(values))

    def figure(self, figure: Figure, name: str) -> None:
        """Have a figure kept."""
        self._tell("figure", figure, name)

    def image(self, array: NDArray[np.uint8] | Path, key: str, step: int) -> None:
        """Have an image kept."""
        self._tell("image", array, key, step)

    def text(self, text: str, name: str) -> None:
        """Have a text kept."""
        self._tell("text", text, name)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Have a file kept, which the driver sees too."""
        self._tell("artifact", path, folder)

    def finish(self, outcome: str) -> None:
        """Do nothing: the driver says how the run ended."""

    def _tell(self, kind: str, *what: Any) -> None:
        import ray

        ray.get(self._board.tell.remote(kind, what))


def tells(board: Any) -> OnProgress:
    """Return a receiver of a loop's progress that passes it on to the driver."""

    def on_progress(progress: Progress) -> None:
        import ray

        facts = {name: getattr(progress, name) for name in ("phase", "step", "steps", "metrics")}
        ray.get(board.tell.remote("progress", facts))

    return on_progress


def asks(board: Any) -> ShouldStop:
    """Return a question to the driver: is the training to stop?"""
    looked, stop = 0.0, False

    def should_stop() -> bool:
        import ray

        nonlocal looked, stop
        now = time.monotonic()
        if not stop and now - looked > LOOK_SECONDS:
            looked, stop = now, ray.get(board.stopping.remote())
        return stop

    return should_stop
