"""MLflow's database or server: addresses, clients, errors, the experiment, the version of the tables."""

import hashlib
import json
import logging
import os
import re
import shlex
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from degas_ray.errors import DegasError, InputError
from degas_ray.tracking import tags

T = TypeVar("T")
ARTIFACTS = "mlflow-artifacts"  # the home's own artifact folder
OUTAGE_SECONDS = 180.0  # how long a command waits for MLflow in the middle of its work


@dataclass(frozen=True)
class Address:
    """Where runs are kept: all that a trial's process must be told."""

    home: Path  # absolute; on a cluster, on shared storage
    uri: str = field(repr=False)  # of the MLflow server or database; may hold a password
    experiment_id: str

    @property
    def queue(self) -> Path:
        """The folder of the journals."""
        return self.home / "tracking" / "queue"

    def owns(self, path: Path) -> bool:
        """Tell whether a file is one of the home's, which are replaced and never changed in place: links are safe."""
        return path.absolute().is_relative_to(self.home)

    @property
    def mark(self) -> str:
        """Tells addresses apart without giving them away; a journal is sent nowhere else."""
        return hashlib.sha256(f"{self.uri} {self.experiment_id}".encode()).hexdigest()[:16]


# Errors that sending the same again cannot cure; any other (refused connection, locked database, full disk) passes.
PERMANENT = frozenset(
    {
        "BAD_REQUEST",
        "CUSTOMER_UNAUTHORIZED",
        "ENDPOINT_NOT_FOUND",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "NOT_FOUND",
        "NOT_IMPLEMENTED",
        "PERMISSION_DENIED",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",
        "UNAUTHENTICATED",
    }
)

# Of the answers 4xx, those that pass: the server waited for too long, took it for a replay, or has too much to do.
PASSING = frozenset({408, 425, 429})

# Errors of stores that uploads may go to past MLflow's server.
STORES = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("boto3.exceptions", "Boto3Error"),
    ("google.api_core.exceptions", "GoogleAPIError"),
    ("azure.core.exceptions", "AzureError"),
)

# Retries are ours (a queue on disk), so mlflow's own give up early; nothing is sent to anybody else.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # a server's client would print them among the results
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "GIT_PYTHON_REFRESH": "quiet",
}

VIEW = "degas"
BEST_FIRST = "metrics.`proxy/fid`"
COLUMNS = (
    BEST_FIRST,
    "metrics.`proxy/is_mean`",
    "metrics.`proxy/parameters`",
    "metrics.`full/fid`",
    f"tags.`{tags.GENOTYPE}`",
    f"tags.`{tags.OUTCOME}`",
)
NOTE = (
    "Generators found by degas-ray: a study's trials are its children. Sample grids over steps are under "
    "*Model metrics*; figures, configuration and provenance under *Artifacts*."
)


def database_file(home: Path) -> Path:
    """Return the home's own database."""
    return home / "mlflow.db"


def database_uri(home: Path) -> str:
    """Return the address of the home's own database."""
    return sqlite_uri(database_file(home).absolute())


def sqlite_uri(path: Path) -> str:
    """Return the address of a SQLite file, whose path may hold what has a meaning in addresses.

    Raises:
        InputError: Where the installed SQLAlchemy has no way to write it.
    """
    text = str(path)
    if not set(text) & set("?%"):
        return f"sqlite:///{text}"
    from sqlalchemy import URL, make_url

    # With the driver's name in it: of "sqlite:///" MLflow takes the rest for a path as it stands, and makes its folder.
    uri = URL.create("sqlite+pysqlite", database=text).render_as_string()
    if make_url(uri).database != text:
        raise InputError(
            f"home: got {path.parent}, but the SQLAlchemy that is installed cannot open a database below a folder with "
            "? or % in its name; type: pip install 'sqlalchemy>=2.1', or choose another --home"
        )
    return uri


def artifact_root(home: Path) -> str:
    """Return the address of the home's own artifact folder."""
    return (home / ARTIFACTS).absolute().as_uri()


def local_path(address: Address, artifact_uri: str) -> Path | None:
    """Return the path of an artifact, or of a run's artifacts, that lie on a disk here; ``None`` for a server's."""
    parts = urlsplit(artifact_uri)
    if parts.scheme == "mlflow-artifacts" and not address.uri.startswith("http"):
        return address.home / ARTIFACTS / unquote(parts.path).lstrip("/")  # what the home's own server serves
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def check_uri(uri: str) -> str:
    """Return ``uri`` without a trailing slash, and with the whole path of a SQLite file.

    Raises:
        InputError: Where it is no tracking address that is supported here.
    """
    if not re.match(r"(https?://[^/]|sqlite(\+pysqlite)?:///.|(postgresql|mysql|mssql)(\+\w+)?://.)", uri):
        raise InputError(
            f"tracking uri: got {public(uri)!r}, expected http://HOST:PORT of an MLflow server or a database such as "
            "sqlite:////absolute/mlflow.db; leave it out to use the home's own database"
        )
    uri = uri.rstrip("/")
    start, slashes, path = uri.partition(":///")
    if not slashes or not start.startswith("sqlite"):
        return uri
    path, _, options = path.partition("?")
    if "/" in options and not path.startswith("file:"):
        raise InputError(
            f"tracking uri: got {uri!r}, in which a question mark ends the path; write %3F where it belongs to the path"
        )
    if path.startswith(("/", "file:")):
        return uri
    from sqlalchemy import make_url

    # Workers run in other folders, where it would be another file.
    whole = sqlite_uri(Path(make_url(f"{start}:///{path}").database or "").absolute())
    return f"{whole}?{options}" if options else whole


