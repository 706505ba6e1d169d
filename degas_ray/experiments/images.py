"""What is known of a configuration's images before they are opened."""

from degas_ray.config import Config, TrainConfig
from degas_ray.data import SOURCES
from degas_ray.data.sources import Source

OTHERS = 32  # side of images from a source that is not known


def resolution_of(config: Config) -> int:
    """Return the side of the images."""
    source = _source(config)
    return config.resolution or (source.resolution if source is not None else OTHERS)


def images_of(config: Config) -> int:
    """Return how many images there are, at most; 0 where only the data decide."""
    source = _source(config)
    known = [count for count in (source.size if source is not None else None, config.limit) if count is not None]
    return min(known) if known else 0


def classes_of(config: Config, train: TrainConfig) -> int:
    """Return the classes of a conditional generator; 0 for an unconditional one."""
    source = _source(config)
    return (source.classes or 0) if train.supervised and source is not None else 0


def _source(config: Config) -> Source | None:
    name = config.dataset.partition(":")[0]
    return SOURCES.get({"stl10": "stl"}.get(name, name))
