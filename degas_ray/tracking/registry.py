"""Models in MLflow's registry, their cards, and artifacts as local paths."""

import difflib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from degas_ray.errors import InputError
from degas_ray.tracking import backend
from degas_ray.tracking.backend import Address, patiently

OUTAGE_SECONDS = 180.0
FOLDER = "generator"  # the artifact folder of a registered generator
MODEL_URI = re.compile(r"models:/(?P<name>[^/@'\"]+)(?:/(?P<version>[1-9][0-9]{0,17})|@(?P<alias>[A-Za-z0-9_-]+))")


def register(address: Address, run_id: str, folder: Path, name: str, alias: str, tags: Mapping[str, str]) -> int:
    """Copy ``folder`` to the run's artifacts and make a registry version of it; doing it again gives the same version.

    Args:
        address: Where.
        run_id: The run that made the model.
        folder: The model's files; README.md in it, its card, becomes the version's description.
        name: The registered model's.
        alias: Moved to this version.
        tags: Such as scores, their protocol and the genotype.

    Returns:
        The version, from 1.

    Raises:
        InputError: Where the folder is not there.
        DegasError: Where MLflow cannot be reached for three minutes.
    """
    if not folder.is_dir():
        raise InputError(f"model folder: got {folder}, which is no folder")
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.exists() else ""
    client = backend.client(address.uri)

    def work() -> int:
        source = f"{client.get_run(run_id).info.artifact_uri}/{FOLDER}"
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, description="Generators found by degas-ray")
        versions = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        client.log_artifacts(run_id, str(folder), FOLDER)
        version = versions[0] if versions else client.create_model_version(name, source, run_id, description=text)
        for key, value in tags.items():
            client.set_model_version_tag(name, version.version, key, value)
        client.set_registered_model_alias(name, alias, version.version)
        return int(version.version)

    return patiently(work, OUTAGE_SECONDS, f"register {name}")


def resolve(address: Address, uri: str) -> Path:
    """Return the local folder of a registered model; one on a remote server is copied to the home's cache.

    Args:
        address: Where the registry is.
        uri: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    Raises:
        InputError: For another form, an unknown name, version or alias, or a version whose files are gone.
    """
    match = MODEL_URI.fullmatch(uri)
    if not match:
        raise InputError(f"model: got {uri!r}, expected models:/NAME@champion or models:/NAME/3")
    client = backend.client(address.uri)
    name = match["name"]
    models = patiently(lambda: _all(client.search_registered_models), OUTAGE_SECONDS, "list models")
    model = next((model for model in models if model.name == name), None)
    if model is None:
        known = [model.name for model in models]
        near = difflib.get_close_matches(name, known, n=1) or known[:5]
        hint = f"there are: {', '.join(near)}" if near else "none is registered; 'degas-ray tune' makes one"
        raise InputError(f"there is no model {name!r} in {backend.public(address.uri)}; {hint}")
    versions = patiently(
        lambda: _all(lambda **more: client.search_model_versions(f"name = '{name}'", **more)), OUTAGE_SECONDS, name
    )
    wanted = match["version"] or str(model.aliases.get(match["alias"], ""))
    found = next((version for version in versions if str(version.version) == wanted), None)
    if found is None:
        names = [str(version.version) for version in versions] + [f"@{alias}" for alias in model.aliases]
        raise InputError(f"{uri} is not there; {name!r} has: {', '.join(sorted(names)) or 'no version'}")
    return _local(address, found.source, address.home / "cache" / "models" / f"{name}-{found.version}", uri)


def download(address: Address, run_id: str, name: str) -> Path:
    """Return the local path of a run's artifact, copied to the home's cache where the run's artifacts are remote.

    Raises:
        InputError: Where the run has no such artifact.
    """
    client = backend.client(address.uri)
    root = patiently(lambda: client.get_run(run_id).info.artifact_uri, OUTAGE_SECONDS, f"look up run {run_id}")
    return _local(address, f"{root}/{name}", address.home / "cache" / "artifacts" / run_id / name, name)


def _local(address: Address, source: str, target: Path, what: str) -> Path:
    parts = urlsplit(source)
    if parts.scheme == "mlflow-artifacts" and not address.uri.startswith("http"):
        path = address.home / "mlflow-artifacts" / unquote(parts.path).lstrip("/")  # what the home's own server serves
    elif parts.scheme in ("", "file"):
        path = Path(unquote(parts.path))
    else:
        path = _fetched(address, source, target, what)
    if not path.exists():
        raise InputError(f"{what}: its files are not at {path}; was the home moved? They stay where they were written")
    return path


def _fetched(address: Address, source: str, target: Path, what: str) -> Path:
    if target.exists():
        return target
    backend.client(address.uri)
    from mlflow.artifacts import download_artifacts

    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)

    def fetch() -> Path:
        return Path(download_artifacts(artifact_uri=source, dst_path=str(partial), tracking_uri=address.uri))

    try:
        patiently(fetch, OUTAGE_SECONDS, f"send {what}").replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _all(search: Callable[..., Any]) -> list[Any]:
    page = search()
    found = list(page)
    while page.token:
        page = search(page_token=page.token)
        found += page
    return found
