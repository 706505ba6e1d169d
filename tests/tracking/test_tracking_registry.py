"""Registered models and provenance."""

import subprocess
from pathlib import Path

import pytest

from degas_ray.config import Config
from degas_ray.errors import InputError
from degas_ray.tracking import RunDirectory, Tracking, backend, log_provenance, model_card, provenance


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "generator.ckpt").write_bytes(b"weights")
    card = model_card(
        "degas-digits",
        genotype="N1a=conv_3x3(U0)",
        words="one convolution",
        scores=["Fréchet distance 823 (efficientnet-lite0 features, 1,000 samples against 1,000 real images)"],
        data="digits at 16x16, fingerprint abc",
        training={"steps": 600, "lr": 1e-3},
        run_id="1f",
    )
    (folder / "README.md").write_text(card)
    return folder


def _run(tracking: Tracking, key: str) -> str:
    run = tracking.run(key, "promotion", key=key)
    run.finish("completed")
    return run.run_id


def test_a_model_is_registered_once_and_found_by_alias_and_number(tracking: Tracking, model: Path) -> None:
    run_id = _run(tracking, "first")
    assert tracking.register(run_id, model, "degas-digits", tags={"full/fid": "823"}) == 1
    assert tracking.register(run_id, model, "degas-digits", tags={"full/fid": "823"}) == 1  # after a crash: again
    for uri in ("models:/degas-digits@champion", "models:/degas-digits/1"):
        assert (tracking.resolve_model(uri) / "generator.ckpt").read_bytes() == b"weights"
    version = backend.client(tracking.address.uri).get_model_version("degas-digits", "1")
    assert version.tags == {"full/fid": "823"}
    assert "Fréchet distance 823" in version.description
    assert "degas-ray sample models:/degas-digits@champion" in version.description


def test_the_alias_moves_to_the_newer_version(tracking: Tracking, model: Path) -> None:
    tracking.register(_run(tracking, "first"), model, "net")
    (model / "generator.ckpt").write_bytes(b"better")
    assert tracking.register(_run(tracking, "second"), model, "net") == 2
    assert (tracking.resolve_model("models:/net@champion") / "generator.ckpt").read_bytes() == b"better"
    assert (tracking.resolve_model("models:/net/1") / "generator.ckpt").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("degas-digits", "expected models:/NAME@champion"),
        ("models:/degas-digits", "expected models:/NAME@champion"),
        ("models:/degas-digits/0", "expected models:/NAME@champion"),
        ("models:/degas-digits/../x", "expected models:/NAME@champion"),
        ("models:/degas-digit@champion", "there are: degas-digits"),
        ("models:/degas-digits@best", "has: 1, @champion"),
        ("models:/degas-digits/9", "has: 1, @champion"),
    ],
)
def test_models_that_are_not_there_name_those_that_are(uri: str, words: str, tracking: Tracking, model: Path) -> None:
    tracking.register(_run(tracking, "first"), model, "degas-digits")
    with pytest.raises(InputError, match=words):
        tracking.resolve_model(uri)


def test_an_empty_registry_says_how_to_fill_it(tracking: Tracking) -> None:
    with pytest.raises(InputError, match="degas-ray tune"):
        tracking.resolve_model("models:/x@champion")


def test_missing_folders_and_artifacts(tracking: Tracking, tmp_path: Path) -> None:
    run_id = _run(tracking, "first")
    with pytest.raises(InputError, match="no folder"):
        tracking.register(run_id, tmp_path / "none", "net")
    with pytest.raises(InputError, match=r"none\.txt"):
        tracking.download(run_id, "none.txt")
    with pytest.raises(InputError, match="relative path"):
        tracking.download(run_id, "../../mlflow.db")


def _git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_provenance_of_a_changed_repository(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    (tmp_path / "train.py").write_text("lr = 1\n")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "first")
    clean = provenance(Config(seed=3), "f" * 64, tmp_path)
    assert clean["git"]["commit"] == _git(tmp_path, "rev-parse", "HEAD")
    assert clean["git"]["dirty"] is False
    assert clean["git"]["diff"] == ""
    (tmp_path / "train.py").write_text("lr = 2\n")
    changed = provenance(Config(seed=3), "f" * 64, tmp_path)
    assert changed["git"]["dirty"] is True
    assert "+lr = 2" in changed["git"]["diff"]
    assert (changed["seed"], changed["data"]) == (3, {"dataset": "digits", "fingerprint": "f" * 64})
    assert changed["packages"]["torch"]
    assert changed["machine"]["cores"] >= 1


def test_provenance_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance(Config(), "f", tmp_path)["git"] is None


def test_provenance_is_written_into_the_run(tmp_path: Path) -> None:
    facts = provenance(Config(), "abc", tmp_path)
    facts["git"] = {"commit": "c0ffee", "branch": "main", "dirty": True, "diff": "+lr = 2\n"}
    run = RunDirectory(tmp_path / "run")
    log_provenance(run, facts)
    assert (run.path / "git.diff").read_text() == "+lr = 2\n"
    assert '"commit": "c0ffee"' in (run.path / "provenance.json").read_text()
    assert "lr = 2" not in (run.path / "provenance.json").read_text()
    assert '"degas.data_fingerprint": "abc"' in (run.path / "tags.json").read_text()
