"""Checkpoints: named tensors and JSON, written in one atomic step, read back without executing anything.

A file is what ``torch.save`` writes of plain tensors and one JSON text, so ``torch.load(weights_only=True)`` reads it;
its zip checksums are verified first, and everything that is not ours is refused with a sentence.
"""

import json
import os
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from degas_ray.errors import CheckpointError, DegasWarning, DiskError

FORMAT = "degas-ray checkpoint"
VERSION = 1

# What torch's restricted unpickler raises on bytes that were not written by torch.save.
_UNREADABLE = (
    pickle.UnpicklingError, struct.error, zipfile.BadZipFile, ArithmeticError, AssertionError, AttributeError,
    EOFError, ImportError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class State:
    """A snapshot of anything: its tensors by name, and the rest as JSON.

    Args:
        tensors: Names to tensors, on any device; they are written from the CPU.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)


def merge(states: Iterable[State], **meta: Any) -> State:
    """Return one state with the tensors and meta of all of ``states``, and ``meta`` beside them."""
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {}
    for state in states:
        assert not tensors.keys() & state.tensors.keys(), "two states name the same tensor"
        assert not rest.keys() & state.meta.keys(), "two states name the same meta key"
        tensors.update(state.tensors)
        rest.update(state.meta)
    assert not rest.keys() & meta.keys(), "meta names a key of a state"
    return State(tensors, {**rest, **meta})


def save(path: Path, state: State, kind: str) -> None:
    """Write ``state`` so that ``path`` is either the old file or the whole new one, whatever happens meanwhile.

    Args:
        path: The file; its folder is made.
        kind: What it is, such as ``search`` or ``generator``; :func:`load` checks it.

    Raises:
        DiskError: Where the file cannot be written (a full disk, a folder without permission).
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "meta": json.dumps(dict(state.meta)),
        "tensors": {name: _compact(tensor) for name, tensor in state.tensors.items()},
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch wraps a failed write in a RuntimeError
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)
        reason = _reason(error)
        raise DiskError(
            f"cannot write the checkpoint {path}: {reason}; free some space or choose another folder with --home"
        ) from error


def _reason(error: BaseException) -> str:
    """Return what the system said; torch hides it behind a position in its own archive."""
    hidden: BaseException | None = error
    while hidden is not None:
        if isinstance(hidden, OSError) and hidden.strerror:
            return hidden.strerror
        hidden = hidden.__cause__ or hidden.__context__
    return str(error).splitlines()[0]


def load(path: Path, kind: str | None = None) -> State:
    """Read a state that :func:`save` wrote; nothing in the file is executed.

    Args:
        kind: The kind that it must be, or ``None`` for any.

    Raises:
        CheckpointError: For a file that is missing, truncated, damaged, foreign, or of another kind.
    """
    content = _read(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a degas-ray checkpoint; give a .ckpt file that degas-ray wrote")
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has checkpoint version {content.get('version')!r}, this degas-ray reads version {VERSION}; "
            "use the release that wrote it"
        )
    found = content.get("kind")
    if kind is not None and found != kind:
        raise CheckpointError(f"{path} is a {found!r} checkpoint, expected a {kind!r} one")
    tensors, text = content.get("tensors"), content.get("meta")
    sound = isinstance(tensors, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    )
    try:
        meta = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        meta = None
    if not sound or not isinstance(meta, dict):
        raise CheckpointError(f"{path} is damaged: expected named tensors and a JSON object; use an earlier checkpoint")
    assert isinstance(tensors, dict)
    return State(tensors, meta)


def save_step(
    folder: Path,
    state: State,
    kind: str,
    step: int,
    keep: int = 2,
    *,
    quota: int | None = None,
    beside: Path | None = None,
) -> Path:
    """Write ``folder/step-000123.ckpt`` and remove all but the newest ``keep`` of them.

    Args:
        quota: Bytes that they and the checkpoints in ``beside`` may take: older ones go first, the newest always stays.
            With more than that a :class:`DegasWarning` says so.
        beside: A folder whose checkpoints count too, and stay.

    Returns:
        The file.

    Raises:
        DiskError: Where the file cannot be written.
    """
    path = folder / f"step-{step:06d}.ckpt"
    save(path, state, kind)
    for old in list_steps(folder)[:-keep]:
        old.unlink(missing_ok=True)
    if quota is not None:
        _fit_quota(folder, quota, [] if beside is None else list(beside.glob("*.ckpt")))
    for stale in folder.glob(".step-*.tmp"):  # left by a process that was killed while it wrote
        stale.unlink(missing_ok=True)
    return path


def _fit_quota(folder: Path, quota: int, others: list[Path]) -> None:
    """Remove the oldest steps, never the newest, until all fit into ``quota`` bytes."""
    fixed = sum(path.stat().st_size for path in others)
    *older, newest = list_steps(folder)
    fixed += newest.stat().st_size
    while older and fixed + sum(path.stat().st_size for path in older) > quota:
        older.pop(0).unlink(missing_ok=True)
    if fixed > quota:
        warnings.warn(
            f"the newest checkpoint in {folder} and what is kept beside it take {fixed:,} bytes, more than the "
            f"checkpoint_quota of {quota:,}; set a larger one, or a smaller width",
            DegasWarning,
            stacklevel=3,
        )


def list_steps(folder: Path) -> list[Path]:
    """Return the files of :func:`save_step` in ``folder``, oldest step first."""
    found = [path for path in folder.glob("step-*.ckpt") if path.stem.removeprefix("step-").isdigit()]
    return sorted(found, key=lambda path: int(path.stem.removeprefix("step-")))


