"""``degas-ray judge``, and the second judge's line in what other verbs print."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from degas_ray.cli.arguments import settings_of
from degas_ray.cli.main import main


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def test_it_says_how_accurate_the_classifier_is_and_where_it_is_kept(home: Path) -> None:
    result = run("judge", "--dataset", "digits", "--limit", "300", "--home", home, "--json")
    facts = json.loads(result.stdout)
    assert (facts["training"], facts["held_out"], facts["classes"], facts["features"]) == (240, 60, 10, 64)
    assert facts["accuracy"] > 0.9
    assert Path(facts["path"]).parent == home / "cache" / "judges"
    assert Path(facts["path"]).is_file()
    written = Path(facts["path"]).stat().st_mtime_ns
    text = run("judge", "--dataset", "digits", "--limit", "300", "--home", home, "--quiet").stdout
    assert f"{100 * facts['accuracy']:.1f} % of 60 held-out images" in text
    assert Path(facts["path"]).stat().st_mtime_ns == written


def test_too_few_images_are_refused_with_what_to_do(home: Path) -> None:
    result = run("judge", "--dataset", "digits", "--limit", "40", "--home", home)
    assert result.exit_code == 2
    assert "40 images here; none is held out of fewer than 50" in result.stderr
    assert "use more images" in result.stderr


def test_a_pack_is_scored_by_both_judges(home: Path) -> None:
    run("data", "prepare", "digits", "--limit", "300", "--home", home, "--quiet")
    pack = next((home / "packs").glob("digits-*300*.arrow"))
    args = ["evaluate", pack, "--dataset", "digits", "--limit", "300", "--home", home]
    scores = json.loads(run(*args, "--json").stdout)
    second = scores["second"]
    assert second["kind"] == "classifier"
    assert second["numbers"]["recognised"] == 10
    assert second["protocol"]["n_real"] == 60
    text = run(*args, "--quiet").stdout
    assert "10 of 10 classes recognised" in text
    assert "300 samples against 60 held-out images" in text


def test_where_no_image_is_held_out_the_second_judge_says_so(home: Path) -> None:
    run("data", "prepare", "digits", "--limit", "40", "--home", home, "--quiet")
    pack = next((home / "packs").glob("digits-*40*.arrow"))
    text = run("evaluate", pack, "--dataset", "digits", "--limit", "40", "--home", home, "--quiet").stdout
    assert "not measured: no held-out images" in text


def test_a_split_is_the_judge_s_and_the_evaluation_s_too(tmp_path: Path) -> None:
    for part, count in (("train", 60), ("test", 80)):
        for index in range(count):
            folder = tmp_path / "set" / part / "ab"[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    asked = ["--dataset", f"folder:{tmp_path / 'set'}", "--split", "test", "--resolution", "8"]
    facts = json.loads(run("judge", *asked, "--home", tmp_path / "h", "--json").stdout)
    assert (facts["training"], facts["held_out"]) == (64, 16)
    trained = [*asked, "--steps", "1", "--width", "2", "--critic-width", "2", "--set", "scores.samples=20"]
    assert run("train", "resnet", *trained, "--name", "r", "--home", tmp_path / "h", "--quiet").exit_code == 0
    own = settings_of(tmp_path / "h" / "runs" / "r" / "generator.ckpt")
    assert (own["split"], own["allow_incomplete"]) == ("test", False)
