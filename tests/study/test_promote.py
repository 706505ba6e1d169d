"""The champion's registration, whatever MLflow saw of its training."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from test_queues import scores
from tiny_study import tiny_config

from degas_ray.errors import DegasError
from degas_ray.files import write_json
from degas_ray.results import Promotion
from degas_ray.space import Space
from degas_ray.tracking import Tracking, open_tracking
from degas_ray.tracking.record import create_journal
from degas_ray.trials.promotion import register

GENOTYPE = Space().random(0)


@pytest.fixture
def tracking(tmp_path: Path) -> Tracking:
    return open_tracking(tmp_path / "home")


@pytest.fixture
def promotion(tmp_path: Path) -> Promotion:
    """A promotion of the study s while MLflow was away: its worker got no run id."""
    folder = tmp_path / "home" / "studies" / "s" / "promotion" / GENOTYPE.hash
    found = Promotion(str(GENOTYPE), str(folder), "completed", scores(10.0), 1000, 2000, "")
    write_json(folder / "result.json", asdict(found))
    for name in ("generator.ckpt", "scores.json", "genotype.json"):
        (folder / name).write_text(name)
    return found


def leave(tracking: Tracking, key: str) -> None:
    """Leave the records of a run on the disk, as a worker does that could not send them."""
    header = {
        "op": "open",
        "address": tracking.address.mark,
        "name": "s promotion",
        "role": "promotion",
        "key": key,
        "parent": None,
        "time": 1,
    }
    left = create_journal(tracking.address.queue, header)
    left.append({"op": "finish", "outcome": "completed", "time": 2})
    left.close(remove=False)


def test_a_run_that_mlflow_saw_late_is_found_and_registered(tracking: Tracking, promotion: Promotion) -> None:
    leave(tracking, f"s/promotion/{GENOTYPE.hash}")
    done = register(tracking, promotion, tiny_config(), "s", "64 images", "degas-ray tune --resume s")
    (run,) = tracking.runs(role="promotion")
    assert (done.run_id, done.model, done.version) == (run.run_id, "degas-ray-s", 1)
    assert json.loads((Path(promotion.folder) / "result.json").read_text()) == asdict(done)
    assert run.run_id in (tracking.resolve_model("models:/degas-ray-s@champion") / "README.md").read_text()


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"search__paths": "sampled"}, "found by trying single networks of the space of DEGAS"),
        ({"study__strategy": "evolution"}, "found by evolution in the space of DEGAS"),
    ],
)
def test_a_card_says_how_its_architecture_was_found(
    tracking: Tracking, promotion: Promotion, settings: dict[str, str], found: str
) -> None:
    leave(tracking, f"s/promotion/{GENOTYPE.hash}")
    register(tracking, promotion, tiny_config(**settings), "s", "64 images", "")
    card = (tracking.resolve_model("models:/degas-ray-s@champion") / "README.md").read_text()
    assert found in card
    assert "differentiable" not in card


def test_a_run_that_mlflow_has_not_is_registered_later(tracking: Tracking, promotion: Promotion) -> None:
    with pytest.raises(DegasError, match=r"MLflow has not taken its run yet.*'degas-ray tune --resume s' later"):
        register(tracking, promotion, tiny_config(), "s", "64 images", "degas-ray tune --resume s")
    assert json.loads((Path(promotion.folder) / "result.json").read_text()) == asdict(promotion)
