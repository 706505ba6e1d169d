"""Settings under which a whole study takes seconds, and a tracker that keeps what it is told."""

from pathlib import Path
from typing import Any

from degas_ray.config import Config, resolve
from degas_ray.runs.jobs import Needs
from degas_ray.study.placement import Placement

SMALL = {"width": 4, "latent_dim": 4, "checkpoint_seconds": 0.001}
GAN = {
    **SMALL, "framework": "ctgan", "critic_width": 4, "batch": 8, "generator_batch": 8, "critic_steps": 1,
    "decay": "linear", "ema": 0.0, "device": "cpu",
}  # fmt: skip


def tiny_config(**overrides: Any) -> Config:
    """Return settings for digits with everything as small as it can be.

    Args:
        overrides: Dotted keys with ``__`` for the dot, such as ``study__trials=3``.
    """
    settings: dict[str, Any] = {
        "limit": 64,
        "search": {**SMALL, "steps": 6, "batch": 16, "device": "cpu"},
        "proxy": {**GAN, "steps": 6},
        "full": {**GAN, "steps": 8},
        "scores": {"samples": 20, "real": 20, "splits": 2, "batch": 10},
        "study": {
            "trials": 2,
            "cpus": 1,
            "concurrent": 2,
            "gpus": 0,
            "yardstick": False,
            "rerank": {"top": 2, "seeds": 1},
        },
    }
    config = resolve(overrides={f"{s}.{k}": v for s, values in _sections(settings) for k, v in values.items()})
    tree = config.model_dump()
    tree["limit"] = settings["limit"]
    for key, value in overrides.items():
        *path, leaf = key.split("__")
        section = tree
        for name in path:
            section = section[name]
        section[leaf] = value
    return Config.model_validate(tree)


def places(searches: int, trainings: int | None = None) -> Placement:
    """Return a placement under which so many fit; a trial is one job where no trainings are named."""
    both = trainings is None
    training = Needs() if both else Needs(gpus=0.5)
    return Placement(Needs(), training, Needs(), searches, searches if trainings is None else trainings)


def _sections(settings: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, values) for name, values in settings.items() if isinstance(values, dict)]


class Notes:
    """A tracker in memory."""

    run_id = "notes"

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.names: list[str] = []
        self.facts: dict[str, str] = {}
        self.settings: dict[str, Any] = {}
        self.outcome = ""

    def params(self, flat: Any) -> None:
        self.settings |= flat

    def metrics(self, values: Any, step: int) -> None:
        self.rows.append((step, dict(values)))

    def tags(self, values: Any) -> None:
        self.facts |= values

    def figure(self, figure: Any, name: str) -> None:
        self.names.append(name)

    def image(self, array: Any, key: str, step: int) -> None:
        self.names.append(f"{key}-{step}")

    def text(self, text: str, name: str) -> None:
        self.names.append(name)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        self.names.append(path.name)

    def finish(self, outcome: str) -> None:
        self.outcome = outcome

    def series(self, name: str) -> list[tuple[int, float]]:
        """Return the (step, value) pairs of a metric in the order in which they came."""
        return [(step, values[name]) for step, values in self.rows if name in values]
