"""What workers say to the driver through a Ray actor, and what they ask it."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from degas_ray.loop import OnProgress, Progress, ShouldStop

LOOK_SECONDS = 0.5  # between two looks for a request to stop


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
