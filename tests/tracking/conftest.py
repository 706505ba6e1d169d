"""Homes with a migrated database: making one takes seconds, copying it does not."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from degas_ray.tracking import Tracking, backend, open_tracking


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and no experiment of ours."""
    home = tmp_path_factory.mktemp("migrated")
    backend.client(backend.database_uri(home)).search_experiments()
    return home / "mlflow.db"


@pytest.fixture
def new_home(migrated: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Make further homes by name."""

    def make(name: str) -> Path:
        home = tmp_path / name
        home.mkdir()
        shutil.copyfile(migrated, home / "mlflow.db")
        return home

    return make


@pytest.fixture
def home(new_home: Callable[[str], Path]) -> Path:
    """A home with a migrated database."""
    return new_home("a home")  # the space is meant


@pytest.fixture
def tracking(home: Path) -> Tracking:
    """The home's own tracking."""
    return open_tracking(home)
