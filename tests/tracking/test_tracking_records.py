"""Run directories, names, and one tracker for several."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from degas_ray.errors import InputError
from degas_ray.figures import curve
from degas_ray.tracking import RunDirectory, both
from degas_ray.tracking.record import safe_name


def test_metrics_are_lines_that_read_back(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.metrics({"search/loss": 0.5}, 10)
    run.metrics({"search/loss": float("nan"), "search/margin": np.float32(0.25)}, 20)
    first, second = run.rows()
    assert (first["step"], first["search/loss"]) == (10, 0.5)
    assert np.isnan(second["search/loss"])
    assert second["search/margin"] == 0.25


def test_a_second_opening_repeats_no_step_and_drops_a_torn_line(tmp_path: Path) -> None:
    first = RunDirectory(tmp_path)
    first.metrics({"loss": 1.0}, 1)
    first.metrics({"loss": 2.0}, 2)
    with (tmp_path / "stats.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')  # the process died here
    second = RunDirectory(tmp_path)
    second.metrics({"loss": 2.5, "margin": 0.1}, 2)
    second.metrics({"loss": 3.0}, 3)
    assert [(row["step"], row.get("loss"), row.get("margin")) for row in second.rows()] == [
        (1, 1.0, None),
        (2, 2.0, None),
        (2, None, 0.1),
        (3, 3.0, None),
    ]


def test_params_stay_and_tags_change(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.params({"seed": 1, "lr": 0.1})
    run.params({"seed": 2, "width": 16})
    run.tags({"degas.genotype": "a"})
    run.tags({"degas.genotype": "b"})
    run.finish("collapsed")
    assert json.loads((tmp_path / "params.json").read_text()) == {"seed": 1, "lr": 0.1, "width": 16}
    tags = json.loads((tmp_path / "tags.json").read_text())
    assert tags == {"degas.genotype": "b", "degas.outcome": "collapsed"}


def test_artifacts_land_in_the_folder(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "weights").write_bytes(b"1")
    run = RunDirectory(tmp_path / "run")
    run.text("seed: 0\n", "config.yaml")
    run.artifact(source, "models")
    run.artifact(source / "weights")
    run.artifact(run.path / "weights")  # it is there already
    run.image(np.full((8, 8, 3), 7, np.uint8), "proxy/samples", 20)
    run.figure(curve([{"step": 1, "loss": 2.0}], "step", ["loss"]), "figures/loss.svg")
    found = sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())
    expected = [
        "config.yaml",
        "figures/loss.svg",
        "images/proxy-samples-000020.png",
        "models/source/weights",
        "weights",
    ]
    assert found == expected
    with Image.open(run.path / "images/proxy-samples-000020.png") as image:
        assert image.size == (8, 8)
        assert image.getpixel((0, 0)) == (7, 7, 7)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "a/../../b", "a\\b", "a\0"])
def test_names_cannot_leave_the_run(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="relative path"):
        safe_name(name)
    with pytest.raises(InputError):
        RunDirectory(tmp_path).text("x", name)


def test_an_unknown_outcome_is_our_own_fault(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'done'.*completed, pruned, diverged"):
        RunDirectory(tmp_path).finish("done")


def test_both_write_to_both(tmp_path: Path) -> None:
    first, second = RunDirectory(tmp_path / "a"), RunDirectory(tmp_path / "b")
    one = both(first, second)
    one.params({"lr": 1})
    one.metrics({"loss": 1.0}, 1)
    one.tags({"x": "y"})
    one.text("t", "t.txt")
    one.image(np.zeros((4, 4, 3), np.uint8), "k", 1)
    one.figure(curve([{"step": 1, "loss": 2.0}], "step", ["loss"]), "loss.png")
    one.artifact(first.path / "t.txt", "copies")
    one.finish("completed")
    names = [sorted(str(p.relative_to(run.path)) for p in run.path.rglob("*")) for run in (first, second)]
    assert one.run_id == "a"
    assert names[0] == names[1]
    assert len(names[0]) == 9
