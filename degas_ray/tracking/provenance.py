"""Where a run comes from (code, packages, machine, seed, data), and the card of a registered generator."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from degas_ray.config import Config
from degas_ray.figures import tables
from degas_ray.tracking import tags
from degas_ray.tracking.record import Tracker

PACKAGES = (
    "degas-ray",
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "pyarrow",
    "ray",
    "optuna",
    "mlflow",
    "clean-fid",
    "matplotlib",
    "pillow",
    "scikit-learn",
)
GIT_SECONDS = 20.0
DIFF_CHARACTERS = 1_000_000


def provenance(config: Config, fingerprint: str, folder: Path | None = None) -> dict[str, Any]:
    """Return JSON-able facts about this process.

    Args:
        config: Its seed is recorded.
        fingerprint: Of the data pack.
        folder: Whose git repository is recorded; the working directory by default. None where there is no repository.

    Returns:
        ``git`` (commit, branch, dirty, diff, or None), ``packages``, ``machine``, ``command``, ``seed``, ``data``.
    """
    return {
        "git": _git(folder or Path.cwd()),
        "packages": _packages(),
        "machine": _machine(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": config.seed,
        "data": {"dataset": config.dataset, "fingerprint": fingerprint},
    }


def log_provenance(tracker: Tracker, facts: dict[str, Any]) -> None:
    """Write what :func:`provenance` found: ``provenance.json``, ``git.diff`` if any, and the short facts as tags.

    Args:
        tracker: Of the run.
        facts: With the run's own ``seed``.
    """
    git = facts["git"] or {}
    short = {tags.DATA: facts["data"]["fingerprint"], tags.SEED: str(facts["seed"])}
    if git:
        short |= {tags.COMMIT: git["commit"], tags.GIT_DIRTY: str(git["dirty"]).lower()}
        if git["diff"]:
            tracker.text(git["diff"], "git.diff")
    rest = {key: value for key, value in git.items() if key != "diff"} or None
    tracker.tags(short)
    tracker.text(json.dumps({**facts, "git": rest}, indent=2) + "\n", "provenance.json")


def model_card(
    name: str,
    *,
    genotype: str,
    words: str,
    scores: Sequence[str],
    data: str,
    training: Mapping[str, Any],
    run_id: str,
    version: str = "champion",
    found: str = "differentiable search (DEGAS: Doveh and Giryes, 2019)",
) -> str:
    """Return the card in Markdown; written as README.md into the model's folder, it becomes the version's description.

    Args:
        name: Of the registered model.
        genotype: In one line.
        words: The genotype in words.
        scores: Sentences that carry their protocol.
        data: What it was trained on, with the fingerprint.
        training: Settings by name.
        run_id: Of the MLflow run that made the model.
        version: An alias.
        found: The method that found the architecture.
    """
    uri = f"models:/{name}@{version}"
    rows = [{"setting": key, "value": str(value)} for key, value in training.items()]
    measured = "\n".join(f"- {sentence}" for sentence in scores) or "- not scored"
    return f"""# {name}

An image generator whose architecture was found by {found}, and trained as a GAN.

## Use

    degas-ray sample {uri} -n 64 --out samples

## Architecture

`{genotype}`

{words}

## Scores

{measured}

Compare them only with scores of the same protocol: extractor, numbers of samples, resizing and BN mode all move them.

## Training

{data}

{tables.markdown(rows, ["setting", "value"])}

MLflow run `{run_id}` holds the code's version, the packages, the machine and the curves.

## Limits

It draws what its training images are like, with their gaps and their slant, and may come close to single ones of them.
A score says how alike two sets of features are, not that an image is true.
"""


def _git(folder: Path) -> dict[str, Any] | None:
    commit = _run_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    status = _run_git(folder, "status", "--porcelain") or ""
    diff = _run_git(folder, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--submodule=short") or ""
    if len(diff) > DIFF_CHARACTERS:
        diff = diff[:DIFF_CHARACTERS] + f"\n... cut after {DIFF_CHARACTERS:,} of {len(diff):,} characters\n"
    return {
        "commit": commit.strip(),
        "branch": (_run_git(folder, "rev-parse", "--abbrev-ref", "HEAD") or "").strip(),
        "dirty": bool(status.strip()),
        "diff": diff,
    }


def _run_git(folder: Path, *arguments: str) -> str | None:
    # GIT_OPTIONAL_LOCKS: looking must not get in the way of a git command that the user runs meanwhile
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_PAGER": "cat"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            timeout=GIT_SECONDS,
            env=environment,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _machine() -> dict[str, Any]:
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=True),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
