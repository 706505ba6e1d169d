"""The cluster that ``RAY_ADDRESS`` names: looked for before Ray does, which waits for minutes where there is none.

Nothing here imports Ray before :func:`degas_ray.runs.jobs.session` has set what Ray reads when it is imported.
"""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from degas_ray.errors import InputError

VARIABLE = "RAY_ADDRESS"
AUTO, LOCAL = "auto", "local"
CONNECT_SECONDS = 4.0
ANSWER_SECONDS = 6.0
HERE = f"'unset {VARIABLE}' runs on this machine"


def given_address() -> str | None:
    """Return what :data:`VARIABLE` says, ``None`` where the session is to be one of this machine alone.

    Raises:
        InputError: Where it is neither ``auto`` nor HOST:PORT, or nothing listens there.
    """
    given = os.environ.get(VARIABLE, "").strip()
    if given in ("", LOCAL):
        return None
    if given != AUTO:
        _connect(given)
    return given


def check_cluster(given: str) -> str:
    """Return the address of the cluster that ``given`` means; Ray is imported, so its settings must have been made.

    Raises:
        InputError: Where no cluster answers there, or one that this process may not join.
    """
    import grpc
    import ray
    from ray._private.grpc_utils import init_grpc_channel
    from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS
    from ray.core.generated import gcs_service_pb2
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
    from ray.exceptions import AuthenticationError

    messages: Any = gcs_service_pb2  # its names are made when it is imported
    address = _running() if given == AUTO else given
    channel = init_grpc_channel(address, GLOBAL_GRPC_OPTIONS)
    try:
        reply = NodeInfoGcsServiceStub(channel).CheckAlive(messages.CheckAliveRequest(), timeout=ANSWER_SECONDS)
    except AuthenticationError:  # a token is asked for, and there is none
        raise _refused(given, address, "UNAUTHENTICATED") from None
    except grpc.RpcError as error:
        raise _refused(given, address, error.code().name) from None
    finally:
        channel.close()
    if reply.ray_version != ray.__version__:
        raise InputError(
            f"{VARIABLE}: the cluster at {address} runs Ray {reply.ray_version}, and Ray {ray.__version__} is "
            f"installed here; install the same on both, or {HERE}"
        )
    return address


@contextmanager
def saying_why_not(address: str | None) -> Iterator[None]:
    """Say in a sentence why Ray does not join the cluster at ``address``; do nothing where there is none to join."""
    if address is None:
        yield
        return
    from ray.exceptions import RayError

    try:
        yield
    except (RayError, RuntimeError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{VARIABLE}: the cluster at {address} cannot be joined from this machine: {reason}; type 'degas-ray tune' "
            f"on one of its hosts, or {HERE}"
        ) from error


def _connect(given: str) -> None:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/@\[\]]+)):(\d{1,5})", given)
    if match is None or not 0 < int(match[3]) < 2**16:
        client = "; Ray Client is not supported" if given.startswith("ray://") else ""
        raise InputError(
            f"{VARIABLE}: got {given!r}, expected HOST:PORT of a cluster's head, such as 10.0.0.1:6379, or auto{client}"
            f". Type 'export {VARIABLE}=HOST:PORT', or {HERE}"
        )
    try:
        socket.create_connection((match[1] or match[2], int(match[3])), timeout=CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{VARIABLE}: no cluster answers at {given} ({reason}); "
            f"start its head with 'ray start --head --port={match[3]}', or {HERE}"
        ) from None


def _running() -> str:
    """Return the address of the cluster that runs on this machine, as Ray looks for it."""
    from ray._private.services import get_ray_address_from_environment

    try:
        return str(get_ray_address_from_environment(AUTO, None))
    except ConnectionError:
        raise InputError(
            f"{VARIABLE}: got 'auto', but no Ray runs on this machine; start one with 'ray start --head', or {HERE}"
        ) from None


def _refused(given: str, address: str, code: str) -> InputError:
    if code == "UNAUTHENTICATED":
        return InputError(
            f"{VARIABLE}: the cluster at {address} asks for another token than this process has; set "
            f"RAY_AUTH_TOKEN_PATH to its file, or {HERE}"
        )
    found = f"got {given!r}, which led to {address}, but" if given == AUTO else f"got {given!r}, but"
    other = "what listens there is not the head of a Ray cluster"
    what = other if code == "UNIMPLEMENTED" else "no cluster answers there"
    return InputError(f"{VARIABLE}: {found} {what}; see 'ray status --address {address}', or {HERE}")
