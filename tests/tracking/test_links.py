"""Artifacts are on the disk once: MLflow's files and those of a run's folder are the same ones."""

import os
from pathlib import Path

import numpy as np
import pytest

from degas_ray import files
from degas_ray.figures import curve
from degas_ray.tracking import RunDirectory, Tracking, both


def _record(tracking: Tracking, folder: Path) -> str:
    run = both(tracking.run("a", "train", key="a"), RunDirectory(folder))
    run.text("seed: 7\n", "config.yaml")
    run.figure(curve([{"step": 1, "loss": 2.0}], "step", ["loss"]), "figures/loss.png")
    run.image(np.full((8, 8, 3), 7, np.uint8), "proxy/samples", 20)
    (folder / "generator.ckpt").write_bytes(b"weights")
    run.artifact(folder / "generator.ckpt")
    run.finish("completed")
    return run.run_id


def test_what_mlflow_keeps_is_linked_to_the_runs_folder(tracking: Tracking) -> None:
    folder = tracking.address.home / "runs" / "a"
    run_id = _record(tracking, folder)
    for name in ("config.yaml", "figures/loss.png", "generator.ckpt"):
        assert tracking.download(run_id, name).samefile(folder / name), name
    own = folder / "images" / "proxy-samples-000020.png"
    assert [path.samefile(own) for path in sorted(tracking.download(run_id, "images").glob("*.png"))] == [True]
    assert not [path for path in tracking.download(run_id, "images").parent.rglob("*") if path.name.endswith(".part")]


def test_a_file_that_is_replaced_does_not_change_what_another_run_keeps(tracking: Tracking) -> None:
    folder = tracking.address.home / "runs" / "a"
    first = _record(tracking, folder)
    other = both(tracking.run("b", "train", key="b"), RunDirectory(folder))
    other.text("seed: 8\n", "config.yaml")
    other.finish("completed")
    found = [tracking.download(run, "config.yaml").read_text() for run in (first, other.run_id)]
    assert found == ["seed: 7\n", "seed: 8\n"]


def test_a_file_from_outside_the_home_is_copied(tracking: Tracking, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("1")
    run = tracking.run("a", "train", key="a")
    run.artifact(tmp_path / "mine")
    run.finish("completed")
    (tmp_path / "mine").write_text("2")
    assert tracking.download(run.run_id, "mine").read_text() == "1"


def test_a_file_system_without_links_gets_copies(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    folder = tracking.address.home / "runs" / "a"
    run_id = _record(tracking, folder)
    kept = tracking.download(run_id, "generator.ckpt")
    assert kept.read_bytes() == b"weights"
    assert not kept.samefile(folder / "generator.ckpt")


def test_putting_a_file_or_folder_where_it_is_already_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("1")
    for _ in range(2):
        files.put(tmp_path / "a", tmp_path / "c")
    files.put(tmp_path / "a", tmp_path / "a")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        *("a", "a/b", "a/b/file"),
        *("c", "c/b", "c/b/file"),
    ]
    assert (tmp_path / "c" / "b" / "file").samefile(tmp_path / "a" / "b" / "file")


def test_a_registered_model_is_linked_and_keeps_its_files_when_the_folder_gets_others(tracking: Tracking) -> None:
    model = tracking.address.home / "runs" / "a" / "model"
    files.write_bytes(model / "generator.ckpt", b"weights")
    runs = [tracking.run(key, "promotion", key=key) for key in "ab"]
    for run in runs:
        run.finish("completed")
    tracking.register(runs[0].run_id, model, "net")
    first = tracking.resolve_model("models:/net/1") / "generator.ckpt"
    assert first.samefile(model / "generator.ckpt")
    files.write_bytes(model / "generator.ckpt", b"better")
    tracking.register(runs[1].run_id, model, "net")
    assert first.read_bytes() == b"weights"
    assert (tracking.resolve_model("models:/net@champion") / "generator.ckpt").read_bytes() == b"better"
