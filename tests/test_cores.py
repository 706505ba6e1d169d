"""The cores that a process may use, by affinity and by the control groups of both versions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from degas_ray import cores
from degas_ray.cores import cpu_limit, usable_cores


def group(root: Path, **files: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (root / name.replace("__", ".")).write_text(content)


def limit(tmp_path: Path, membership: str) -> float | None:
    file = tmp_path / "cgroup"
    file.write_text(membership)
    return cpu_limit(file, tmp_path / "fs")


def test_version_2_takes_the_tightest_group_around_the_process(tmp_path: Path) -> None:
    group(tmp_path / "fs/user.slice", cpu__max="150000 100000\n")
    group(tmp_path / "fs/user.slice/run.scope", cpu__max="max 100000\n")
    assert limit(tmp_path, "0::/user.slice/run.scope\n") == 1.5
    assert limit(tmp_path, "0::/system.slice\n") is None


def test_version_2_in_a_container_that_sees_its_group_as_the_root(tmp_path: Path) -> None:
    group(tmp_path / "fs", cpu__max="50000 100000\n")
    assert limit(tmp_path, "0::/\n") == 0.5


@pytest.mark.parametrize("name", ["cpu", "cpu,cpuacct"])
def test_version_1_in_a_container_that_sees_its_path_on_the_host(name: str, tmp_path: Path) -> None:
    group(tmp_path / "fs/cpu", cpu__cfs_quota_us="300000\n", cpu__cfs_period_us="100000\n")
    assert limit(tmp_path, f"4:memory:/docker/12ab\n3:{name}:/docker/12ab\n0::/docker/12ab\n") == 3.0


def test_version_1_without_a_limit(tmp_path: Path) -> None:
    group(tmp_path / "fs/cpu", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert limit(tmp_path, "3:cpu:/\n") is None


def test_no_control_groups(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path / "none", tmp_path / "fs") is None


@pytest.mark.parametrize(("allowed", "quota", "expected"), [(8, 2.5, 2), (2, 8.0, 2), (4, 0.3, 1), (4, None, 4)])
def test_the_tighter_of_affinity_and_limit_counts(
    allowed: int, quota: float | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)))
    monkeypatch.setattr(cores, "cpu_limit", lambda: quota)
    assert usable_cores() == expected


def test_a_process_has_as_many_threads_as_its_group_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group(tmp_path / "fs", cpu__max="100000 100000")
    (tmp_path / "cgroup").write_text("0::/\n")
    monkeypatch.setattr(cores, "MEMBERSHIP", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "GROUPS", tmp_path / "fs")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    cores.keep_to_the_limit()
    assert os.environ["OMP_NUM_THREADS"] == "7"
    monkeypatch.delenv("OMP_NUM_THREADS")
    cores.keep_to_the_limit()
    assert os.environ.pop("OMP_NUM_THREADS") == "1"


def test_the_module_prints_the_number_for_a_cluster_s_start_commands() -> None:
    done = subprocess.run([sys.executable, "-m", "degas_ray.cores"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{usable_cores()}\n"
