"""The programs of ``examples/``, run from top to bottom at tiny sizes."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_study import tiny_config

from degas_ray.files import write_json
from degas_ray.gan import build_generator, save_generator
from degas_ray.home import StudyFolder
from degas_ray.results import Promotion, Row
from degas_ray.scores import Protocol, Scores
from degas_ray.space import PUBLISHED, Genotype

ROOT = Path(__file__).parents[2]
SMALL = ("--steps", "2", "--samples", "20")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def run(name: str, *arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")


def test_images_to_a_score(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("one_page.py", "--home", home, *SMALL)
    genotype, score = capsys.readouterr().out.splitlines()
    assert Genotype.parse(genotype).n == 1
    assert score.startswith("Fréchet distance ")
    assert score.endswith(" (efficientnet-lite0 features, 20 samples against 20 real images)")


def test_a_study_with_an_objective_of_ones_own(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("own_objective.py", "--home", home, "--trials", 2, *SMALL)
    best, genotype = capsys.readouterr().out.splitlines()
    assert 0.0 <= float(best.split()[1]) <= 1.0
    assert "'search.lr': " in best
    assert Genotype.parse(genotype).n == 1


def test_reading_a_finished_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(tmp_path)
    run("read_a_study.py", "digits-1", "--home", tmp_path, "--out", tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "trial 1: completed, 900.5, 2,000 parameters",
        "trial 0: completed, 1,234.6, 1,000 parameters",
    ]
    assert lines[2:] == PUBLISHED["degas-stl10"].describe().splitlines()
    assert (tmp_path / "winner.svg").read_text().count("sep_conv") > 0
    assert np.load(tmp_path / "samples.npy").shape == (64, 16, 16, 3)


def finished(home: Path) -> None:
    """Write a study of two trials whose champion was promoted."""
    folder, config = StudyFolder(home, "digits-1"), tiny_config()
    spent = {"seconds": 60.0, "gpu_seconds": 0.0}
    state: dict[str, Any] = {"version": 1, "name": "digits-1", "trials": 2, "spent": spent, "run_id": "0" * 32}
    write_json(folder.file, {**state, "status": "finished", "config": config.model_dump(mode="json")})
    best = str(PUBLISHED["degas-stl10"])
    for number, (genotype, fid) in enumerate([(str(PUBLISHED["degas-cifar10"]), 1234.56), (best, 900.5)]):
        size = {"parameters": 1000 * (number + 1), "macs": 5}
        row = Row(number, "completed", {}, 7, genotype, n=1, scores=scores(fid), distances=(fid,), **size)
        write_json(folder.trial(number) / "result.json", row.to_json())
    champion = folder.root / "promotion" / PUBLISHED["degas-stl10"].hash
    save_generator(champion / "generator.ckpt", build_generator(best, config.full, 16), best, config.full)
    result = Promotion(best, str(champion), "completed", scores(300.0), 2000, 5, "")
    write_json(champion / "result.json", vars(result))


def scores(fid: float) -> dict[str, Any]:
    protocol = Protocol("efficientnet-lite0", "w", "r", 20, 20, 2, "f", "batch", "last", 1, 0, "0")
    return Scores(fid, 0.1, 1.0, 0.1, 0.5, 0.5, 0.5, 0.5, protocol).to_json()


def test_the_readme_shows_the_first() -> None:
    program = (ROOT / "examples" / "one_page.py").read_text(encoding="utf-8")
    assert f"```python\n{program}```" in (ROOT / "README.md").read_text(encoding="utf-8")
