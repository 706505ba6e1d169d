"""Which tables the home's MLflow database has, and which the installed MLflow expects; nothing is changed."""

import sqlite3
from pathlib import Path

from degas_ray.errors import InputError


def file(home: Path) -> Path:
    """Return the home's own database."""
    return home / "mlflow.db"


def revision(home: Path) -> str | None:
    """Return the revision of the tables of the home's database, or ``None`` where there is none.

    Raises:
        InputError: Where the file is no MLflow database.
    """
    path = file(home)
    if not path.exists():
        return None
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise InputError(f"{path} is no MLflow database: {error}") from None
    return str(row[0]) if row is not None else "none"


def expected_revision() -> str:
    """Return the revision that the installed MLflow works with."""
    from mlflow.store.db.utils import _get_latest_schema_revision  # the only name that it has there

    return str(_get_latest_schema_revision())
