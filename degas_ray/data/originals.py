"""What every source hands over: its original images, found and understood but not yet read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from degas_ray.data.images import Skips
from degas_ray.data.packs import Chunk

READ_ROWS = 1024  # images of an array file read at a time


@dataclass(frozen=True)
class Originals:
    """One source's images before they are packed.

    Args:
        name: What the pack is called.
        classes: Names of the labels; empty where there are none.
        count: Images to come, unreadable ones included.
        files: Files whose size and time tell whether a pack made from them is still good.
        read: Resolution to chunks of images ``[B, R, R, 3]`` with labels, in a fixed order.
        conversion: How an original becomes R x R, in words.
        skips: Unreadable images, filled while reading.
    """

    name: str
    classes: tuple[str, ...]
    count: int
    files: tuple[Path, ...]
    read: Callable[[int], Iterator[Chunk]]
    conversion: str
    skips: Skips


def spread(count: int, limit: int | None) -> list[int]:
    """Return at most ``limit`` positions of ``count``, evenly spread, in order: a sorted source keeps its classes."""
    if limit is None or limit >= count:
        return list(range(count))
    return [position * count // limit for position in range(limit)]
