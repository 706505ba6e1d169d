"""``degas-ray report``: a study as one page that opens anywhere."""

from pathlib import Path

import click

from degas_ray.cli.common import Verb, emit_json, home_option, json_option, suffix_of


@click.command(
    "report",
    cls=Verb,
    examples={
        "report digits-1": "into the study's folder",
        "report digits-1 --out digits.html": "to send to somebody",
    },
)
@click.argument("study")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="The page.  [default: in the study's folder]"
)
@home_option
@json_option
def command(study: str, out: Path | None, home: Path, as_json: bool) -> None:
    """Write a study as one HTML page: what was searched, the winner, figures, tables, how to get each line again.

    The page holds everything: it opens offline and can be sent as it is.
    """
    suffix_of(out, "--out", ".html")
    from degas_ray.files import write_bytes
    from degas_ray.report.report import write_report

    text = write_report(home, study)
    target = out if out is not None else home / "studies" / study / "report.html"
    write_bytes(target, text.encode())
    if as_json:
        emit_json({"study": study, "out": target, "bytes": len(text.encode())})
    else:
        click.echo(f"Written to {target}")
