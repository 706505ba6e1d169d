"""``degas-ray ui``: MLflow on this machine, until Ctrl-C."""

import signal
from pathlib import Path

import click

from degas_ray.cli.common import Verb, emit_json, home_option, json_option
from degas_ray.errors import DegasError

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command(
    "ui",
    cls=Verb,
    examples={"ui": "on a free port", "ui --port 5000": "on this one"},
)
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="Port to listen on.  [default: a free one]")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@home_option
@json_option
def command(port: int | None, host: str, home: Path, as_json: bool) -> None:
    """Browse studies, runs, pictures and models in MLflow; Ctrl-C stops the server.

    It listens on this machine alone unless --host says otherwise: MLflow itself asks nobody for a password.
    """
    from degas_ray.tracking import start_server

    # The server has a session of its own, so nothing that ends this process may pass it by.
    before = {number: signal.signal(number, signal.default_int_handler) for number in ENDS}
    try:
        server = start_server(home, port, host)
        try:
            if as_json:
                emit_json({"address": server.address, "front": server.front, "pid": server.pid})
            else:
                click.echo(f"MLflow: {server.front}\nCtrl-C stops it.")
            ended = _wait()
        finally:
            server.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if ended == signal.SIGCHLD:
        raise DegasError(f"the MLflow server ended by itself; its log is {home / 'tracking' / 'server.log'}")


def _wait() -> int:
    """Return the signal that came: one of :data:`ENDS`, or SIGCHLD where the server ended."""
    awaited = {*ENDS, signal.SIGCHLD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    try:
        return signal.sigwait(awaited)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
