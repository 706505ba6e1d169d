"""Results that are kept: a long table is made in pieces, goes on where it stopped, and is put into a Markdown file."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

Row = dict[str, Any]
Cell = TypeVar("Cell")


def gather(
    cells: Sequence[Cell],
    file_of: Callable[[Cell], Path],
    measure: Callable[[Cell, list[Row]], Row],
    tell: Callable[[Row], str],
    seconds: float | None = None,
) -> list[Row]:
    """Return the results of ``cells``: those that are kept, and new ones until ``seconds`` have gone by.

    Args:
        cells: What is measured, in order.
        file_of: Where the result of a cell is kept; its folder is made.
        measure: Gets a cell and the rows before it.
        tell: Says a new result in a line.
        seconds: After so long no cell is begun.
    """
    began, rows = time.monotonic(), list[Row]()
    for cell in cells:
        file = file_of(cell)
        if not file.exists() and (seconds is None or time.monotonic() - began < seconds):
            row = measure(cell, rows)
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary = file.with_suffix(".tmp")
            temporary.write_text(json.dumps(row), encoding="utf-8")
            temporary.replace(file)
            click.echo(tell(row), err=True)
        if file.exists():
            rows.append(json.loads(file.read_text(encoding="utf-8")))
    return rows


def insert(table: str, file: Path, mark: str) -> None:
    """Put a table between two marks in a file, in place of what is there.

    Args:
        table: Markdown.
        file: Has the lines ``<!-- MARK: begin -->`` and ``<!-- MARK: end -->``.
        mark: Whose table it is.
    """
    first, last = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, begin, rest = file.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise click.UsageError(f"--into: {file} has no lines {first} and {last} to put the table between")
    file.write_text(f"{before}{first}\n{table}\n{last}{after}", encoding="utf-8")
