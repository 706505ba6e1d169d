"""The one place that makes MLflow clients: quiet settings, and which of its errors pass by themselves."""

import hashlib
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from degas_ray.errors import DegasError, InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Address:
    """Where runs are kept: all that a trial's process must be told.

    Args:
        home: The home directory; on a cluster, on shared storage.
        uri: Of the MLflow server or database.
        experiment_id: MLflow's.
    """

    home: Path
    uri: str = field(repr=False)  # may hold a password
    experiment_id: str

    @property
    def queue(self) -> Path:
        """The folder of the journals."""
        return self.home / "tracking" / "queue"

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


def database_uri(home: Path) -> str:
    """Return the address of the home's own database."""
    return sqlite_uri((home / "mlflow.db").absolute())


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
    return (home / "mlflow-artifacts").absolute().as_uri()


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


def patiently(call: Callable[[], T], seconds: float, what: str) -> T:
    """Return ``call()``, tried again for ``seconds`` while MLflow cannot be reached.

    Args:
        call: Something that may be done twice.
        seconds: How long an outage may last.
        what: For the message: "record the version of ...".

    Raises:
        DegasError: Where the outage lasts longer, or MLflow refuses.
    """
    deadline = time.monotonic() + seconds
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
