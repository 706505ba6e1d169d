"""The undisturbed study that every disturbed one must equal, and the count of the faults that were delivered."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from disturbed import Disturbed

COUNTED = pytest.StashKey[list[str]]()
Made = Callable[[Path, str], Disturbed]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Disturbed:
    study = Disturbed(Path(tmp_path_factory.mktemp("undisturbed")) / "home")
    study.finish()
    return study


@pytest.fixture
def make_study(request: pytest.FixtureRequest) -> Iterator[Made]:
    """Make a study to disturb; at the test's end its driver is ended and its faults are counted.

    The word is one of the line with which the driver takes up its work again after the fault.
    """
    made: list[tuple[Disturbed, str]] = []

    def make(home: Path, word: str) -> Disturbed:
        made.append((Disturbed(home), word))
        return made[-1][0]

    yield make
    for study, word in made:
        if study.driver is not None and study.driver.poll() is None:
            study.driver.kill()
            study.driver.wait()
        took = ", ".join(f"{seconds:.0f}" for seconds in study.recoveries(word))
        line = f"{request.node.name}: {len(study.moments)} delivered; seconds to the next progress: {took or '-'}"
        request.config.stash.setdefault(COUNTED, []).append(line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(COUNTED, []):
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.line(line)
