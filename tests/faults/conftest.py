"""A home on a small disk of its own, the undisturbed study that every other must equal, and the count of the faults."""

import os
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from disturbed import Disturbed
from fault_kinds import Service

COUNTED = pytest.StashKey[dict[str, list[Disturbed]]]()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the home that all studies share, on a disk that can be filled where we may mount one."""
    disk = Path(tmp_path_factory.mktemp("disk"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(disk)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0
    yield disk / "home"
    if mounted:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture(scope="session")
def undisturbed(home: Path) -> Disturbed:
    study = Disturbed(home, "undisturbed")
    study.finish()
    return study


@pytest.fixture
def service(home: Path) -> Iterator[Service]:
    service = Service(home)
    yield service
    service.stop()


@pytest.fixture
def studies(request: pytest.FixtureRequest) -> Iterator[list[Disturbed]]:
    """Return the list of a test's studies: at its end their drivers are ended and their faults counted."""
    made: list[Disturbed] = []
    yield made
    for study in made:
        if study.driver is not None and study.running:
            study.driver.kill()
            study.wait()
    request.config.stash.setdefault(COUNTED, {})[request.node.name] = made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for name, studies in config.stash.get(COUNTED, {}).items():
        lost, twice = (sum(getattr(study, word) for study in studies) for word in ("lost", "twice"))
        terminalreporter.section(f"{name}: {len(studies)} studies, {lost} trials lost, {twice} counted twice")
        faults = [fault for study in studies for fault in study.faults]
        for kind in sorted({fault.kind for fault in faults}):
            own = [fault for fault in faults if fault.kind == kind]
            seconds = [fault.recovery for fault in own if fault.recovery is not None]
            repeated = [steps for fault in own for steps in fault.repeated]
            terminalreporter.line(
                f"{kind}: {len(own)} delivered; seconds to recover: {_list(seconds)}; steps repeated: {_list(repeated)}"
            )


def _list(numbers: list[float] | list[int]) -> str:
    if not numbers:
        return "-"
    values = " ".join(f"{number:.0f}" for number in numbers)
    return f"{values} (median {statistics.median(numbers):.0f}, largest {max(numbers):.0f})"
