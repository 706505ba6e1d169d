"""Processes that train as a study's other workers will, so that a step measured beside them takes what it will take."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from degas_ray.config import TrainConfig

_READY = b"ready\n"


@contextmanager
def neighbours(count: int, config: TrainConfig, pack: Path, threads: int) -> Iterator[float]:
    """Keep so many other processes training; yield the seconds that they took to start.

    Args:
        count: Processes.
        config: What they train, over and over.
        pack: The images' file.
        threads: Of each.
    """
    began = time.monotonic()
    task = {"config": config.model_dump(mode="json"), "pack": str(pack), "threads": threads, "parent": os.getpid()}
    command = [sys.executable, "-m", __name__, json.dumps(task)]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(count)]
    try:
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()  # empty where it died: then the steps are measured without it
        yield time.monotonic() - began
    finally:
        for other in others:
            other.kill()
            other.communicate()


def _main(task: str) -> None:
    import torch

    from degas_ray.data import open_pack
    from degas_ray.errors import DivergedError, Interrupted
    from degas_ray.gan import build_generator, train
    from degas_ray.space import Space

    facts = json.loads(task)
    torch.set_num_threads(facts["threads"])
    config, pack = TrainConfig.model_validate(facts["config"]), open_pack(Path(facts["pack"]))
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    classes = len(pack.classes) if config.supervised else 0
    orphaned = False

    def left_alone() -> bool:
        return os.getppid() != int(facts["parent"])

    while not orphaned:
        generator = build_generator(Space().random(0), config, pack.resolution, classes)
        with suppress(DivergedError, Interrupted):
            train(config, generator, pack, seed=0, should_stop=left_alone)
        orphaned = left_alone()


if __name__ == "__main__":
    _main(sys.argv[1])
