"""A finished study of two trials, run once a session by the real command, for the tests that read what it left."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from degas_ray.cli.main import main

NAME = "tiny"
SETTINGS = {
    "limit": 64, "study.trials": 4, "study.rerank.top": 1, "study.rerank.seeds": 1, "study.concurrent": 2,
    "study.gpus": 0, "study.yardstick": False, "search.width": 4, "search.latent_dim": 4, "search.steps": 6,
    "search.batch": 16, "search.device": "cpu", "scores.samples": 20, "scores.real": 20, "scores.splits": 2,
    "scores.batch": 10,
} | {
    f"{phase}.{key}": value
    for phase in ("proxy", "full")
    for key, value in {
        "width": 4, "latent_dim": 4, "critic_width": 4, "batch": 8, "generator_batch": 8, "critic_steps": 1,
        "steps": 8, "device": "cpu",
    }.items()
}  # fmt: skip


@cache
def finished_study(home: Path) -> dict[str, Any]:
    """Run the study in ``home`` and return what it prints with ``--json``."""
    sets = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    command = ["tune", "--home", str(home), "--name", NAME, "--quiet", "--json", *sets]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))
