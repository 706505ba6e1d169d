"""How every claim is measured: ours and the baseline take turns in one process, and medians are compared."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import torch


def alternate(functions: Mapping[str, Callable[[], object]], rounds: int = 5, warmup: int = 1) -> dict[str, float]:
    """Time functions in turns, so that a busy moment of the machine falls on all of them.

    Args:
        functions: What to time, by name.
        rounds: Timed turns; the order is reversed from one to the next.
        warmup: Turns before that are not timed.

    Returns:
        Median seconds by name.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(warmup + rounds):
        for name, function in list(functions.items())[:: 1 if turn % 2 == 0 else -1]:
            start = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn >= warmup:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def report(results: Mapping[str, Any]) -> None:
    """Print the results as JSON, with the machine, its threads and the versions that matter."""
    facts = {
        "machine": {
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": version("numpy")},
    }
    print(json.dumps({**results, **facts}, indent=2))


def processor() -> str:
    """Return the processor's name."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
