"""Says at the end how much was tried: a tier that refused little would prove little."""

import pytest
from tally import GIVEN, summary


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if GIVEN:
        terminalreporter.section("bad inputs")
        for line in summary():
            terminalreporter.write_line(line)
