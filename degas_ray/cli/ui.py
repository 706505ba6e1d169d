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
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="Port on 127.0.0.1.  [default: a free one]")
@home_option
@json_option
def command(port: int | None, home: Path, as_json: bool) -> None:
    """Browse studies, runs, pictures and models in MLflow; Ctrl-C stops the server.

    It listens on this machine alone.
    """
    from degas_ray.tracking import start_server

    # The server has a session of its own, so nothing that ends this process may pass it by.
    before = {number: signal.signal(number, signal.default_int_handler) for number in ENDS}
    try:
        server = start_server(home, port)
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
