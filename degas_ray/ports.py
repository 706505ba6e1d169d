"""Ports of this machine: which are free to listen on."""

import socket

from degas_ray.errors import InputError

LOOPBACK = "127.0.0.1"


def free_port(host: str, wished: int | None = None, says: str = "port") -> int:
    """Return ``wished`` or a port that nobody listens on.

    Args:
        host: The address to listen on.
        wished: A port, or None for any.
        says: How the error begins: ``port``, or the dotted path of a setting and a colon.

    Raises:
        InputError: Where ``wished`` is taken.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wished or 0))
        except OSError as error:
            raise InputError(
                f"{says} {wished} on {host}: {error.strerror}; choose another one or leave it out"
            ) from None
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Return whether nobody listens there."""
    try:
        free_port(host, port)
    except InputError:
        return False
    return True
