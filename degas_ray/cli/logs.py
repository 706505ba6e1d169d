"""``degas-ray logs``: what a cluster's study has said so far."""

from pathlib import Path

import click

from degas_ray.cli.clusters import file_argument, opened
from degas_ray.cli.common import Verb, home_option


@click.command(
    "logs",
    cls=Verb,
    examples={"logs cluster.yaml": "everything", "logs cluster.yaml --lines 20": "the end of it"},
)
@file_argument
@click.option("--lines", "-n", type=click.IntRange(1), metavar="N", help="The last N lines only.")
@home_option
def command(file: Path, lines: int | None, home: Path) -> None:
    """Print the log of a cluster's last study and return; 'degas-ray attach' follows it."""
    from degas_ray.cluster import read_log

    text = read_log(opened(file, home))
    click.echo("".join(text.splitlines(keepends=True)[-(lines or 0) :]), nl=False)
