"""``degas-ray show`` against the paper's sizes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from degas_ray.cli.main import main
from degas_ray.space import PUBLISHED


def run(*args: str | Path):
    return CliRunner().invoke(main, ["show", *map(str, args)])


def facts(*args: str | Path) -> dict:
    result = run(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("name", "resolution", "millions"),
    [("degas-cifar10", 32, 1.65), ("degas-stl10", 32, 1.17), ("degas-stl10", 48, 1.51)],
)
def test_parameters_are_the_papers(name: str, resolution: int, millions: float) -> None:
    found = facts(name, "--width", "128", "--latent-dim", "128", "--resolution", str(resolution))
    assert abs(found["parameters"] / 1e6 / millions - 1) < 0.01
    assert (found["genotype"], found["hash"], found["n"]) == (str(PUBLISHED[name]), PUBLISHED[name].hash, 1)


def test_small_enough_to_count_by_hand() -> None:
    # ResNet generator, width 2, latent 3, 8x8 from 1x1: linear 3*2 + 2; per block two BN (4 each), two conv3
    # (2*2*9 + 2 each) and conv1 (2*2 + 2); tail BN 4 and conv3 to RGB (2*3*9 + 3).
    found = facts("resnet", "--width", "2", "--latent-dim", "3", "--resolution", "8")
    assert found["parameters"] == 8 + 3 * (8 + 2 * 38 + 6) + 4 + 57
    # Linear 6; per block at sizes 2, 4, 8 two conv3 of 36 a pixel, conv1 of 4 a pixel of the smaller map; tail 54.
    assert found["macs"] == 6 + sum(2 * 36 * s * s + 4 * (s // 2) ** 2 for s in (2, 4, 8)) + 54 * 64
    assert found["name"] == "resnet"


def test_json_reads_back_as_a_file(tmp_path: Path) -> None:
    file = tmp_path / "genotype.json"
    file.write_text(run("random", "--seed", "5", "-n", "2", "--json").stdout)
    again = facts(file)
    assert (
        again["genotype"]
        == facts("random", "--seed", "5", "-n", "2")["genotype"]
        != facts("random", "-n", "2")["genotype"]
    )
    assert facts(again["genotype"])["hash"] == again["hash"]


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_diagram(suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"diagram{suffix}"
    assert facts("degas-cifar10-n2", "--out", out, "--home", tmp_path / "home")["out"] == str(out)
    if suffix == ".svg":
        assert out.read_text().lstrip().startswith("<?xml")
    else:
        assert min(Image.open(out).size) > 100


def test_words() -> None:
    text = run("degas-stl10", "--resolution", "48").stdout
    assert "genotype       N1a=sep_conv_5x5(U0); " in text
    assert "Stage 2: N2a is avg_pool_3x3 of U1; U2 is deconv_4x4 of N2a." in text
    assert "(1.51 M)" in text


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["degas-cifar"], "expected a published name (degas-cifar10, degas-cifar10-n2, degas-stl10)"),
        (["N1a=conv_9x9(U0)"], "is no genotype"),
        (["nowhere.json"], "got 'nowhere.json'"),
        (
            ["foo"],
            "random, resnet, dcgan, a genotype such as 'N1a=conv_3x3(U0); U1=...', a JSON file or an MLflow run id\n",
        ),
        (["resnt"], "or an MLflow run id; did you mean resnet?"),
        (["degas-stl"], "or an MLflow run id; did you mean degas-stl10?"),
        (["0123456789abcdef0123456789abcdef"], "holds no runs; give the right --home"),
        (["degas-cifar10", "--resolution", "30"], "resolution: got 30, expected a multiple of 8, such as 32"),
        (["degas-cifar10", "--width", "0"], "Invalid value for '--width'"),
        (["degas-cifar10", "--out", "x.gif"], "expected a name that ends in .svg or .png"),
        (["resnet", "--out", "x.png"], "resnet is designed by hand and has no diagram"),
        (["random", "--seed", "-1"], "Invalid value for '--seed': got -1"),
        (["degas-cifar10", "--home", __file__], "is a file; give a directory"),
    ],
)
def test_wrong_input(args: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert part in result.stderr
    assert list(tmp_path.iterdir()) == []
