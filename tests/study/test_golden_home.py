"""A home that an earlier release wrote opens, resumes and reports."""

import json
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from degas_ray.cli.main import main
from degas_ray.space import Genotype
from degas_ray.tracking import open_tracking

ARCHIVE = Path(__file__).parents[1] / "golden" / "home.tar.xz"
WRITTEN_AT = "/tmp/golden-home"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("golden")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(home, filter="data")
    for suffix in ("json", "jsonl", "yaml"):
        for path in home.rglob(f"*.{suffix}"):
            path.write_text(path.read_text().replace(WRITTEN_AT, str(home)))
    with sqlite3.connect(home / "mlflow.db") as database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            for column in database.execute(f"pragma table_info({table})").fetchall():
                name, kind = column[1], column[2]
                if kind.startswith(("VARCHAR", "TEXT")):
                    database.execute(f"update {table} set {name} = replace({name}, ?, ?)", (WRITTEN_AT, str(home)))
    return home


def run(home: Path, *command: str) -> str:
    result = CliRunner().invoke(main, [*command, "--home", str(home)])
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def written(home: Path, study: str) -> list[Any]:
    return [json.loads(path.read_text()) for path in sorted((home / "studies" / study).glob("trials/*/result.json"))]


def test_a_finished_study_opens_with_the_numbers_that_it_was_written_with(home: Path) -> None:
    shown = json.loads(run(home, "tune", "--resume", "done", "--json", "--quiet"))
    assert [trial["distances"] for trial in shown["trials"]] == [row["distances"] for row in written(home, "done")]
    (promoted,) = (home / "studies" / "done" / "promotion").glob("*/result.json")
    assert shown["promotion"]["scores"]["fid"] == json.loads(promoted.read_text())["scores"]["fid"]


def test_it_reports_and_its_runs_are_in_mlflow(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    run(home, "report", "done", "--out", str(out))
    page = out.read_text()
    for row in written(home, "done"):
        assert Genotype.parse(row["genotype"]).hash in page
    assert len(open_tracking(home).runs(role="trial")) == 3 + 3
    assert "3,963" in run(home, "compare", "done", "train-1")


@pytest.mark.parametrize("which", ["models:/degas-ray-done@champion", "done", "train-1"])
def test_its_generators_draw(home: Path, tmp_path: Path, which: str) -> None:
    run(home, "sample", which, "-n", "2", "--out", str(tmp_path / "samples"))
    assert len(list((tmp_path / "samples").glob("*.png"))) == 2


def test_a_search_and_a_training_that_ended_are_resumed(home: Path) -> None:
    genotype = json.loads((home / "runs" / "search-1" / "genotype.json").read_text())["genotype"]
    assert json.loads(run(home, "search", "--resume", "search-1", "--json"))["genotype"] == genotype
    scores = json.loads((home / "runs" / "train-1" / "scores.json").read_text())
    assert json.loads(run(home, "train", "--resume", "train-1", "--json"))["scores"]["fid"] == scores["fid"]


def test_a_stopped_study_goes_on(home: Path) -> None:
    before = written(home, "stopped")
    shown = json.loads(run(home, "tune", "--resume", "stopped", "--json", "--quiet"))
    assert len(before) == 2
    assert written(home, "stopped")[:2] == before
    assert [trial["number"] for trial in shown["trials"]] == [0, 1, 2, 3]
    assert all(trial["distances"] for trial in shown["trials"])
    assert shown["promotion"]["scores"]["fid"] > 0
