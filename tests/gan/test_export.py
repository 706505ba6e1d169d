"""Exports: each is loaded in a process that cannot import this package, and compared with the original."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from degas_ray import checkpoint
from degas_ray.checkpoint import State
from degas_ray.config import TrainConfig
from degas_ray.errors import CheckpointError, DegasError, InputError
from degas_ray.gan import FORMATS, build_generator, export_generator, generate, load_generator, save_generator
from degas_ray.gan.export import model_card, plain
from degas_ray.space import PUBLISHED

CONFIG = TrainConfig(width=4, latent_dim=6)

# sys.modules[...] = None makes every import of the package fail, as on a machine without it.
BARE = """
import sys
sys.modules["degas_ray"] = None
sys.path.insert(0, {folder!r})
import numpy as np
z, labels = np.load({inputs!r}).values()
{load}
np.save({output!r}, images)
assert "degas_ray.gan" not in sys.modules
"""
TORCH = """
import torch
{load}
arguments = [torch.from_numpy(z)] + ([torch.from_numpy(labels)] if {conditional} else [])
with torch.no_grad():
    images = generator(*arguments).numpy()
"""
LOAD = {
    "python": TORCH.replace(
        "{load}", "from generator import load\ngenerator = load()\nassert generator.latent_dim == 6"
    ),
    "torchscript": TORCH.replace("{load}", 'generator = torch.jit.load({folder!r} + "/generator.pt")'),
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession({folder!r} + "/generator.onnx")
(images,) = session.run(None, {{"z": z}} | ({{"labels": labels}} if {conditional} else {{}}))
""",
    "safetensors": """
import json
from safetensors import safe_open
with safe_open({folder!r} + "/generator.safetensors", framework="np") as file:
    facts = json.loads(file.metadata()["degas_ray"])
    assert facts["latent_dim"] == 6 and facts["what"]
    images = file.get_tensor("linear.weight")
""",
}


def trained(what: str, classes: int) -> nn.Module:
    """A generator whose statistics, scales and shifts are not where they began."""
    torch.manual_seed(0)
    generator = build_generator(what, CONFIG, 16, classes, seed=1)
    for name, parameter in generator.named_parameters():
        if parameter.ndim == 1 or name.endswith(("scale", "shift")):
            nn.init.normal_(parameter, 0.5, 0.3)
    with torch.no_grad():
        for _ in range(5):
            generator.train()(torch.randn(20, 6), torch.randint(classes, (20,)) if classes else None)
    return generator.eval()


@pytest.mark.parametrize(
    ("what", "classes", "format"),
    [("degas-cifar10", 3, "python"), ("degas-stl10", 3, "torchscript"), ("degas-stl10", 3, "onnx")],
)
def test_a_bare_process_makes_the_same_images(tmp_path: Path, what: str, classes: int, format: str) -> None:
    compare(tmp_path, what, classes, format)


@pytest.mark.parametrize("what", ["resnet", "dcgan", *PUBLISHED])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_python_file_of_every_generator_equals_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, classes: int
) -> None:
    generator = trained(what, classes)
    save_generator(tmp_path / "g.ckpt", generator, what, CONFIG)
    script, *_ = export_generator(tmp_path / "g.ckpt", "python", tmp_path / "out")
    monkeypatch.setitem(sys.modules, "degas_ray", None)
    exported = runpy.run_path(str(script))["load"]()
    arguments = (torch.randn(5, 6), torch.tensor([0, 2, 1, 0, 2]))[: 2 if classes else 1]
    assert torch.equal(exported(*arguments), generator(*arguments))
    assert (exported.latent_dim, exported.resolution, exported.num_classes) == (6, 16, classes)
    assert exported.state_dict().keys() == generator.state_dict().keys()


def compare(tmp_path: Path, what: str, classes: int, format: str) -> None:
    generator = trained(what, classes)
    save_generator(tmp_path / "g.ckpt", generator, what, CONFIG)
    written = export_generator(tmp_path / "g.ckpt", format, tmp_path / "out")
    assert sorted(tmp_path.joinpath("out").iterdir()) == sorted(written)
    z = torch.randn(5, 6)  # not the number of images that was traced
    labels = torch.tensor([0, 2, 1, 0, 2])
    with torch.no_grad():
        expected = generator(z, labels if classes else None).numpy()
    found = run_bare(tmp_path, format, z.numpy(), labels.numpy(), conditional=classes > 0)
    assert np.allclose(found, expected, atol=1e-5)


