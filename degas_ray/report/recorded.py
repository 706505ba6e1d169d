"""What a run keeps beside its generator, for the model card of an export."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from degas_ray.errors import InputError
from degas_ray.files import read_json
from degas_ray.scores import Protocol

# The names that ``fid``, ``is_mean`` and ``is_std`` of scores.json have where they were not measured on Inception.
_OTHER_NAMES = {"fid": "frechet_distance", "is_mean": "class_diversity", "is_std": "class_diversity_std"}


def recorded_beside(generator: Path) -> dict[str, Any]:
    """Return the scores and the provenance that lie beside a generator file, by headline.

    Args:
        generator: The file; its folder is looked into.
    """
    found = {}
    if (scores := read_json(generator.parent / "scores.json")) is not None:
        names = {} if _is_fid(scores) else _OTHER_NAMES
        found["Scores"] = {names.get(key, key): value for key, value in scores.items()}
    if (origin := read_json(generator.parent / "provenance.json")) is not None:
        found["Where it comes from"] = {key: value for key, value in origin.items() if key != "machine"}
    return found


def _is_fid(scores: Mapping[str, Any]) -> bool:
    try:
        return Protocol.from_json(scores.get("protocol")).is_fid
    except InputError:  # nothing says how they were measured
        return False
