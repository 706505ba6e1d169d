"""What every data source must do. A new source joins by adding a small true-format sample to SMALL_SOURCES."""

import os
from pathlib import Path

import numpy as np
import pytest
from source_formats import SMALL_SOURCES, Case

from degas_ray.data import SOURCES, Batches, Pack, check, list_sources, open_pack, prepare, summary
from degas_ray.errors import DataError


def test_every_source_has_a_sample() -> None:
    assert set(SMALL_SOURCES) == set(SOURCES)


@pytest.fixture(params=sorted(SMALL_SOURCES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return SMALL_SOURCES[request.param](tmp_path / "originals")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def make(case: Case, home: Path, **options: object) -> Pack:
    """Prepare a small sample, which is less than what was published."""
    return prepare(case.source, home, data_dir=case.data_dir, allow_incomplete=True, **options)  # type: ignore[arg-type]


def test_pack_has_the_promised_form(case: Case, home: Path) -> None:
    pack = make(case, home)
    assert pack.images.shape == (case.count, case.resolution, case.resolution, 3)
    assert pack.images.dtype == np.uint8
    assert not pack.images.flags.writeable
    assert pack.resolution == case.resolution
    assert len(pack.classes) == case.classes
    if case.classes:
        assert pack.labels is not None
        assert pack.labels.dtype == np.int64
        assert set(pack.labels.tolist()) == set(range(case.classes))
    else:
        assert pack.labels is None
    assert check(pack) == ()
    assert summary(pack)["images"] == case.count


def test_nothing_is_written_outside_home_and_no_part_is_left(case: Case, home: Path) -> None:
    root = home.parent
    before = {path for path in root.rglob("*") if path.is_file()}
    pack = make(case, home)
    assert {path for path in root.rglob("*") if path.is_file()} - before == {pack.path}
    assert pack.path.parent == home / "packs"


def test_second_call_reuses_the_pack(case: Case, home: Path) -> None:
    first = make(case, home)
    stamp = first.path.stat().st_mtime_ns
    second = make(case, home)
    assert second.path == first.path
    assert second.path.stat().st_mtime_ns == stamp
    assert second.fingerprint == first.fingerprint


def test_two_homes_agree_on_content(case: Case, tmp_path: Path) -> None:
    first, second = make(case, tmp_path / "a"), make(case, tmp_path / "b")
    assert first.fingerprint == second.fingerprint
    np.testing.assert_array_equal(first.images, second.images)


def test_resolution_is_obeyed_and_packed_apart(case: Case, home: Path) -> None:
    usual, small = make(case, home), make(case, home, resolution=8)
    assert small.images.shape[1:] == (8, 8, 3)
    assert small.path != usual.path
    assert small.fingerprint != usual.fingerprint


def test_limit_is_obeyed_and_progress_reported(case: Case, home: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    pack = make(case, home, limit=10, on_progress=lambda done, total: seen.append((done, total)))
    assert len(pack) == 10
    assert seen[-1] == (10, 10)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_limit_above_the_count_takes_all(case: Case, home: Path) -> None:
    assert len(make(case, home, limit=100_000)) == case.count


def test_changed_originals_are_packed_anew(case: Case, home: Path) -> None:
    originals = [path for path in (home.parent / "originals").rglob("*") if path.is_file()]
    first = make(case, home)
    for path in originals:
        os.utime(path, ns=(1, 1))
    second = make(case, home)
    assert (second.path == first.path) is (not originals)
    assert second.fingerprint == first.fingerprint


def test_pack_opens_alone_and_feeds_batches(case: Case, home: Path) -> None:
    pack = open_pack(make(case, home).path)
    batch = Batches(pack, 5, seed=3).next()
    assert batch.images.shape == (5, 3, case.resolution, case.resolution)
    assert (batch.labels is None) is (case.classes == 0)


@pytest.mark.parametrize("options", [{"resolution": 30}, {"resolution": 0}, {"resolution": 4096}, {"limit": 0}])
def test_impossible_requests_are_refused_and_write_nothing(case: Case, home: Path, options: dict[str, int]) -> None:
    with pytest.raises(DataError, match="expected"):
        make(case, home, **options)
    assert not home.exists()


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.downloads or source.local])
def test_missing_originals_name_the_file_and_the_place(name: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    local = SOURCES[name].local
    with pytest.raises(DataError) as error:
        prepare(f"{name}:{empty}" if local else name, tmp_path / "home", data_dir=None if local else empty)
    assert str(empty) in str(error.value)
    assert "expected" in str(error.value) or "put " in str(error.value) or "no .parquet" in str(error.value)
    assert not (tmp_path / "home").exists()


def test_list_names_every_source_and_its_packs(case: Case, home: Path) -> None:
    pack = make(case, home)
    rows = {row["source"]: row for row in list_sources(home)}
    assert set(rows) == set(SOURCES)
    assert rows[case.source.partition(":")[0]]["packs"] == [str(pack.path)]
