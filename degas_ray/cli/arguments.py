"""What GENOTYPE and RUN mean on a command line."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from degas_ray.cli.common import nearest
from degas_ray.errors import GenotypeError, InputError
from degas_ray.files import path_of, read_json

if TYPE_CHECKING:
    from degas_ray.space import Genotype
    from degas_ray.tracking import Tracking

_FORMS = (
    "a published name (degas-cifar10, degas-cifar10-n2, degas-stl10), a genotype such as "
    "'N1a=conv_3x3(U0); ...', a JSON file, an MLflow run id"
)
GENOTYPE_HELP = f"GENOTYPE is {_FORMS}, or 'random' (with --seed)."
SEEDLESS_HELP = f"GENOTYPE is {_FORMS}, or 'random' (that of seed 0)."
HANDMADE_HELP = "Two generators designed by hand can be given instead: resnet (CT-GAN's) and dcgan."
HANDMADE = ("resnet", "dcgan")
RUN_HELP = (
    "RUN is a run's name or its folder, a study's name (the generator that was promoted last), an MLflow run id, "
    "models:/NAME@champion, or a generator.ckpt."
)
EXPORT_HELP = "Or what 'degas-ray export' wrote: its folder, or the file in it."
GENERATOR_FILE = "generator.ckpt"
EXPORTED_FILES = (GENERATOR_FILE, "generator.safetensors", "generator.pt", "generator.onnx")  # any of export's formats
_RUN_ID = re.compile(r"[0-9a-f]{32}")


def find_genotype(text: str, home: Path, *, seed: int = 0, n: int = 1) -> "Genotype":
    """Return the genotype that ``text`` means: see :data:`GENOTYPE_HELP`.

    Args:
        text: What was typed.
        home: Where run ids are looked up.
        seed: For ``random``.
        n: Normal maps a stage, for ``random``.

    Raises:
        InputError: Where it means none, with what it could have been.
    """
    return _find_genotype(text, home, seed, n, ("random",))


def find_architecture(text: str, home: Path, *, seed: int = 0, n: int = 1) -> "Genotype | str":
    """Return a genotype, or the name of a hand-designed generator."""
    return text if text in HANDMADE else _find_genotype(text, home, seed, n, ("random", *HANDMADE))


def _find_genotype(text: str, home: Path, seed: int, n: int, names: tuple[str, ...]) -> "Genotype":
    from degas_ray.space import PUBLISHED, Space
    from degas_ray.space import find_genotype as find

    if text == "random":
        return Space(n=n).random(seed)
    if _RUN_ID.fullmatch(text):
        text = _genotype_of_run(text, home)
    try:
        return find(text)
    except GenotypeError:
        if "=" in text or os.path.isfile(text):  # a genotype with a fault, which is told better there
            raise
    raise InputError(
        f"got {text[:80]!r}, expected a published name ({', '.join(PUBLISHED)}), {', '.join(names)}, "
        "a genotype such as 'N1a=conv_3x3(U0); U1=...', a JSON file or an MLflow run id"
        + nearest(text, (*PUBLISHED, *names))
    )


def find_generator(text: str, home: Path) -> Path:
    """Return the generator file that ``text`` means: see :data:`RUN_HELP`.

    Raises:
        InputError: Where there is none, with what there is.
    """
    if text.startswith("models:/"):
        return _inside(_tracking(text, home).resolve_model(text), text)
    if _RUN_ID.fullmatch(text):
        return Path(_tracking(text, home).download(text, GENERATOR_FILE))
    given = path_of(text)
    if given.is_file():
        return given
    for folder in (home / "runs" / text, given):
        if folder.is_dir():
            return _inside(folder, text)
    promotions = (home / "studies" / text / "promotion").glob(f"*/{GENERATOR_FILE}")
    promoted = list(promotions)
    if promoted:
        return max(promoted, key=_promoted_at)
    known = sorted(path.parent.name for path in (home / "runs").glob(f"*/{GENERATOR_FILE}"))
    known += sorted({path.parents[2].name for path in (home / "studies").glob(f"*/promotion/*/{GENERATOR_FILE}")})
    there = nearest(text, known) or (f"; there is: {', '.join(known[:8])}" if known else "; 'degas-ray tune' makes one")
    raise InputError(f"no generator {text!r} in {home}{there}")


def settings_of(generator: Path) -> dict[str, Any]:
    """Return the images and the scoring that a generator's run or study was about, as dotted keys; empty if unknown."""
    from degas_ray.config import IMAGES

    folder = generator.absolute().parent
    for file in (folder / "task.json", folder.parent.parent / "study.json"):
        if file.is_file():
            config = (read_json(file) or {}).get("config")
            if not isinstance(config, dict) or not isinstance(config.get("scores"), dict):
                raise InputError(f"{file} is not a file that degas-ray wrote; restore it or remove it")
            data = {key: config[key] for key in ("dataset", *IMAGES) if key in config}
            return data | {f"scores.{key}": value for key, value in config["scores"].items()}
    return {}


def exported_in(folder: Path) -> Path | None:
    """Return the generator file in a run's folder or an export's, if there is one."""
    return next((folder / name for name in EXPORTED_FILES if (folder / name).is_file()), None)


def _promoted_at(generator: Path) -> tuple[bool, float]:
    """Return whether a generator did not collapse, and when it was promoted; once more counts too.

    One that collapsed is no champion, however late it was trained: it is taken where there is no other.
    """
    result = generator.with_name("result.json")  # written with the alias
    if not result.exists():
        return True, generator.stat().st_mtime
    return (read_json(result) or {}).get("outcome") != "collapsed", result.stat().st_mtime


def _inside(folder: Path, text: str) -> Path:
    file = exported_in(folder)
    if file is None:
        raise InputError(
            f"{text} has no {GENERATOR_FILE}: its training has not ended; go on with --resume {folder.name}"
        )
    return file


def _tracking(text: str, home: Path) -> "Tracking":
    if not (home / "mlflow.db").exists():
        raise InputError(f"{text} is looked up in MLflow, but {home} holds no runs; give the right --home")
    from degas_ray.tracking import open_tracking

    return open_tracking(home)


def _genotype_of_run(run_id: str, home: Path) -> str:
    from degas_ray.tracking import tags

    known = _tracking(run_id, home).find_run(run_id).tags
    if tags.GENOTYPE not in known:
        raise InputError(f"run {run_id} has no genotype; choose a trial or a search in 'degas-ray ui'")
    return str(known[tags.GENOTYPE])
