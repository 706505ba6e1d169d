"""Which tables an MLflow database has, and which the installed MLflow expects; nothing is changed."""

import shlex
import sqlite3
import sys
from importlib import metadata
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


def is_newer(revision: str) -> bool:
    """Tell whether the tables were made by a newer MLflow than the installed one: it knows all that came before it."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError
    from mlflow.store.db.utils import _get_alembic_config

    try:
        ScriptDirectory.from_config(_get_alembic_config("")).get_revision(revision)
    except CommandError:
        return True
    return False


def advice(revision: str, uri: str) -> str:
    """Return what to type about a database with other tables than the installed MLflow expects.

    Args:
        revision: Of its tables.
        uri: Its address, as MLflow takes it.
    """
    if is_newer(revision):
        installed = metadata.version("mlflow")
        return (
            f"a newer MLflow than {installed} made its tables, and there is no way back: install that version, "
            f"type: {_python()} -m pip install --upgrade 'mlflow>{installed},<4', or choose another --home"
        )
    return f"keep a copy of it, then type: {_python()} -m mlflow db upgrade {shlex.quote(uri)}"


def _python() -> str:
    return shlex.quote(sys.executable)
