import json
import multiprocessing
from pathlib import Path

import pytest

from degas_ray.errors import InputError
from degas_ray.files import read_json, write_json
from degas_ray.home import StudyFolder, check_name, hold, hold_new, list_studies, new_studies
from degas_ray.results import Row

ROW = Row(
    number=3,
    outcome="completed",
    params={"search.n": 2},
    seed=7,
    genotype="N1a=conv_3x3(U0)",
    n=2,
    scores={"fid": 10.0},
    distances=(10.0, 14.0),
    parameters=1000,
    macs=5000,
    entropy=(1.0, 0.25),
    seconds=12.5,
    milestones={"100": 20.0},
    run_id="r",
)


def test_a_row_survives_the_disk(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "s")
    write_json(folder.trial(3) / "result.json", ROW.to_json())
    assert folder.rows() == [ROW]


def test_a_row_that_lacks_something_is_named(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "s")
    content = ROW.to_json()
    del content["outcome"]
    write_json(folder.trial(3) / "result.json", content)
    with pytest.raises(InputError, match=r"0003/result.json is not a file that degas-ray wrote: outcome: field requ"):
        folder.rows()


def test_objectives_are_the_mean_distance_and_the_sizes() -> None:
    assert ROW.objectives(("fid", "parameters", "macs")) == (12.0, 1000.0, 5000.0)
    assert Row(0, "diverged", {}, 1).objectives(("fid",)) == ()


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "study.json"
    for content in ("{", "[1]", ""):
        file.write_text(content)
        with pytest.raises(InputError, match=r"study\.json is not a file that degas-ray wrote"):
            read_json(file)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert read_json(file) == {"a": 1}


def test_a_missing_study_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    write_json(StudyFolder(tmp_path, "digits-1").file, {"version": 1})
    with pytest.raises(InputError, match=r"no study 'digits-2' in .*; there is: digits-1"):
        StudyFolder(tmp_path, "digits-2").read()
    assert list_studies(tmp_path) == ["digits-1"]


def test_a_study_of_another_release_is_refused(tmp_path: Path) -> None:
    write_json(StudyFolder(tmp_path, "old").file, {"version": 0})
    with pytest.raises(InputError, match="has version 0, this degas-ray reads 1"):
        StudyFolder(tmp_path, "old").read()


def test_new_names_are_free_and_plain(tmp_path: Path) -> None:
    assert next(new_studies(tmp_path, "digits")) == tmp_path / "studies" / "digits-1"
    (tmp_path / "studies" / "digits-1" / "trials").mkdir(parents=True)
    with hold(tmp_path / "studies" / "digits-2"):
        pass  # it was given up before anything was begun
    assert next(new_studies(tmp_path, "digits")).name == "digits-2"
    assert next(new_studies(tmp_path, "folder:/data/My Photos!")).name == "my-photos-1"
    for name in ("digits-1", "a.b_c"):
        check_name(name)
    for name in ("", "../x", "a/b", ".hidden", "a b", "x" * 101):
        with pytest.raises(InputError, match="name: got"):
            check_name(name)


def test_rows_are_those_with_a_result(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "s")
    write_json(folder.trial(3) / "result.json", ROW.to_json())
    write_json(folder.trial(1) / "spent.json", {"seconds": 1.0})
    assert folder.rows() == [ROW]
    assert folder.row(1) is None


def _hold(folder: str, held: "multiprocessing.synchronize.Event") -> None:
    with hold(Path(folder)):
        held.set()
        multiprocessing.Event().wait()


def test_a_folder_is_held_by_one_process_until_it_dies(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), held))
    other.start()
    assert held.wait(30)
    with hold(tmp_path, seconds=0) as free:
        assert not free
    other.kill()
    other.join()
    with hold(tmp_path, seconds=5) as free:
        assert free


def test_a_new_folder_is_one_that_nobody_holds_and_nothing_was_begun_in(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("begun", "held", "free", "next")]
    write_json(folders[0] / "study.json", {})
    with hold(folders[1]), hold_new(folders, "study.json") as first, hold_new(folders, "study.json") as second:
        assert (first, second) == (folders[2], folders[3])
        with hold_new(folders, "study.json") as third:
            assert third is None


def test_json_is_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1]}
