"""The processes of one cluster on one machine, found by what they are and ended; other people's Ray is left alone.

``ray stop`` ends every Ray on a machine. Here a process belongs to a cluster when it was started with its mark in the
environment, or when it writes below the cluster's own Ray folder: workers rename themselves, which wipes their
environment, but their logs are there.

Called on a host as ``python -m degas_ray.cluster.processes list|end MARK``; prints one line a process that is left.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

MARK = "DEGAS_RAY_CLUSTER"
GRACE_SECONDS = 10.0


def ray_folder(mark: str) -> Path:
    """Return where the Ray of a cluster keeps its session on a machine: short, since socket paths must be."""
    return Path(tempfile.gettempdir()) / f"degas-ray-{mark}"


def find_processes(mark: str) -> list[psutil.Process]:
    """Return the living processes of a cluster on this machine, without this one and those that called it."""
    this = psutil.Process()
    own = {this.pid, *(parent.pid for parent in this.parents())}
    return [process for process in psutil.process_iter() if process.pid not in own and _belongs(process, mark)]


def end_processes(mark: str, grace: float = GRACE_SECONDS) -> list[psutil.Process]:
    """End every process of a cluster on this machine; return those that are left.

    Args:
        mark: The cluster's.
        grace: Seconds between asking and killing.
    """
    for force in (False, True, True):  # a raylet may start a worker while it is told to end
        found = find_processes(mark)
        for process in found:
            _signal(process, force)
        psutil.wait_procs(found, timeout=grace)
    return find_processes(mark)


def describe(process: psutil.Process) -> str:
    """Return a process's number and the beginning of its command line."""
    try:
        line = " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        line = "gone meanwhile"
    return f"{process.pid}  {line[:100]}"


def _belongs(process: psutil.Process, mark: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if process.environ().get(MARK) == mark:
            return True
        folder = str(ray_folder(mark))
        return any(part.startswith(f"{folder}/") for part in _open_files(process.pid))
    except psutil.Error:
        return False  # it has ended, or is another user's


def _open_files(pid: int) -> Iterator[str]:
    """Yield what a process has open: one readlink each, where psutil would stat them as well."""
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for entry in entries:
        try:
            yield os.readlink(entry)
        except OSError:
            continue


def _signal(process: psutil.Process, force: bool) -> None:
    try:
        if force:
            process.kill()
        else:
            process.terminate()
    except psutil.Error:
        pass  # it has ended by itself


def main(verb: str, mark: str) -> int:
    """List or end the processes of a cluster on this machine; return 1 where some are left."""
    left = end_processes(mark) if verb == "end" else find_processes(mark)
    for process in left:
        print(describe(process))
    return int(bool(left) and verb == "end")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
