"""What lies beside a generator, under the names that its protocol allows."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from degas_ray.report.recorded import recorded_beside
from degas_ray.scores import Protocol
from degas_ray.scores.extractors import INCEPTION
from degas_ray.scores.protocol import METHOD


def measured_by(extractor: str, weights_hash: str) -> dict[str, Any]:
    return asdict(Protocol(extractor, weights_hash, "r", 20, 20, 2, "f", "batch", "last", METHOD, 0, "0"))


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        (measured_by("inception", INCEPTION.sha256[:16]), "fid"),
        (measured_by("inception", "0" * 16), "frechet_distance"),
        (measured_by("efficientnet-lite0", "0" * 16), "frechet_distance"),
        ({"extractor": "inception"}, "frechet_distance"),
    ],
)
def test_only_a_distance_on_the_published_inception_is_called_fid(
    tmp_path: Path, protocol: dict[str, Any], name: str
) -> None:
    (tmp_path / "scores.json").write_text(json.dumps({"fid": 12.5, "protocol": protocol}))
    scores = recorded_beside(tmp_path / "generator.ckpt")["Scores"]
    assert {key: value for key, value in scores.items() if key != "protocol"} == {name: 12.5}


def test_the_origin_does_not_name_the_machine(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text(json.dumps({"machine": {"host": "mine"}, "data": {"dataset": "digits"}}))
    assert recorded_beside(tmp_path / "generator.ckpt") == {"Where it comes from": {"data": {"dataset": "digits"}}}
