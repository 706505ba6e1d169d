"""search, train, evaluate, sample and export on the smallest real runs; one home for all of them."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from degas_ray.cli.arguments import find_generator
from degas_ray.cli.main import main
from degas_ray.data import open_pack
from degas_ray.space import Genotype

SMALL = {
    "limit": 64,
    "search": {"width": 4, "latent_dim": 4, "steps": 4, "batch": 16, "device": "cpu"},
    "full": {
        "width": 4, "latent_dim": 4, "critic_width": 4, "steps": 4, "batch": 8, "generator_batch": 8, "critic_steps": 1,
        "device": "cpu",
    },
    "scores": {"samples": 20, "real": 20, "splits": 2, "batch": 10},
}  # fmt: skip


def run(*args: str | Path):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def facts(*args: str | Path) -> dict:
    result = run(*args, "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "small.yaml").write_text(json.dumps(SMALL))
    return home


@pytest.fixture(scope="module")
def searched(home: Path) -> dict:
    return facts("search", "--home", home, "--config", home / "small.yaml", "--name", "s1")


@pytest.fixture(scope="module")
def trained(home: Path, searched: dict) -> dict:
    return facts("train", searched["run_id"], "--home", home, "--config", home / "small.yaml", "--name", "t1")


@pytest.fixture(scope="module")
def conditional(home: Path) -> dict:
    config = ("--home", home, "--config", home / "small.yaml", "--supervised", "--name", "t2", "--steps", "1")
    return facts("train", "dcgan", *config)


def test_search_prints_its_genotype_and_keeps_it(home: Path, searched: dict) -> None:
    assert str(Genotype.parse(searched["genotype"])) == searched["genotype"]
    assert json.loads((home / "runs" / "s1" / "genotype.json").read_text())["genotype"] == searched["genotype"]
    assert all(Path(picture).is_file() for picture in searched["pictures"].values())
    shown = facts_of_show(searched["run_id"], home)
    assert shown["genotype"] == searched["genotype"]


def facts_of_show(genotype: str, home: Path) -> dict:
    return json.loads(run("show", genotype, "--home", home, "--json").stdout)


def test_train_takes_a_run_id_and_prints_its_own(home: Path, searched: dict, trained: dict) -> None:
    assert (trained["generator"], trained["outcome"]) == (searched["genotype"], "completed")
    assert len(trained["run_id"]) == 32
    assert trained["scores"]["protocol"]["n_fake"] == 20
    assert (home / "runs" / "t1" / "generator.ckpt").is_file()


def test_a_finished_run_resumes_to_the_same_words(home: Path, trained: dict) -> None:
    result = run("train", "--resume", "t1", "--home", home)
    assert result.exit_code == 0
    assert f"run id     {trained['run_id']}" in result.stdout
    assert "Fréchet distance" in result.stdout
    assert f"degas-ray sample t1 --grid --out samples.png --home {home}" in result.stdout


def test_what_another_version_wrote_is_named(home: Path, trained: dict, tmp_path: Path) -> None:
    # A run directory alone is enough: what is not read is not needed.
    folder = tmp_path / "runs" / "older"
    folder.mkdir(parents=True)
    task = json.loads((Path(trained["folder"]) / "task.json").read_text())
    task["config"]["search"] |= {"belief": 1, "steps": 0}
    (folder / "task.json").write_text(json.dumps(task))
    result = run("train", "--resume", "older", "--home", tmp_path)
    assert result.exit_code == 2
    assert f"{folder / 'task.json'} has settings that this version of degas-ray does not take" in result.stderr
    assert "search.belief: no such key" in result.stderr
    assert "search.steps: " in result.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["task.json"]


def test_search_for_people(home: Path, searched: dict) -> None:
    result = run("search", "--resume", "s1", "--home", home)
    assert result.exit_code == 0
    assert f"As text: {searched['genotype']}" in result.stdout
    assert f"degas-ray train {searched['run_id']} --home {home}" in result.stdout


@pytest.mark.parametrize("what", ["t1", "folder", "file", "run id"])
def test_sample_finds_a_generator_by_any_of_its_names(home: Path, trained: dict, what: str, tmp_path: Path) -> None:
    folder = Path(trained["folder"])
    name = {"t1": "t1", "folder": folder, "file": folder / "generator.ckpt", "run id": trained["run_id"]}[what]
    out = tmp_path / "images"
    found = facts("sample", name, "--home", home, "-n", "12", "--batch", "5", "--seed", "3", "--out", out)
    files = sorted(out.iterdir())
    assert (found["images"], len(files), files[-1].name) == (12, 12, "000011.png")
    assert np.asarray(Image.open(files[0])).shape == (16, 16, 3)


def test_sample_writes_packs_and_grids_of_the_same_images(home: Path, trained: dict, tmp_path: Path) -> None:
    common = ("sample", "t1", "--home", home, "-n", "9", "--seed", "1")
    facts(*common, "--pack", tmp_path / "p.arrow")
    facts(*common, "--grid", "--out", tmp_path / "g.png")
    facts(*common, "--out", tmp_path / "d")
    pack = open_pack(tmp_path / "p.arrow")
    assert (len(pack), pack.resolution, pack.labels) == (9, 16, None)
    assert np.array_equal(pack.images[4], np.asarray(Image.open(tmp_path / "d" / "000004.png")))
    grid = np.asarray(Image.open(tmp_path / "g.png"))
    assert grid.shape == (3 * 66 + 2, 3 * 66 + 2, 3)
    assert np.array_equal(grid[68 : 68 + 64 : 4, 68 : 68 + 64 : 4], pack.images[4])


def test_evaluate_compares_with_the_images_that_the_run_was_about(home: Path, trained: dict) -> None:
    found = facts("evaluate", "t1", "--home", home)
    assert found["dataset"] == "digits"
    assert found["protocol"]["reference"] == trained["scores"]["protocol"]["reference"]
    assert found["protocol"]["n_fake"] == 20
    text = run("evaluate", "t1", "--home", home, "--samples", "30", "--quiet").stdout
    assert "(efficientnet-lite0 features, 30 samples against 20 real images)" in text


def test_evaluate_scores_anyones_images(home: Path, trained: dict, tmp_path: Path) -> None:
    facts("sample", "t1", "--home", home, "-n", "20", "--batch", "10", "--out", tmp_path / "d")
    facts("sample", "t1", "--home", home, "-n", "20", "--batch", "10", "--pack", tmp_path / "p.arrow")
    config = ("--config", home / "small.yaml", "--dataset", "digits", "--home", home)
    scores = [facts("evaluate", tmp_path / name, *config) for name in ("d", "p.arrow")]
    same = facts("evaluate", "t1", *config)
    assert scores[0]["fid"] == pytest.approx(scores[1]["fid"]) == pytest.approx(same["fid"])
    assert scores[0]["protocol"]["bn"] == "unknown"


def test_export_loads_without_this_package(home: Path, trained: dict, tmp_path: Path) -> None:
    result = json.loads(run("export", "t1", "--home", home, "--out", tmp_path / "e", "--json").stdout)
    space: dict = {"__file__": result["files"][0], "__name__": "exported"}
    exec(Path(result["files"][0]).read_text(), space)
    assert space["load"]()(torch.zeros(2, 4)).shape == (2, 3, 16, 16)


def test_supervised_grid_has_a_row_a_class(home: Path, conditional: dict, tmp_path: Path) -> None:
    assert conditional["generator"] == "dcgan"
    found = facts("sample", "t2", "--home", home, "--grid", "--out", tmp_path / "g.png")
    assert found["images"] == 80
    assert Image.open(tmp_path / "g.png").size == (8 * 66 + 2, 10 * 66 + 2)
    facts("sample", "t2", "--home", home, "-n", "20", "--pack", tmp_path / "p.arrow")
    assert np.array_equal(open_pack(tmp_path / "p.arrow").labels, np.repeat(np.arange(10), 2))


def test_a_study_stands_for_what_was_promoted_last(tmp_path: Path) -> None:
    promotions = [tmp_path / "studies" / "s" / "promotion" / name for name in ("winner", "other")]
    for second, folder in enumerate(promotions):
        folder.mkdir(parents=True)
        for name in ("generator.ckpt", "result.json"):
            (folder / name).write_text("{}")
            os.utime(folder / name, (second, second))
    assert find_generator("s", tmp_path) == promotions[1] / "generator.ckpt"
    # Promoted again, it is champion again, and not trained again.
    (promotions[0] / "result.json").touch()
    assert find_generator("s", tmp_path) == promotions[0] / "generator.ckpt"
    (promotions[0] / "result.json").write_text('{"outcome": "collapsed"}')
    assert find_generator("s", tmp_path) == promotions[1] / "generator.ckpt"


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["search", "--set", "search.wdith=3"], "search.wdith: no such key; did you mean search.width?"),
        (["search", "-n", "7", "--steps", "0"], "2 faults in the configuration"),
        (["search", "--config", "nowhere.yaml"], "cannot read the configuration nowhere.yaml: No such file"),
        (["search", "--dataset", "digit"], "there is no data source 'digit'; did you mean digits?"),
        (["search", "--dataset", "photos", "--steps", "9"], "give --networks N, or --paths mixed with --steps 9"),
        (["search", "--networks", "9"], "give --steps N, or --paths sampled with --networks 9"),
        (["search", "--name", "a/b"], "name: got 'a/b', expected up to 100 letters"),
        (["search", "--resume", "s1"], "no search run 's1'"),
        (["search", "--resume", "s1", "--width", "8"], "--width does not go with --resume"),
        (["search", "extra"], "Got unexpected extra argument (extra)"),
        (["train"], "give a GENOTYPE, such as degas-cifar10, or --resume RUN"),
        (["train", "degas-cifar10", "--resume", "t1"], "GENOTYPE does not go with --resume"),
        (["train", "degas-cifar"], "expected a published name"),
        (["train", "degas-cifar10", "--preset", "ctgan-papre"], "none called 'ctgan-papre'; did you mean ctgan-paper?"),
        (["train", "degas-cifar10", "--framework", "gan"], "full.framework: got 'gan', expected 'ctgan', 'wgan-gp'"),
        (["train", "degas-cifar10", "--milestones", "a"], "got 'a', expected shares of the steps"),
        (["evaluate", "t9"], "no generator 't9'"),
        (["evaluate", "images.arrow"], "--dataset is missing"),
        (["evaluate", "images.arrow", "--dataset", "digits"], "there is no pack at images.arrow"),
        (["sample", "t9", "--out", "d"], "no generator 't9'"),
        (["sample", "t9"], "give either --out PATH or --pack FILE"),
        (["sample", "t9", "--out", "d", "--pack", "p.arrow"], "give either --out PATH or --pack FILE"),
        (["sample", "t9", "--grid", "--out", "g.jpg"], "expected a name that ends in .png"),
        (["sample", "t9", "--pack", "p.bin"], "expected a name that ends in .arrow"),
        (["sample", "models:/x@champion", "--out", "d"], "holds no runs; give the right --home"),
        (["export", "t9", "--out", "d"], "no generator 't9'"),
        (["export", "t9", "--out", "d", "--format", "tf"], "'tf' is not one of 'python', 'safetensors'"),
        (["promote", "digits-1"], "no study 'digits-1'"),
        (["promote", "digits-1", "--genotype", "rando"], "degas-stl10), random, a genotype such as"),
        (["promote", "digits-1", "--trial", "1", "--genotype", "random"], "give --trial or --genotype, not both"),
    ],
)
def test_wrong_input_is_a_sentence_and_writes_nothing(
    args: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, ""), result.exception
    assert result.stderr.startswith("Error: ")
    assert part in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_damaged_generators_are_refused(home: Path, trained: dict, tmp_path: Path) -> None:
    whole = (Path(trained["folder"]) / "generator.ckpt").read_bytes()
    (tmp_path / "half.ckpt").write_bytes(whole[: len(whole) // 2])
    torch.save({"a": 1}, tmp_path / "other.ckpt")
    for name in ("half.ckpt", "other.ckpt"):
        result = run("sample", tmp_path / name, "--home", home, "--grid", "--out", tmp_path / "g.png")
        assert (result.exit_code, result.stdout) == (2, "")
        assert name in result.stderr
    assert not (tmp_path / "g.png").exists()


def test_a_taken_folder_is_left_as_it_is(home: Path, trained: dict, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for verb in ("sample", "export"):
        result = run(verb, "t1", "--home", home, "--out", tmp_path)
        assert result.exit_code == 2
        assert "is there already" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("kind", ["python", "safetensors", "torchscript", "onnx"])
@pytest.mark.parametrize("name", ["t1", "t2"])
def test_sample_draws_the_same_images_from_every_export(
    home: Path, trained: dict, conditional: dict, kind: str, name: str, tmp_path: Path
) -> None:
    files = json.loads(run("export", name, "--home", home, "--out", tmp_path / "e", "--format", kind, "--json").stdout)
    common = ("--home", home, "-n", "12", "--seed", "3", "--bn", "running")
    facts("sample", name, *common, "--pack", tmp_path / "own.arrow")
    facts("sample", tmp_path / "e", *common, "--pack", tmp_path / "folder.arrow")
    own, exported = open_pack(tmp_path / "own.arrow"), open_pack(tmp_path / "folder.arrow")
    # Another order of additions may move a pixel to the next of 256 values.
    assert np.abs(own.images.astype(int) - exported.images).max() <= 1
    assert (own.labels is None) == (name == "t1")
    assert own.labels is None or np.array_equal(own.labels, exported.labels)
    if kind in ("torchscript", "onnx"):
        found = facts("sample", files["files"][0], "--home", home, "--grid", "--out", tmp_path / "g.png")
        assert found["bn"] == "running"
        result = run("sample", tmp_path / "e", "--home", home, "--bn", "batch", "--out", tmp_path / "d")
        assert result.exit_code == 2
        assert "has the statistics of its training for good; give --bn running" in result.stderr
    scores = facts("evaluate", tmp_path / "e", "--home", home, "--config", home / "small.yaml", "--dataset", "digits")
    assert scores["protocol"]["bn"] == ("running" if kind in ("torchscript", "onnx") else "batch")


@pytest.mark.parametrize("kind", ["torchscript", "onnx"])
def test_damaged_and_foreign_exports_are_refused(home: Path, trained: dict, kind: str, tmp_path: Path) -> None:
    made = json.loads(run("export", "t1", "--home", home, "--out", tmp_path / "e", "--format", kind, "--json").stdout)
    whole = Path(made["files"][0])
    half = tmp_path / f"half{whole.suffix}"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    other = tmp_path / f"other{whole.suffix}"
    if kind == "torchscript":
        torch.jit.save(torch.jit.trace(torch.nn.Linear(4, 4), torch.zeros(1, 4)), str(other))
    else:
        model = onnx.load(whole)
        del model.metadata_props[:]
        onnx.save(model, other)
    pickled = tmp_path / f"pickle{whole.suffix}"
    pickled.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    for file, part in ((half, "is damaged or no"), (other, "was not written by degas-ray export"), (pickled, "or no")):
        result = run("sample", file, "--home", home, "--grid", "--out", tmp_path / "g.png")
        assert (result.exit_code, result.stdout) == (2, ""), result.exception
        assert file.name in result.stderr
        assert part in result.stderr
    assert not (tmp_path / "g.png").exists()
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "sprung")
