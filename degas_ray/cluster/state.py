"""What is known of a cluster on the machine that launched it: ``HOME/clusters/NAME``, with the token of its Ray."""

import hashlib
import os
import platform
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from degas_ray.errors import InputError
from degas_ray.files import read_json, write_bytes, write_json

VERSION = 1


@dataclass(frozen=True)
class State:
    """A cluster that was started.

    Args:
        mark: Tells its processes from all others.
        python: Of the hosts.
        home: The study's home on the hosts.
        gcs: Port of the head's Ray.
        dashboard: Port of the head's dashboard and jobs, on the head's loopback.
        tracking: Address of the MLflow server.
        started: Seconds since 1970; 0 where the cluster is down.
        studies: How many have been named after this cluster.
        study: The last one.
        job: The Ray job that runs it; empty before the first.
    """

    mark: str
    python: str
    home: str
    gcs: int
    dashboard: int
    tracking: str
    started: float = 0.0
    studies: int = 0
    study: str = ""
    job: str = ""


class ClusterFolder:
    """The files of one cluster on the machine that launched it.

    Args:
        home: The home directory there.
        name: The cluster's.
    """

    def __init__(self, home: Path, name: str) -> None:
        self.home, self.name = home.absolute(), name
        self.root = self.home / "clusters" / name
        self.file = self.root / "state.json"
        self.token = self.root / "token"
        self.log = self.root / "start.log"

    @property
    def mark(self) -> str:
        """What marks the cluster's processes; another home's cluster of the same name has another."""
        return hashlib.sha256(f"{platform.node()} {self.root}".encode()).hexdigest()[:10]

    def read(self) -> State | None:
        """Return what is known, or ``None`` where this cluster was never launched from here."""
        content = read_json(self.file)
        if content is None:
            return None
        if content.pop("version", None) != VERSION:
            raise InputError(f"{self.file} is of another release; end that cluster with it, then remove the file")
        return State(**content)

    def write(self, state: State) -> None:
        """Keep what is known."""
        write_json(self.file, {"version": VERSION, **asdict(state)})

    def make_token(self) -> None:
        """Make the secret that Ray's servers ask for, once, readable by its owner alone."""
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            number = os.open(self.token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        with os.fdopen(number, "w") as file:
            file.write(secrets.token_hex(32))

    def authenticate(self) -> None:
        """Let this process's Ray know the token; that there is one it knows since the file was read."""
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(self.token)


def settings_file(folder: ClusterFolder, study: str, text: str) -> Path:
    """Write a study's settings where its job finds them; return the file."""
    path = folder.root / "jobs" / study / "config.yaml"
    write_bytes(path, text.encode())
    return path


def changed(state: State, changes: Mapping[str, Any]) -> State:
    """Return ``state`` with ``changes``."""
    return State(**{**asdict(state), **changes})
