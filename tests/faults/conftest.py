"""The undisturbed study that every disturbed one must equal."""

from pathlib import Path

import pytest
from disturbed import Disturbed


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Disturbed:
    study = Disturbed(Path(tmp_path_factory.mktemp("undisturbed")) / "home")
    study.finish()
    return study
