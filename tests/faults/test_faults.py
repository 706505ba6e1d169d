"""Faults at random moments: afterwards the study equals the undisturbed one, with every trial and every step once.

``DEGAS_RAY_FAULTS`` is how many of each kind are tried; docs/reliability.md has the numbers of a long run.
"""

import os
import random
from pathlib import Path

import pytest
from disturbed import Disturbed
from fault_kinds import KINDS, Kind, Service, stop_service

FAULTS = int(os.environ.get("DEGAS_RAY_FAULTS", "2"))
EMPTY = 3  # studies in a row in which no moment came for the next fault

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(f"{request.node.name} {FAULTS}")


@pytest.fixture
def kinds(home: Path, undisturbed: Disturbed) -> dict[str, Kind]:
    """Return what can be tried here: a disk can be filled only where it is ours alone."""
    own = os.path.ismount(home.parent)
    return {name: kind for name, kind in KINDS.items() if own or name != "full"}


def hold(study: Disturbed, undisturbed: Disturbed) -> None:
    """Finish a disturbed study and hold it to what the undisturbed one found."""
    study.finish()
    study.check_records()
    study.check_repeats()
    assert study.facts() == undisturbed.facts()


def disturb(
    schedule: list[Kind],
    studies: list[Disturbed],
    undisturbed: Disturbed,
    chance: random.Random,
    name: str,
    uri: str | None = None,
) -> None:
    """Deliver all faults of a schedule, to as many studies, one after the other, as that takes."""
    waiting, empty = list(schedule), 0
    while waiting:
        study = Disturbed(undisturbed.home, f"{name}-{len(studies)}", uri)
        studies.append(study)
        study.start()
        while waiting and study.running:
            if waiting[0](study, chance):
                waiting.pop(0)
        hold(study, undisturbed)
        empty = 0 if study.faults else empty + 1
        assert empty < EMPTY, "no moment came for a fault"


def test_the_undisturbed_study_has_every_step_once(undisturbed: Disturbed) -> None:
    undisturbed.check_records()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind(
    kind: str, kinds: dict[str, Kind], undisturbed: Disturbed, studies: list[Disturbed], chance: random.Random
) -> None:
    if kind not in kinds:
        pytest.skip("needs root, to mount a disk that can be filled")
    disturb([kinds[kind]] * FAULTS, studies, undisturbed, chance, kind)


def test_mlflow_down(undisturbed: Disturbed, studies: list[Disturbed], chance: random.Random, service: Service) -> None:
    disturb([stop_service(service)] * FAULTS, studies, undisturbed, chance, "down", service.uri)


def test_all_kinds_in_one_study(
    kinds: dict[str, Kind],
    undisturbed: Disturbed,
    studies: list[Disturbed],
    chance: random.Random,
    service: Service,
) -> None:
    schedule = [*kinds.values(), stop_service(service)] * FAULTS
    chance.shuffle(schedule)
    disturb(schedule, studies, undisturbed, chance, "all", service.uri)
