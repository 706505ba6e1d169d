"""Precision by machine: what auto asks, what it remembers, and that loops and resumed runs never see it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_study import tiny_config

from degas_ray import precision
from degas_ray.config import Config, resolve
from degas_ray.data import Pack, prepare
from degas_ray.errors import DegasWarning, InputError, Interrupted
from degas_ray.gan import build_generator, train
from degas_ray.precision import SECTIONS, Pace, pace, settled, words
from degas_ray.search import search
from degas_ray.study import make_plan, run_search, run_training

UNITS = {"flags\t\t: fpu avx512_bf16 amx_bf16": ("amx_bf16", "avx512_bf16"), "Features\t: fp bf16 sve": ("bf16",)}


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Make this machine's processor one that Linux describes so."""

    def become(flags: str) -> None:
        file = tmp_path / "cpuinfo"
        file.write_text(f"processor\t: 0\nmodel name\t: Some Processor 9000\n{flags}\n\nprocessor\t: 1\n")
        monkeypatch.setattr(precision, "_CPU_FACTS", file)

    return become


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return prepare("digits", tmp_path / "packs", limit=64)


def every(value: str) -> Config:
    return tiny_config(**{f"{name}__precision": value for name in SECTIONS})


def remember(home: Path, best: str) -> None:
    """Have the cache of a home say that a precision is the faster one, at every width and with any threads."""
    times = {"float32": 3.0, "bf16": 1.0} if best == "bf16" else {"float32": 1.0, "bf16": 3.0}
    place, units = torch.device("cpu"), ("avx512_bf16",)
    known = {
        precision._key(place, units, width, threads): {"units": units, **times}
        for width in precision.WIDTHS
        for threads in range(1, 65)
    }
    (home / "cache").mkdir(parents=True, exist_ok=True)
    (home / "cache" / precision.FILE).write_text(json.dumps(known))


@pytest.mark.parametrize(("flags", "units"), [*UNITS.items(), ("flags\t\t: fpu avx512f", ()), ("", ())])
def test_units_are_those_that_the_processor_names(
    cpu: Callable[[str], None], flags: str, units: tuple[str, ...]
) -> None:
    cpu(flags)
    assert precision._units(torch.device("cpu")) == units


def test_without_a_unit_nothing_is_measured_and_auto_is_float32(cpu: Callable[[str], None], tmp_path: Path) -> None:
    cpu("flags\t\t: fpu avx512f")
    assert pace(tmp_path / "cache", device="cpu") == Pace()
    assert {getattr(settled(every("auto"), tmp_path), name).precision for name in SECTIONS} == {"float32"}
    assert not (tmp_path / "cache").exists()


def test_a_measurement_is_made_once_for_a_processor_its_threads_and_a_width(
    cpu: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu("flags\t\t: avx512_bf16")
    monkeypatch.setattr(precision, "SECONDS", 0.01)
    threads = torch.get_num_threads()
    first = pace(tmp_path, device="cpu", width=14, threads=1)
    assert first.units == ("avx512_bf16",)
    assert min(first.float32, first.bf16) > 0
    assert torch.get_num_threads() == threads
    known = json.loads((tmp_path / precision.FILE).read_text())
    assert list(known) == [f"Some Processor 9000, 1 threads, avx512_bf16, torch {torch.__version__}, width 16"]
    assert pace(tmp_path, device="cpu", width=16, threads=1) == first
    pace(tmp_path, device="cpu", width=100, threads=2)
    assert [key.rpartition(" ")[2] for key in json.loads((tmp_path / precision.FILE).read_text())] == ["16", "128"]


@pytest.mark.parametrize(
    ("float32", "bf16", "best"), [(2.0, 1.0, "bf16"), (1.0, 2.0, "float32"), (1.05, 1.0, "float32")]
)
def test_auto_takes_bf16_where_it_is_clearly_faster(float32: float, bf16: float, best: str) -> None:
    assert Pace(("avx512_bf16",), float32, bf16).best == best


def test_a_damaged_cache_is_said_and_measured_anew(
    cpu: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu("flags\t\t: avx512_bf16")
    monkeypatch.setattr(precision, "SECONDS", 0.01)
    (tmp_path / precision.FILE).write_text("{")
    with pytest.warns(DegasWarning, match="measured anew"):
        assert pace(tmp_path, device="cpu").float32 > 0
    assert len(json.loads((tmp_path / precision.FILE).read_text())) == 1


def test_what_is_named_stays(cpu: Callable[[str], None], tmp_path: Path) -> None:
    cpu("flags\t\t: avx512_bf16")
    remember(tmp_path, "bf16")
    config = settled(tiny_config(search__precision="auto", full__precision="float32"), tmp_path)
    assert words(config) == "search bf16, proxy float32, full float32, scores float32"
    assert settled(every("float32"), tmp_path) == every("float32")


def test_a_gpu_that_is_not_here_has_no_units(tmp_path: Path) -> None:
    assert pace(tmp_path, device="cuda:63") == Pace()


def test_loops_refuse_auto(pack: Pack) -> None:
    config = every("auto")
    with pytest.raises(InputError, match=r"precision: got auto, expected float32 or bf16"):
        train(config.full, build_generator("degas-cifar10", config.full, 16), pack, seed=0)
    with pytest.raises(InputError, match=r"search.precision: got auto"):
        search(config.search, pack, seed=0)


def test_a_run_records_what_it_used_and_keeps_it(cpu: Callable[[str], None], tmp_path: Path) -> None:
    cpu("flags\t\t: avx512_bf16")
    remember(tmp_path, "bf16")
    with pytest.raises(Interrupted):
        run_training(every("auto"), "degas-cifar10", tmp_path, name="one", should_stop=lambda: True)
    remember(tmp_path, "float32")
    run = run_training(every("auto"), "degas-cifar10", tmp_path, name="one", resume=True)
    kept = resolve(run.folder / "config.yaml")
    assert {getattr(kept, name).precision for name in SECTIONS} == {"bf16"}
    assert json.loads((run.folder / "tags.json").read_text())["degas.precision"] == words(kept)
    assert json.loads((run.folder / "params.json").read_text())["full.precision"] == "bf16"
    assert run.scores.protocol.precision == "bf16"
    other = run_search(every("auto"), tmp_path, name="two")
    assert {getattr(resolve(other.folder / "config.yaml"), name).precision for name in SECTIONS} == {"float32"}


def test_a_plan_has_the_precision_that_its_study_would_have(cpu: Callable[[str], None], tmp_path: Path) -> None:
    cpu("flags\t\t: avx512_bf16")
    remember(tmp_path, "bf16")
    assert make_plan(every("auto"), tmp_path).config == every("bf16")