def run_bare(tmp_path: Path, format: str, z: np.ndarray, labels: np.ndarray, *, conditional: bool) -> np.ndarray:
    names = {"folder": str(tmp_path / "out"), "inputs": str(tmp_path / "in.npz"), "output": str(tmp_path / "out.npy")}
    np.savez(names["inputs"], z=z, labels=labels)
    load = LOAD[format].format(**names, conditional=conditional)
    done = subprocess.run([sys.executable, "-c", BARE.format(load=load, **names)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(names["output"])


def test_safetensors_are_readable_anywhere_and_load_here(tmp_path: Path) -> None:
    generator = trained("degas-cifar10", 3)
    save_generator(tmp_path / "g.ckpt", generator, "mine", CONFIG, {"fid": 3})
    export_generator(tmp_path / "g.ckpt", "safetensors", tmp_path / "out")
    weights = run_bare(tmp_path, "safetensors", np.zeros(1), np.zeros(1), conditional=True)
    assert np.array_equal(weights, generator.linear.weight.detach().numpy())
    back, facts = load_generator(tmp_path / "out" / "generator.safetensors")
    z, labels = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    assert torch.equal(back(z, labels), generator(z, labels))
    assert (facts["name"], facts["meta"]) == ("mine", {"fid": 3})


def test_the_python_file_can_be_made_of_safetensors(tmp_path: Path) -> None:
    generator = trained("degas-cifar10", 3)
    save_generator(tmp_path / "g.ckpt", generator, "mine", CONFIG)
    exported, *_ = export_generator(tmp_path / "g.ckpt", "safetensors", tmp_path / "one")
    export_generator(exported, "python", tmp_path / "two")
    back, facts = load_generator(tmp_path / "two" / "generator.ckpt")
    z, labels = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    assert torch.equal(back(z, labels), generator(z, labels))
    assert facts["name"] == "mine"


def test_the_card_of_safetensors_draws_images_that_do_not_depend_on_their_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_generator(tmp_path / "g.ckpt", trained("degas-cifar10", 0), "mine", CONFIG)
    export_generator(tmp_path / "g.ckpt", "safetensors", tmp_path)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec((tmp_path / "README.md").read_text().split("```")[1].removeprefix("python\n"), found)
    alone = next(generate(found["generator"], 1, seed=0, bn="running"))
    assert np.array_equal(found["images"][:1], alone)


def test_the_python_file_reads_like_the_genotype(tmp_path: Path) -> None:
    save_generator(tmp_path / "g.ckpt", trained("degas-cifar10", 0), "degas-cifar10", CONFIG)
    export_generator(tmp_path / "g.ckpt", "python", tmp_path / "out")
    text = (tmp_path / "out" / "generator.py").read_text()
    assert 'u1 = self.operations["U0->U1"](u0, labels) + self.operations["N1a->U1"](n1a, labels)  # 4x4' in text
    imports = {line.split()[1].partition(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert imports == {"__future__", "functools", "pathlib", "torch"}


@pytest.mark.parametrize("format", FORMATS)
def test_the_model_card_says_what_it_is_and_how_to_load_it(tmp_path: Path, format: str) -> None:
    found = {"scores": {"fid": 12.5, "protocol": "a|b"}}
    save_generator(tmp_path / "g.ckpt", trained("degas-stl10", 3), "degas-stl10", CONFIG, found)
    text = model_card(*load_generator(tmp_path / "g.ckpt"), format)
    for piece in (
        str(PUBLISHED["degas-stl10"]),
        "| Classes | 3, ",
        "| scores.fid | 12.5 |",
        "a\\|b",
        "framework | ctgan",
    ):
        assert piece in text
    code = text.split("```")[1].removeprefix("python\n")
    assert compile(code, "card", "exec")
    assert "generator" in code


def test_the_card_comes_last(tmp_path: Path) -> None:
    save_generator(tmp_path / "g.ckpt", trained("resnet", 0), "resnet", CONFIG)
    *_, card = export_generator(tmp_path / "g.ckpt", "python", tmp_path / "out")
    assert card.read_text().startswith("# resnet\n")


def test_the_card_tells_what_is_known_beside_the_file(tmp_path: Path) -> None:
    text = str(PUBLISHED["degas-stl10"])
    save_generator(tmp_path / "g.ckpt", trained("degas-stl10", 0), text, CONFIG)
    beside = {"Scores": {"frechet_distance": 12.5, "protocol": {"n_fake": 100}}, "Origin": {"dataset": "digits"}}
    *_, card = export_generator(tmp_path / "g.ckpt", "python", tmp_path / "out", beside)
    told = card.read_text()
    assert told.startswith(f"# DEGAS generator {PUBLISHED['degas-stl10'].hash}\n")
    for piece in ("## Scores\n", "| frechet_distance | 12.5 |", "| protocol.n_fake | 100 |", "| dataset | digits |"):
        assert piece in told


def test_plain_layers_give_the_same_images() -> None:
    generator = trained("degas-cifar10", 0).double()
    z = torch.randn(3, 6, dtype=torch.float64)
    assert torch.allclose(plain(generator)(z), generator(z), atol=1e-12)
    assert not any(type(module).__name__ == "UpConv" for module in plain(generator).modules())


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    save_generator(tmp_path / "g.ckpt", trained("resnet", 0), "resnet", CONFIG)
    with pytest.raises(InputError, match="format: got 'pickle', expected one of torchscript, onnx"):
        export_generator(tmp_path / "g.ckpt", "pickle", tmp_path / "out")
    checkpoint.save(tmp_path / "s.ckpt", State(), "train")
    with pytest.raises(CheckpointError, match="expected a 'generator' one"):
        export_generator(tmp_path / "s.ckpt", "python", tmp_path / "out")
    with pytest.raises(DegasError, match="cannot write the export into"):
        export_generator(tmp_path / "g.ckpt", "python", tmp_path / "g.ckpt")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_damaged_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "g.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"truncated, damaged|was not written by degas-ray"):
        load_generator(path)
    with pytest.raises(CheckpointError, match=r"cannot read|truncated"):
        load_generator(tmp_path / "missing.safetensors")
