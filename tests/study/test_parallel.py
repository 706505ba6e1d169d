"""A training on two workers of Ray Train: as one worker's, whatever happens to them."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from tiny_study import tiny_config
from torch import Tensor

from degas_ray.errors import InputError, Interrupted
from degas_ray.gan import load_generator
from degas_ray.loop import Progress
from degas_ray.study import TrainRun, run_training

STEPS = 300
MINUTES = pytest.mark.timeout(900)  # Ray starts many processes


def settings(steps: int, **full: Any) -> Any:
    return tiny_config(full__steps=steps, full__milestones=(0.5,), **{f"full__{key}": v for key, v in full.items()})


def train_on(home: Path, workers: int | None, name: str, steps: int = STEPS, **options: Any) -> TrainRun:
    return run_training(settings(steps), "degas-cifar10", home, name=name, workers=workers, **options)


def images(run: TrainRun) -> Tensor:
    generator, facts = load_generator(run.folder / "generator.ckpt")
    with torch.no_grad():
        made: Tensor = generator(torch.randn((20, facts["latent_dim"]), generator=torch.Generator().manual_seed(0)))
    return made


def losses(run: TrainRun) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (run.folder / "stats.jsonl").read_text().splitlines()]
    return [(row["step"], row["full/critic_loss"]) for row in lines if "full/critic_loss" in row]


def workers_of_this_process() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if "RayTrainWorker" in " ".join(p.cmdline())]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def undisturbed(home: Path) -> TrainRun:
    return train_on(home, 2, "undisturbed")


@pytest.mark.slow
@MINUTES
def test_two_workers_train_as_one_and_record_as_much(home: Path, undisturbed: TrainRun) -> None:
    alone = train_on(home, 1, "alone")
    assert [step for step, _ in losses(undisturbed)] == [step for step, _ in losses(alone)]
    # Rounding grows over the steps, as it does from one machine to another.
    for (_, own), (_, expected) in zip(losses(undisturbed)[:4], losses(alone)[:4], strict=True):
        assert own == pytest.approx(expected, rel=1e-2, abs=1e-2)
    assert undisturbed.scores.protocol.hash == alone.scores.protocol.hash
    names = {path.relative_to(undisturbed.folder) for path in undisturbed.folder.rglob("*")}
    assert names == {path.relative_to(alone.folder) for path in alone.folder.rglob("*")}


@pytest.mark.slow
@MINUTES
def test_a_killed_worker_s_training_goes_on_from_its_checkpoint(home: Path, undisturbed: TrainRun) -> None:
    killed: list[int] = []

    def kill_once(progress: Progress) -> None:
        if not killed and progress.phase == "full" and progress.step > STEPS // 10:
            victim = workers_of_this_process()[1]
            killed.append(victim.pid)
            os.kill(victim.pid, signal.SIGKILL)

    run = train_on(home, 2, "killed", on_progress=kill_once)
    assert len(killed) == 1
    assert run.outcome == undisturbed.outcome
    # Exactly: what a checkpoint holds is all that counts.
    assert torch.equal(images(run), images(undisturbed))
    assert losses(run) == losses(undisturbed)


@pytest.mark.slow
@MINUTES
def test_a_stopped_training_resumes_with_its_workers(home: Path, undisturbed: TrainRun) -> None:
    seen: list[int] = []

    def note(progress: Progress) -> None:
        seen.append(progress.step)

    with pytest.raises(Interrupted, match=f"stopped after generator step .* of {STEPS}"):
        train_on(home, 2, "stopped", on_progress=note, should_stop=lambda: len(seen) > 3)
    assert not (home / "runs" / "stopped" / "generator.ckpt").exists()
    again = train_on(home, None, "stopped", resume=True)
    assert json.loads((again.folder / "workers.json").read_text()) == {"workers": 2}
    assert torch.equal(images(again), images(undisturbed))


@pytest.mark.slow
@MINUTES
def test_more_workers_than_there_is_room_for_are_refused(home: Path) -> None:
    config = settings(8, batch=64, generator_batch=64)
    with pytest.raises(InputError, match=r"--workers: got 64, but Ray has \d+ CPUs; use \d+"):
        run_training(config, "resnet", home, name="many", workers=64)


def test_batches_that_cannot_be_shared_are_refused(home: Path) -> None:
    with pytest.raises(InputError, match=r"batch: got 8 for 3 workers, .* set full\.batch=9"):
        train_on(home, 3, "odd")
