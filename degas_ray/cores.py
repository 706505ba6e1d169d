"""The CPU cores that this process may use, and its threads; torch reads both once, so nothing here imports torch.

``python -m degas_ray.cores`` prints their number: an affinity or a control group may allow fewer than there are.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MEMBERSHIP = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return how many cores this process may use at once, at least one."""
    allowed = len(os.sched_getaffinity(0))
    limit = cpu_limit()
    return allowed if limit is None else max(1, min(allowed, int(limit)))


def cpu_limit(membership: Path | None = None, groups: Path | None = None) -> float | None:
    """Return how many cores' time the control groups of this process allow; ``None`` where none of them sets a limit.

    Args:
        membership: The file that names the groups; the kernel's by default.
        groups: Where they are mounted; the usual place by default.
    """
    limits = [limit for folder in _folders(membership or MEMBERSHIP, groups or GROUPS) for limit in _limits(folder)]
    return min(limits, default=None)


def _folders(membership: Path, groups: Path) -> Iterator[Path]:
    """Yield the folder of every group that this process is in, and of those around it.

    A container may see the path that its group has on the host, and only its own folders below the mount.
    """
    try:
        lines = membership.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in [groups / controllers, groups / "cpu"] if controllers else [groups, groups / "unified"]:
            inner = PurePosixPath(path.lstrip("/"))
            yield from (mount / part for part in [inner, *inner.parents])


def _limits(folder: Path) -> Iterator[float]:
    """Yield what a group allows, in the words of version 2 and of version 1."""
    maximum = _words(folder / "cpu.max")
    quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    for words in (maximum, quota + period):
        try:
            allowed, of = map(float, words)
        except ValueError:  # no such file, or "max"
            continue
        if allowed > 0 and of > 0:
            yield allowed / of


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return []


# Threads that spin while they wait take the core from the one they wait for as soon as anything else runs: a generator
# step on two threads took 2.9 s beside one busy process, and 0.2 s with threads that sleep (docs/performance.md).
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}


def sleep_while_waiting() -> None:
    """Have idle threads of this process and its children sleep, unless the environment says otherwise.

    Call it before torch is imported. Every process of a study is set in the same way, so that the steps that a dry run
    measures are those that the workers run.
    """
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)


def keep_to_the_limit() -> None:
    """Have as many threads as a control group allows cores; torch itself looks at the affinity alone.

    Call it before torch is imported.
    """
    if cpu_limit() is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))


if __name__ == "__main__":
    print(usable_cores())
