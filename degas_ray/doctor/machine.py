"""The machine: GPU, cores, memory, disks, ports."""

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from degas_ray.cores import usable_cores
from degas_ray.doctor.findings import Finding
from degas_ray.ports import LOOPBACK

GIB = 2**30
OBJECT_STORE = 128 * 2**20  # bytes that a study asks Ray for
FEW_BYTES, ENOUGH_BYTES = GIB, 5 * GIB  # on the home's disk
LITTLE_MEMORY = 3 * GIB  # Ray's own processes and two trials on small images
PORTS = {6379: "a cluster's head", 8265: "its dashboard and jobs"}
_KERNEL_DRIVER = Path("/proc/driver/nvidia/version")


def gpu() -> Finding:
    """Look for GPUs that torch can use."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
        return Finding("GPU", "ok", f"{count}: {names}")
    if _KERNEL_DRIVER.exists() or shutil.which("nvidia-smi"):
        advice = "install a build of torch for the driver's CUDA version; 'nvidia-smi' prints that version"
        return Finding("GPU", "fault", "there is an NVIDIA driver, but torch cannot use it", advice)
    advice = "digits and photos need none; for cifar10, stl and celeba at full length use a machine with a GPU"
    return Finding("GPU", "note", "none; everything runs on the CPU", advice)


def precision(home: Path) -> Finding:
    """Ask for units that multiply bf16, and what they gain; what was measured is kept in a home that is there."""
    from degas_ray.precision import pace

    return Finding("precision", "ok", pace(home / "cache", keep=home.is_dir()).sentence())


def cores() -> Finding:
    """Count the cores that this process may use, of which a container may have fewer than the machine."""
    usable, all_of_them = usable_cores(), psutil.cpu_count() or 1
    found = str(usable) if usable == all_of_them else f"{usable} of {all_of_them} may be used"
    if usable == 1:
        return Finding("cores", "note", found, "trials run one after the other; with more cores a study is faster")
    return Finding("cores", "ok", found)


def memory() -> Finding:
    """Look at the memory that is left."""
    free = psutil.virtual_memory().available
    if free < LITTLE_MEMORY:
        advice = "end other programs, or set study.concurrent=1 and smaller batches"
        return Finding("memory", "note", f"{_gib(free)} free", advice)
    return Finding("memory", "ok", f"{_gib(free)} free")


def shared_memory() -> Finding:
    """Look at /dev/shm, where Ray keeps its object store."""
    shm = Path("/dev/shm")
    if not shm.is_dir():
        return Finding("/dev/shm", "note", "not there", "Ray uses /tmp instead, which is slower; mount a tmpfs there")
    free = shutil.disk_usage(shm).free
    if free < OBJECT_STORE:
        advice = "Ray uses /tmp instead, which is slower; start the container with --shm-size=1g"
        return Finding("/dev/shm", "note", f"{free / 2**20:,.0f} MiB free", advice)
    return Finding("/dev/shm", "ok", f"{_gib(free)} free")


def disk(home: Path) -> Finding:
    """Look at the space where the home is."""
    free = shutil.disk_usage(_nearest(home)).free
    if free >= ENOUGH_BYTES:
        return Finding("disk", "ok", f"{_gib(free)} free for {home}")
    advice = "free some space, or choose another --home; 'degas-ray tune --dry-run' says what a study needs"
    return Finding("disk", "fault" if free < FEW_BYTES else "note", f"{_gib(free)} free for {home}", advice)


def writable(home: Path) -> Finding:
    """Try to write where the home is, or will be made."""
    place = _nearest(home)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"degas-ray")
            file.flush()
    except OSError as error:
        advice = "choose another folder with --home or DEGAS_RAY_HOME, or change the rights of this one"
        return Finding("home", "fault", f"cannot write to {place}: {error.strerror or error}", advice)
    return Finding("home", "ok", f"{home}" if home.exists() else f"{home}, which will be made")


def ray_ports() -> Iterator[Finding]:
    """Try the ports of a Ray cluster's head, and whether any port can be had at all."""
    if (problem := _bind(0)) is not None:
        advice = "Ray and MLflow talk over loopback; allow this process to open ports on 127.0.0.1"
        yield Finding("Ray ports", "fault", f"no port can be opened: {problem}", advice)
        return
    taken = [port for port in PORTS if _bind(port) is not None]
    if taken:
        whose = ", ".join(f"{port} ({PORTS[port]})" for port in taken)
        advice = (
            "studies on this machine choose free ports and do not mind; a cluster's head here needs others "
            "(ray start --port, --dashboard-port), or is it a Ray of yours that 'ray stop' ends?"
        )
        yield Finding("Ray ports", "note", f"in use: {whose}", advice)
        return
    yield Finding("Ray ports", "ok", f"{', '.join(map(str, PORTS))} are free")


def _bind(port: int) -> str | None:
    """Return why a port cannot be had, or ``None`` where it can."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return os.strerror(error.errno or errno.EIO)
    return None


def _nearest(path: Path) -> Path:
    """Return ``path``, or the folder above it that is there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _gib(count: int) -> str:
    return f"{count / GIB:,.1f} GiB"
