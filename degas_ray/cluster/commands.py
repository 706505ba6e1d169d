"""The command lines that a cluster's hosts are started with, where its file names none."""

import shlex
from collections.abc import Mapping

from degas_ray.cluster.processes import MARK
from degas_ray.cores import WAITING

OBJECT_STORE = 128 * 2**20  # bytes; images come from the pack, only messages go through Ray
HEAD = "--head --port={gcs} --dashboard-host=127.0.0.1 --dashboard-port={dashboard}"


def environment(mark: str, token: str, *, here: bool) -> dict[str, str]:
    """Return what every process of a cluster is started with.

    Args:
        mark: The cluster's.
        token: File of its secret on the host.
        here: Whether this machine is all of it: then Ray's servers listen on loopback alone, which they do where Ray
            takes the machine for one that cannot be part of a cluster (a variable with the name of other systems).
    """
    own = {
        MARK: mark,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        **WAITING,
    }
    return own | ({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if here else {})


def assignments(variables: Mapping[str, str]) -> str:
    """Return variables as they stand before a command in a shell; ``$HOME`` in a value is the host's own."""
    return " ".join(f"{name}={_quoted(value)}" for name, value in variables.items())


def start_head(python: str, mark: str, folder: str, *, gcs: int, dashboard: int, more: str = "") -> str:
    """Return the command that starts Ray's head.

    Args:
        python: The host's.
        mark: The cluster's, whose processes are ended first.
        folder: Of Ray's session.
        gcs: Port.
        dashboard: Port.
        more: Options.
    """
    options = HEAD.format(gcs=gcs, dashboard=dashboard)
    return f"{_end(python, mark)}; {_ray(python)} start {options} {_common(python, folder)} {more}".rstrip()


def start_worker(python: str, mark: str, folder: str, gcs: int) -> str:
    """Return the command that starts Ray on a worker; Ray's launcher sets ``$RAY_HEAD_IP``."""
    return f"{_end(python, mark)}; {_ray(python)} start --address=$RAY_HEAD_IP:{gcs} {_common(python, folder)}"


def end_all(python: str, mark: str) -> str:
    """Return the command that ends a cluster's processes on a host and prints those that are left."""
    return _end(python, mark)


def _end(python: str, mark: str) -> str:
    return f"{_quoted(python)} -m degas_ray.cluster.processes end {mark}"


def _ray(python: str) -> str:
    return f"{_quoted(python)} -m ray.scripts.scripts"


def _common(python: str, folder: str) -> str:
    cores = f"$({_quoted(python)} -m degas_ray.cores)"  # Ray would count those of the whole machine
    return f"--temp-dir={_quoted(folder)} --num-cpus={cores} --object-store-memory={OBJECT_STORE} --disable-usage-stats"


def _quoted(value: str) -> str:
    rest = value.removeprefix("$HOME")
    return shlex.quote(value) if rest == value else f'"$HOME"{shlex.quote(rest)}'
