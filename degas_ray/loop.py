"""What every training loop shares: progress, stopping, devices. Loops know no Ray, no MLflow, no click."""

import ctypes
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch

from degas_ray.checkpoint import State
from degas_ray.errors import InputError


@dataclass(frozen=True)
class Progress:
    """Where a loop stands.

    Args:
        metrics: Plain numbers without a prefix, such as ``critic_loss``.
        state: Makes a checkpoint from which the loop goes on exactly; called only when wanted.
    """

    phase: str
    step: int
    steps: int
    metrics: Mapping[str, float]
    state: Callable[[], State]


OnProgress = Callable[[Progress], None]
ShouldStop = Callable[[], bool]


def log_every(steps: int) -> int:
    """Return how many steps lie between two reports of a loop of ``steps``: a hundred reports, at most 50 apart."""
    return max(1, min(50, steps // 100))


def pick_device(name: str) -> torch.device:
    """Return the device that ``name`` means; ``auto`` is the first GPU, or the CPU.

    Raises:
        InputError: For a name that torch does not know, or a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device: got {name!r}, expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise InputError(f"device: got {name!r}, but this machine has {found} GPUs; set that device to auto")
    return device


# Names in glibc's malloc.h -> what they are set to.
_MALLOC = {"M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_TOP_PAD": (-2, 2**28), "M_MMAP_THRESHOLD": (-3, 2**30)}


@cache
def keep_memory() -> bool:
    """Have the C library keep freed memory for the next tensors; return whether it does.

    A step on a CPU frees the memory that the next one asks for. By default glibc gives large blocks back to the system,
    and touching them again costs a sixth of a search step (docs/performance.md). Other C libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(name, value) == 1 for name, value in _MALLOC.values())