def load_latest(folder: Path, kind: str) -> State | None:
    """Return the newest readable state of ``folder``, or ``None`` where there is none.

    A damaged file is named in a :class:`DegasWarning` and the one before it is taken.
    """
    for path in reversed(list_steps(folder)):
        try:
            return load(path, kind)
        except CheckpointError as error:
            warnings.warn(f"skipped a checkpoint: {error}", DegasWarning, stacklevel=2)
    return None


def flatten_module(module: nn.Module, prefix: str) -> State:
    """Return copies of the parameters and buffers of ``module``, named ``prefix/...``."""
    return State({f"{prefix}/{name}": tensor.detach().clone() for name, tensor in module.state_dict().items()})


def restore_module(module: nn.Module, state: State, prefix: str) -> None:
    """Copy what :func:`flatten_module` took back into ``module``.

    Raises:
        CheckpointError: Where names or shapes differ.
    """
    module.load_state_dict(fitting(module, state, prefix))


def fitting(module: nn.Module, state: State, prefix: str) -> dict[str, Tensor]:
    """Return what :func:`flatten_module` took, if it is for a module like this one.

    Raises:
        CheckpointError: Where names or shapes differ.
    """
    own = {k.removeprefix(f"{prefix}/"): v for k, v in state.tensors.items() if k.startswith(f"{prefix}/")}
    expected = module.state_dict()
    differing = sorted(
        name
        for name in expected.keys() | own.keys()
        if name not in own or name not in expected or own[name].shape != expected[name].shape
    )
    if differing:
        raise CheckpointError(
            f"the checkpoint does not fit this {prefix}: {len(differing)} of its tensors differ, "
            f"first {differing[0]!r}; resume with the settings that it was written with"
        )
    return own


def flatten_optimizer(optimizer: torch.optim.Optimizer, prefix: str) -> State:
    """Return a copy of the state of ``optimizer``; parameters are numbered in its own order."""
    content = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, entries in content["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}/{index}/{name}"] = value.detach().clone()
            else:
                scalars.setdefault(str(index), {})[name] = value
    groups = [{k: list(v) if isinstance(v, tuple) else v for k, v in g.items()} for g in content["param_groups"]]
    return State(tensors, {prefix: {"groups": groups, "scalars": scalars}})


def restore_optimizer(optimizer: torch.optim.Optimizer, state: State, prefix: str) -> None:
    """Put back what :func:`flatten_optimizer` took.

    Raises:
        CheckpointError: Where it belongs to another optimizer.
    """
    entries: dict[int, dict[str, Any]] = {}
    for key, tensor in state.tensors.items():
        if key.startswith(f"{prefix}/"):
            index, name = key.removeprefix(f"{prefix}/").split("/", 1)
            entries.setdefault(int(index), {})[name] = tensor.clone()
    meta = state.meta.get(prefix)
    if not isinstance(meta, Mapping):
        raise CheckpointError(f"the checkpoint holds no optimizer {prefix!r}; resume the run that wrote it")
    for index, scalars in meta["scalars"].items():
        entries.setdefault(int(index), {}).update(scalars)
    # JSON has no tuples, and optimizers compare their betas as they were given.
    groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in meta["groups"]]
    try:
        optimizer.load_state_dict({"state": entries, "param_groups": groups})
    except ValueError as error:
        raise CheckpointError(
            f"the checkpoint's {prefix} does not fit: {error}; resume with the settings that it was written with"
        ) from None


Randomness = torch.Generator | np.random.Generator


def rng_state(**generators: Randomness) -> State:
    """Return the state of torch's global generators (CPU and every CUDA device) and of ``generators``, by name."""
    tensors = {"rng/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"rng/cuda{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    numpy: dict[str, Any] = {}
    for name, generator in generators.items():
        if isinstance(generator, torch.Generator):
            tensors[f"rng/own/{name}"] = generator.get_state()
        else:
            numpy[name] = generator.bit_generator.state
    return State(tensors, {"rng": numpy})


def restore_rng(state: State, **generators: Randomness) -> None:
    """Put back what :func:`rng_state` took; a CUDA device that is not here is left out.

    Raises:
        CheckpointError: Where a named generator is not in ``state``.
    """
    try:
        torch.set_rng_state(state.tensors["rng/cpu"])
        if torch.cuda.is_available():
            for index in range(torch.cuda.device_count()):
                if f"rng/cuda{index}" in state.tensors:
                    torch.cuda.set_rng_state(state.tensors[f"rng/cuda{index}"], index)
        for name, generator in generators.items():
            if isinstance(generator, torch.Generator):
                generator.set_state(state.tensors[f"rng/own/{name}"])
            else:
                generator.bit_generator.state = state.meta["rng"][name]
    except KeyError as error:
        raise CheckpointError(f"the checkpoint holds no random state {error}; resume the run that wrote it") from None


def _compact(tensor: Tensor) -> Tensor:
    """Return ``tensor`` on the CPU without the rest of a larger storage that it may be a view of."""
    tensor = tensor.detach().cpu()
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone()


def _read(path: Path) -> Any:
    try:
        # torch does not verify the checksums that it writes; a flipped bit would pass as a weight.
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is None:
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror or error}") from None
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} holds more than tensors and text, and has not been opened; give a file that degas-ray wrote"
        ) from None
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is truncated, damaged or no checkpoint ({reason}); use an earlier checkpoint"
        ) from None
    raise CheckpointError(f"{path} is damaged: its checksum does not match; use an earlier checkpoint")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
