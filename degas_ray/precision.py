"""In which numbers a loop computes: float32, or bf16 where this machine multiplies those faster.

``auto`` is resolved once, when a run or a study begins, and the answer is stored with its settings: loops, workers and
resumed runs know float32 and bf16 alone. It needs a unit for bf16 and a measurement in which that unit pays.
"""

import platform
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from degas_ray.config import Config
from degas_ray.errors import DegasWarning, InputError
from degas_ray.files import checked, read_json, write_json
from degas_ray.loop import pick_device

Fixed = Literal["float32", "bf16"]
SECTIONS = ("search", "proxy", "full", "scores")
FILE = "precision.json"
LEAST_GAIN = 1.15  # below it the conversions around a convolution take what bf16 gains in it
WIDTHS = (16, 32, 64, 128)  # measured; a loop's width is rounded to the nearest
SECONDS = 1.0  # of one measurement
SCORES_WIDTH = 32
_IMAGES, _SIDE = 32, 16
_LEAST_ROUNDS = 3
_CPU_UNITS = ("amx_bf16", "avx512_bf16", "bf16")  # names of flags: x86's two, ARM's
_CPU_FACTS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Pace:
    """How fast a device multiplies.

    Args:
        units: What it has for bf16; empty where there is none, and then nothing was timed.
        float32: Milliseconds of a 3x3 convolution of 32 images at 16x16, forward and backward, channels last.
    """

    units: tuple[str, ...] = ()
    float32: float = 0.0
    bf16: float = 0.0

    @property
    def gain(self) -> float:
        """How many times as fast bf16 is; 1 where it was not timed."""
        return self.float32 / self.bf16 if self.bf16 else 1.0

    @property
    def best(self) -> Fixed:
        """What ``auto`` means here."""
        return "bf16" if self.gain >= LEAST_GAIN else "float32"

    def sentence(self) -> str:
        """Say it to a person."""
        if not self.units:
            return "no unit for bf16; auto means float32"
        return (
            f"{', '.join(self.units)}: bf16 is {self.gain:.1f} times as fast as float32 in a 3x3 convolution; "
            f"auto means {self.best}"
        )


def settled(config: Config, home: Path, threads: Mapping[str, int] | None = None, *, keep: bool = True) -> Config:
    """Return ``config`` with float32 or bf16 wherever it says ``auto``.

    Args:
        home: The home directory, whose cache knows what was measured before.
        threads: Of the loops, by section (``search``, ``proxy``, ``full``, ``scores``); torch's own by default.
        keep: Whether to write a new measurement into the cache.
    """
    changed = {}
    for name in SECTIONS:
        section = getattr(config, name)
        if section.precision == "auto":
            device = config.full.device if name == "scores" else section.device
            width = SCORES_WIDTH if name == "scores" else section.width
            own = (threads or {}).get(name, torch.get_num_threads())
            best = pace(home / "cache", device=device, width=width, threads=own, keep=keep).best
            changed[name] = section.model_copy(update={"precision": best})
    return config.model_copy(update=changed)


def fixed(precision: str, key: str) -> Fixed:
    """Return a precision that a loop can compute in.

    Raises:
        InputError: For ``auto``, which depends on the machine.
    """
    if precision not in ("float32", "bf16"):
        raise InputError(f"{key}: got {precision}, expected float32 or bf16; degas_ray.precision.settled resolves auto")
    return cast(Fixed, precision)


def words(config: Config) -> str:
    """Return which precision each part of a run has, such as ``search bf16, proxy bf16, full bf16, scores float32``."""
    return ", ".join(f"{name} {getattr(config, name).precision}" for name in SECTIONS)


def pace(cache: Path, *, device: str = "auto", width: int = 32, threads: int | None = None, keep: bool = True) -> Pace:
    """Return how fast a device multiplies, from the cache where it was measured before.

    Args:
        cache: The home's cache directory; ``precision.json`` in it is used.
        device: As in the settings; one that is not on this machine has no units that are known here.
        threads: On a CPU; torch's own by default.
        keep: Whether to write a new measurement into the cache.
    """
    try:
        place = pick_device(device)
    except InputError:  # a cluster's driver may have no GPU
        return Pace()
    units = _units(place)
    if not units:
        return Pace()
    threads, width = threads or torch.get_num_threads(), min(WIDTHS, key=lambda known: abs(known - width))
    file, key = cache / FILE, _key(place, units, width, threads)
    known = _known(file)
    if key in known:
        return checked(Pace, known[key], file)
    found = _measure(place, units, width, threads)
    if keep:
        write_json(file, _known(file) | {key: asdict(found)})
    return found


def _measure(device: torch.device, units: tuple[str, ...], width: int, threads: int) -> Pace:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        float32, bf16 = _alternate([_step(device, width, dtype) for dtype in (torch.float32, torch.bfloat16)])
    finally:
        torch.set_num_threads(before)
    return Pace(units, round(float32, 3), round(bf16, 3))


def _step(device: torch.device, width: int, dtype: torch.dtype) -> Callable[[], None]:
    convolution = nn.Conv2d(width, width, 3, padding=1).to(device, dtype).to(memory_format=torch.channels_last)
    images = torch.ones(_IMAGES, width, _SIDE, _SIDE, device=device, dtype=dtype)
    images = images.contiguous(memory_format=torch.channels_last).requires_grad_()

    def step() -> None:
        out = convolution(images)
        torch.autograd.grad(out, [images, *convolution.parameters()], torch.ones_like(out))
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def _alternate(steps: Sequence[Callable[[], None]]) -> list[float]:
    """Time steps in turns; return the least milliseconds of each: what the machine can, whatever else it does now."""
    times: list[list[float]] = [[] for _ in steps]
    began = 0.0
    while len(times[0]) <= _LEAST_ROUNDS or time.perf_counter() - began < SECONDS:
        for step, own in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            own.append(1e3 * (time.perf_counter() - start))
        began = began or time.perf_counter()  # the first turn makes the kernels
    return [min(own[1:]) for own in times]


def _units(device: torch.device) -> tuple[str, ...]:
    """Return what a device has for multiplying bf16."""
    if device.type == "cuda":
        return ("GPU",) if torch.cuda.is_bf16_supported(including_emulation=False) else ()
    flags = {flag for name in ("flags", "Features") for flag in _cpu_fact(name).split()}
    return tuple(unit for unit in _CPU_UNITS if unit in flags)


def _key(device: torch.device, units: tuple[str, ...], width: int, threads: int) -> str:
    if device.type == "cuda":
        place = torch.cuda.get_device_name(device)
    else:
        processor = _cpu_fact("model name") or platform.processor() or platform.machine()
        place = f"{processor}, {threads} threads"
    return f"{place}, {' '.join(units)}, torch {torch.__version__}, width {width}"


def _cpu_fact(name: str) -> str:
    """Return what Linux says of the first processor under a name; nothing elsewhere."""
    try:
        lines = _CPU_FACTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")


def _known(file: Path) -> dict[str, Any]:
    try:
        return read_json(file) or {}
    except InputError as error:
        warnings.warn(f"{error}; it is measured anew", DegasWarning, stacklevel=2)
        return {}
