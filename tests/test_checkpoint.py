"""Checkpoints: round trips, atomicity, and refusals that execute nothing."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from degas_ray import checkpoint
from degas_ray.checkpoint import State
from degas_ray.errors import CheckpointError, DegasError, DegasWarning, DiskError


def small_state() -> State:
    return State(
        {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([True])}, {"step": 3, "name": "x", "l": [1, None]}
    )


def test_a_state_comes_back_equal(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "deep" / "s.ckpt", small_state(), "search")
    back = checkpoint.load(tmp_path / "deep" / "s.ckpt", "search")
    assert torch.equal(back.tensors["a"], small_state().tensors["a"])
    assert back.tensors["b"].dtype == torch.bool
    assert back.meta == small_state().meta


def test_torch_alone_reads_it(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "s.ckpt", small_state(), "search")
    raw = torch.load(tmp_path / "s.ckpt", weights_only=True)
    assert raw["kind"] == "search"
    assert json.loads(raw["meta"])["step"] == 3


def test_a_view_does_not_drag_its_storage_along(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "s.ckpt", State({"a": torch.zeros(1_000_000)[:10]}), "search")
    assert (tmp_path / "s.ckpt").stat().st_size < 10_000


def test_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "s.ckpt", small_state(), "search")
    with pytest.raises(CheckpointError, match=r"is a 'search' checkpoint, expected a 'generator' one"):
        checkpoint.load(tmp_path / "s.ckpt", "generator")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "s.ckpt"
    checkpoint.save(path, small_state(), "search")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"truncated, damaged or no checkpoint"):
        checkpoint.load(path)


def test_a_flipped_bit_in_a_weight_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "s.ckpt"
    checkpoint.save(path, State({"a": torch.full((1000,), 1.5)}), "search")
    content = bytearray(path.read_bytes())
    content[content.index(b"\x00\x00\xc0\x3f" * 100) + 41] ^= 4
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (os.environ["BOMB"],)


@pytest.mark.parametrize("disguise", ["pickle", "torch", "inside"])
def test_a_pickle_in_disguise_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disguise: str) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    path = tmp_path / "s.ckpt"
    if disguise == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    elif disguise == "torch":
        torch.save(Bomb(), path)
    else:
        checkpoint.save(path, small_state(), "search")
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, pickle.dumps(Bomb(), protocol=2) if name.endswith("data.pkl") else content)
    with pytest.raises(CheckpointError, match=r"s\.ckpt"):
        checkpoint.load(path)
    assert not (tmp_path / "exploded").exists()


def test_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(2)}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="is not a degas-ray checkpoint"):
        checkpoint.load(tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="No such file"):
        checkpoint.load(tmp_path / "missing.ckpt")
    with pytest.raises(CheckpointError, match="Is a directory"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"tensors": [1]}, {"tensors": {"a": 1}}, {"meta": "{"}, {"meta": "[]"}, {"meta": None}, {"version": 99}],
)
def test_wrong_content_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    content = {"format": checkpoint.FORMAT, "version": 1, "kind": "x", "meta": "{}", "tensors": {}} | change
    torch.save(content, tmp_path / "s.ckpt")
    with pytest.raises(CheckpointError, match=r"damaged|version 99"):
        checkpoint.load(tmp_path / "s.ckpt")


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.ckpt"
    checkpoint.save(path, small_state(), "search")

    def full_disk(content: object, file: io.BufferedWriter) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(DegasError, match=r"cannot write the checkpoint .*No space left on device"):
        checkpoint.save(path, State(), "search")
    assert checkpoint.load(path).meta["step"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["s.ckpt"]


class SmallDisk(io.RawIOBase):
    """Takes 64 bytes."""

    def __init__(self) -> None:
        self._room = 64

    def write(self, data: Any) -> int:
        self._room -= memoryview(data).nbytes
        if self._room < 0:
            raise OSError(28, "No space left on device")
        return memoryview(data).nbytes


def test_a_failed_write_is_told_in_the_words_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = torch.save
    with pytest.raises(RuntimeError, match="unexpected pos"):  # torch's own
        save({"a": torch.zeros(100)}, SmallDisk())
    monkeypatch.setattr(torch, "save", lambda content, file: save(content, SmallDisk()))
    with pytest.raises(DiskError, match=r"s\.ckpt: No space left on device"):
        checkpoint.save(tmp_path / "s.ckpt", small_state(), "search")


def test_steps_are_kept_two_at_a_time(tmp_path: Path) -> None:
    (tmp_path / ".step-000001.ckpt.1.tmp").write_bytes(b"left by a killed process")
    for step in (5, 10, 999_999, 1_000_000):
        checkpoint.save_step(tmp_path, State(meta={"step": step}), "search", step)
    assert [p.name for p in checkpoint.list_steps(tmp_path)] == ["step-999999.ckpt", "step-1000000.ckpt"]
    assert len(list(tmp_path.iterdir())) == 2
    latest = checkpoint.load_latest(tmp_path, "search")
    assert latest is not None
    assert latest.meta["step"] == 1_000_000


def test_a_damaged_latest_step_is_named_and_the_one_before_it_taken(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save_step(tmp_path, State(meta={"step": step}), "search", step)
    (tmp_path / "step-000002.ckpt").write_bytes(b"damaged")
    with pytest.warns(DegasWarning, match=r"step-000002\.ckpt"):
        latest = checkpoint.load_latest(tmp_path, "search")
    assert latest is not None
    assert latest.meta["step"] == 1
    assert checkpoint.load_latest(tmp_path / "empty", "search") is None


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_an_optimizer_goes_on_exactly(tmp_path: Path, name: str) -> None:
    def build() -> tuple[nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(0)
        layer = nn.Linear(3, 2)
        if name == "adam":
            return layer, torch.optim.Adam(layer.parameters(), 0.1, betas=(0.0, 0.9))
        return layer, torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9)

    def step(layer: nn.Linear, optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            layer(torch.randn(4, 3)).square().sum().backward()
            optimizer.step()

    layer, optimizer = build()
    step(layer, optimizer, 3)
    parts = [
        checkpoint.flatten_module(layer, "net"),
        checkpoint.flatten_optimizer(optimizer, "opt"),
        checkpoint.rng_state(),
    ]
    checkpoint.save(tmp_path / "s.ckpt", checkpoint.merge(parts, step=3), "search")
    step(layer, optimizer, 3)

    other, resumed = build()
    state = checkpoint.load(tmp_path / "s.ckpt", "search")
    checkpoint.restore_module(other, state, "net")
    checkpoint.restore_optimizer(resumed, state, "opt")
    checkpoint.restore_rng(state)
    step(other, resumed, 3)
    assert torch.equal(layer.weight, other.weight)
    assert resumed.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


def test_named_generators_go_on_exactly(tmp_path: Path) -> None:
    ours, numpy = torch.Generator().manual_seed(1), np.random.default_rng(1)
    torch.rand(3, generator=ours)
    numpy.random(3)
    checkpoint.save(tmp_path / "s.ckpt", checkpoint.rng_state(ours=ours, numpy=numpy), "search")
    expected = torch.rand(3), torch.rand(3, generator=ours), numpy.random(3)
    other, others_numpy = torch.Generator(), np.random.default_rng()
    state = checkpoint.load(tmp_path / "s.ckpt")
    checkpoint.restore_rng(state, ours=other, numpy=others_numpy)
    assert torch.equal(torch.rand(3), expected[0])
    assert torch.equal(torch.rand(3, generator=other), expected[1])
    assert np.array_equal(others_numpy.random(3), expected[2])
    with pytest.raises(CheckpointError, match="no random state 'rng/own/missing'"):
        checkpoint.restore_rng(state, missing=torch.Generator())


def test_a_module_of_another_shape_is_refused() -> None:
    state = checkpoint.flatten_module(nn.Linear(3, 2), "net")
    with pytest.raises(CheckpointError, match=r"1 of its tensors differ, first 'weight'"):
        checkpoint.restore_module(nn.Linear(4, 2), state, "net")
    with pytest.raises(CheckpointError, match="holds no optimizer 'opt'"):
        checkpoint.restore_optimizer(torch.optim.SGD(nn.Linear(3, 2).parameters(), 0.1), state, "opt")
    two = checkpoint.flatten_optimizer(torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1), "opt")
    with pytest.raises(CheckpointError, match="does not fit"):
        checkpoint.restore_optimizer(torch.optim.SGD(nn.Linear(3, 2).parameters(), 0.1), two, "opt")


def test_the_oldest_steps_go_where_a_quota_is_short(tmp_path: Path) -> None:
    state = State({"x": torch.zeros(1000)})
    size = checkpoint.save_step(tmp_path / "full", state, "full", 1).stat().st_size
    checkpoint.save_step(tmp_path / "full", state, "full", 2, quota=2 * size)
    assert len(checkpoint.list_steps(tmp_path / "full")) == 2
    checkpoint.save_step(tmp_path / "full", state, "full", 3, quota=2 * size - 1)
    assert [path.name for path in checkpoint.list_steps(tmp_path / "full")] == ["step-000003.ckpt"]
    # What stands beside them counts, and stays; so does the newest, with a warning.
    checkpoint.save(tmp_path / "best.ckpt", state, "generator")
    with pytest.warns(DegasWarning, match=r"take .* bytes, more than the checkpoint_quota of"):
        checkpoint.save_step(tmp_path / "full", state, "full", 4, quota=size, beside=tmp_path)
    assert [path.name for path in checkpoint.list_steps(tmp_path / "full")] == ["step-000004.ckpt"]
    assert (tmp_path / "best.ckpt").exists()
