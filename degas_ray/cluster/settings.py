"""The section ``degas:`` of a cluster's YAML: what to run there, at what price, and where its results go."""

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator

from degas_ray.config import Count, NonNegative, Positive, Section

Port = Annotated[int, Field(ge=1, le=65535)]
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(value: Any) -> Any:
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value.strip()) if isinstance(value, str) else None
    if match is None or not float(match[1]):
        raise ValueError(f"got {value!r}, expected a number with s, m, h or d, such as 30m")
    return float(match[1]) * UNITS[match[2]]


def _absolute(value: str | None) -> str | None:
    if value is not None and not PurePosixPath(value).is_absolute():
        raise ValueError(f"got {value!r}, expected a path that begins with /")
    return value


def _without_password(value: str | None) -> str | None:
    """Refuse a secret in an address: Ray writes a job's environment into its logs."""
    if value is not None and urlsplit(value).password is not None:
        raise ValueError(
            "got an address with a password, which would be in Ray's logs; leave it out, and keep it on the hosts in "
            "~/.mlflow/credentials (a server's) or ~/.pgpass (PostgreSQL's)"
        )
    if value is not None and "://" not in value:
        raise ValueError(f"got {value!r}, expected an address such as http://mlflow.example.com:5000")
    return value


class Limits(Section):
    """The study asks for no more trials once any of these is spent; counted across stops and resumes."""

    hours: Positive | None = None
    gpu_hours: Positive | None = None
    dollars: Positive | None = Field(None, description="by the prices of all the hosts that there may be at once")
    trials: Count | None = None


class Storage(Section):
    """Where the cluster keeps the study."""

    home: str | None = Field(
        None, description="the study's home on the hosts, which all of them mount; null on one machine: --home"
    )

    _home = field_validator("home")(_absolute)


class Tracking(Section):
    """The MLflow server that the study records with."""

    uri: str | None = Field(None, description="one that is there already; null: one is started on the head")
    host: str = Field(
        "127.0.0.1",
        description="where the head's listens; 'head' for the head's own address, which workers elsewhere need",
    )
    port: Port | None = Field(None, description="null: 5000, or a free one on this machine")

    _uri = field_validator("uri")(_without_password)


class Ports(Section):
    """Of the head."""

    gcs: Port | None = Field(None, description="null: 6379, or a free one on this machine")
    dashboard: Port | None = Field(None, description="null: 8265, or a free one on this machine; on loopback")


class Launch(Section):
    """Everything in ``degas:``."""

    name: str | None = Field(None, description="of the study; null: the cluster's and a number")
    experiment: Path | None = Field(None, description="settings as a YAML file, beside this one")
    settings: dict[str, Any] = Field({}, description="settings laid over it; 'degas-ray tune --dry-run' lists them")
    budget: Limits = Limits()
    prices: dict[str, NonNegative] = Field({}, description="dollars an hour: head, worker, or by node type")
    storage: Storage = Storage()
    tracking: Tracking = Tracking()
    ports: Ports = Ports()
    idle_shutdown: Annotated[float | None, BeforeValidator(_seconds)] = Field(
        None, description="the cluster ends itself when no study has run for so long, such as 30m"
    )
    python: str | None = Field(None, description="the hosts' Python with degas-ray's packages; null: this one")

    _python = field_validator("python")(_absolute)
