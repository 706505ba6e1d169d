"""``degas-ray compare``: our generators beside each other and beside the published ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from degas_ray.cli.common import Verb, emit_json, home_option, json_option, print_table, print_words, suffix_of
from degas_ray.cli.results import heading

if TYPE_CHECKING:
    from degas_ray.report.comparison import Table

_FORMATS = (".md", ".html", ".tex", ".parquet")
_RIGHT = ("rank", "IS", "distance", "params", "M macs")


@click.command(
    "compare",
    cls=Verb,
    examples={
        "compare": "everything in this home, beside the paper's Tables 1 to 4",
        "compare digits-1 train-1": "two generators, ranked; refused where they were measured in different ways",
        "compare digits-1 train-1 --any-protocol": "side by side all the same",
        "compare --out tables.tex": "for a paper; also .md, .html, .parquet",
    },
)
@click.argument("what", nargs=-1, metavar="[RUN|STUDY|GENOTYPE]...")
@click.option("--any-protocol", is_flag=True, help="Rank scores although they were measured in different ways.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write it: .md, .html, .tex or .parquet.")
@home_option
@json_option
def command(what: tuple[str, ...], any_protocol: bool, out: Path | None, home: Path, as_json: bool) -> None:
    """Print tables like the paper's: scores, parameters, multiply-adds and cost of the search, each with its protocol.

    RUN is a training's name, or an MLflow run id of a training, a trial or a promotion. STUDY stands for its winner,
    whatever else was promoted: at full length where that was trained. GENOTYPE adds its size alone. Without any, all of
    this home is shown beside the published tables, ranked among what was measured in the same way.
    """
    suffix_of(out, "--out", *_FORMATS)
    from degas_ray.report import comparison
    from degas_ray.report.entries import find_entries

    found = comparison.compare(find_entries(what, home), chosen=bool(what), any_protocol=any_protocol)
    words = comparison.note(any_protocol)
    if out is not None:
        comparison.write(out, found, words)
    if as_json:
        emit_json({"note": words, "out": out, "tables": [_facts(table) for table in found]})
        return
    for table in found:
        heading(table.title)
        _print(table)
    click.echo("")
    print_words(words)
    if out is not None:
        click.echo(f"Written to {out}")


def _facts(table: "Table") -> dict[str, Any]:
    from degas_ray.report.comparison import cells

    return {"title": table.title, "rows": cells(table)}


def _print(table: "Table") -> None:
    """Print a table for a terminal: what it is measured by in a legend below, where every line has room for it."""
    from degas_ray.report.comparison import cells

    marks: dict[str, str] = {}
    rows = []
    for row in cells(table):
        measured = row["measured by"]
        mark = marks.setdefault(measured, f"{len(marks) + 1}") if measured else "–"
        macs = f"{row['multiply-adds'] / 1e6:,.1f}" if row["multiply-adds"] else "–"
        params = f"{row['parameters']:,}" if row["parameters"] else "–"
        search = row["search"] and row["search"].replace("GPU-days", "d")
        shown = [row["rank"], row["generator"], row["IS"], row["distance"], params, macs, search, mark]
        rows.append(tuple("–" if value is None else str(value) for value in shown))
    print_table(("rank", "generator", "IS", "distance", "params", "M macs", "search", "by"), rows, right=_RIGHT)
    for measured, mark in marks.items():
        print_words(f"by {mark}: {measured}", indent=6)
    print_words("search: h of this machine, d on one GPU; M macs: millions of multiply-adds an image")