def public(uri: str) -> str:
    """Return ``uri`` without user name and password, for messages."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


@lru_cache(maxsize=8)
def client(uri: str) -> Any:
    """Return the MlflowClient of ``uri``, for runs and registry alike, made once a process."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.model_registry").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # locked: said once, by us
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def failures() -> tuple[type[Exception], ...]:
    """Return every error class that talking to MLflow can end in."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    # A store's own package is installed by who uses it, and loaded by MLflow once something is uploaded there.
    loaded = [(sys.modules[module], name) for module, name in STORES if module in sys.modules]
    stores = [getattr(module, name) for module, name in loaded]
    return (MlflowException, RequestException, SQLAlchemyError, OSError, *stores)


def is_permanent(error: Exception) -> bool:
    """Tell whether sending the same again is no use."""
    status = _status(error)
    return getattr(error, "error_code", "") in PERMANENT or (400 <= status < 500 and status not in PASSING)


def _status(error: Exception) -> int:
    """Return the HTTP status of a failed upload, 0 where it has none: a proxy's and a store's answers have no code."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # S3
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    else:  # HTTP, or Azure and Google's errors themselves
        found = getattr(response, "status_code", getattr(error, "status_code", getattr(error, "code", 0)))
    return found if isinstance(found, int) else 0


def patiently(call: Callable[[], T], what: str) -> T:
    """Return ``call()``, tried again for :data:`OUTAGE_SECONDS` while MLflow cannot be reached.

    Args:
        call: Something that may be done twice.
        what: For the message: "record the version of ...".

    Raises:
        DegasError: If the outage lasts longer, or MLflow refuses.
    """
    deadline = time.monotonic() + OUTAGE_SECONDS
    pause = 0.1
    while True:
        try:
            return call()
        except failures() as error:
            if is_permanent(error) or time.monotonic() + pause > deadline:
                raise DegasError(f"MLflow could not {what}: {first_line(error)}") from error
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def first_line(error: Exception) -> str:
    """Return the first line of what ``error`` says, without passwords of addresses in it."""
    return (without_passwords(str(error).strip()) or type(error).__name__).splitlines()[0][:300]


def without_passwords(text: str) -> str:
    """Return ``text`` without user names and passwords of addresses in it."""
    return re.sub(r"://[^/@\s]+@", "://", text)


def open_experiment(uri: str, name: str, artifacts: str | None, seconds: float) -> str:
    """Return the id of the experiment ``name``, created where it is missing; a new database gets its tables first.

    Args:
        uri: Of the server or database.
        name: Of the experiment.
        artifacts: Address of its artifacts; None leaves that to the server.
        seconds: How long to wait for a server.

    Raises:
        InputError: If that cannot be done, with what to type next.
    """
    deadline = time.monotonic() + seconds
    try:
        if not uri.startswith("http"):
            _check_database(uri)
        while True:
            try:
                return _experiment(client(uri), name, artifacts)
            except failures() as error:
                if is_permanent(error) or _is_outdated(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.5)
    except failures() as error:
        if _is_outdated(error):
            found = _revision(uri)
            raise InputError(
                f"the MLflow database {public(uri)} has another version's tables ({found}); "
                f"{advice(found, public(uri))}"
            ) from error
        what = "the MLflow server does not answer" if uri.startswith("http") else "the MLflow database cannot be opened"
        raise InputError(
            f"{what} at {public(uri)} ({first_line(error)}); put that right, or give another tracking address or --home"
        ) from error


def _experiment(client: Any, name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, artifact_location=artifacts, tags=_front_page()))
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    for key, value in _front_page().items():
        if key not in found.tags:
            client.set_experiment_tag(found.experiment_id, key, value)
    return str(found.experiment_id)


def _front_page() -> dict[str, str]:
    """Return the experiment's tags: a note above the runs, and a shared view with our columns, best first."""
    view = {"selectedColumns": list(COLUMNS), "orderByKey": BEST_FIRST, "orderByAsc": True}
    return {
        tags.NOTE: NOTE,
        tags.EXPERIMENT_KIND: "custom_model_development",
        tags.SHARED_VIEW + VIEW: json.dumps(view),
    }


def front_page(address: str, experiment_id: str) -> str:
    """Return the page of a server where the runs stand with their scores and genotypes."""
    return f"{address}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"


def _is_outdated(error: Exception) -> bool:
    return "out-of-date database schema" in str(error) or "Can't locate revision" in str(error)


def _check_database(uri: str) -> None:
    """Connect once: MLflow itself retries for minutes where a driver or a host is missing."""
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(uri)
    except ModuleNotFoundError as error:
        raise InputError(f"the driver of {public(uri)} is not installed; type 'pip install {error.name}'") from None
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _revision(uri: str) -> str:
    """Return the revision of a database's tables."""
    import sqlalchemy
    from mlflow.store.db.utils import _get_schema_version

    engine = sqlalchemy.create_engine(uri)
    try:
        return str(_get_schema_version(engine))
    finally:
        engine.dispose()


def revision(home: Path) -> str | None:
    """Return the revision of the tables of the home's database, or ``None`` where there is none.

    Raises:
        InputError: Where the file is no MLflow database.
    """
    path = database_file(home)
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
    python = shlex.quote(sys.executable)
    if is_newer(revision):
        installed = metadata.version("mlflow")
        return (
            f"a newer MLflow than {installed} made its tables, and there is no way back: install that version, "
            f"type: {python} -m pip install --upgrade 'mlflow>{installed},<4', or choose another --home"
        )
    return f"keep a copy of it, then type: {python} -m mlflow db upgrade {shlex.quote(uri)}"
