"""The experiment that holds the runs, and the tables of a new database."""

import json
import time
from typing import Any

from degas_ray.errors import InputError
from degas_ray.tracking import backend, schema, tags

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


def open_experiment(uri: str, name: str, artifacts: str | None, seconds: float) -> str:
    """Return the id of the experiment ``name``, created where it is missing; a new database gets its tables first.

    Args:
        uri: Of the server or database.
        name: The experiment's.
        artifacts: Where its artifacts go; None leaves that to the server.
        seconds: How long to wait for a server.

    Raises:
        InputError: Where that cannot be done, with what to type next.
    """
    deadline = time.monotonic() + seconds
    try:
        if not uri.startswith("http"):
            _check_database(uri)
        while True:
            try:
                return _experiment(backend.client(uri), name, artifacts)
            except backend.failures() as error:
                if backend.is_permanent(error) or _is_outdated(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.5)
    except backend.failures() as error:
        if _is_outdated(error):
            found = _revision(uri)
            raise InputError(
                f"the MLflow database {backend.public(uri)} has another version's tables ({found}); "
                f"{schema.advice(found, backend.public(uri))}"
            ) from error
        what = "the MLflow server does not answer" if uri.startswith("http") else "the MLflow database cannot be opened"
        raise InputError(
            f"{what} at {backend.public(uri)} ({backend.first_line(error)}); put that right, "
            "or give another tracking address or --home"
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
    view = {
        "selectedColumns": list(COLUMNS),
        "orderByKey": BEST_FIRST,
        "orderByAsc": True,
    }
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
    """Connect once: mlflow's own way in retries for minutes where a driver or a host is missing."""
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(uri)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the driver of {backend.public(uri)} is not installed; type 'pip install {error.name}'"
        ) from None
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
