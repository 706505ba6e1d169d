"""Rows of dictionaries as Markdown, HTML or LaTeX."""

import html as escape
import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "–": "--",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)


def markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Return a Markdown table; numbers stand to the right, and a bar in a cell stays in its cell.

    Args:
        rows: A missing value or None is shown as a dash.
        columns: Keys of the rows, in order; they are the headings.

    Example:
        >>> print(markdown([{"net": "DEGAS", "FID": 12.01}], ["net", "FID"]))
        | net   |   FID |
        |:------|------:|
        | DEGAS | 12.01 |
    """
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in _lines(rows, columns)]
    right = [_is_numeric(rows, column) for column in columns]
    widths = [max(3, len(column), *(len(line[i]) for line in cells)) for i, column in enumerate(columns)]
    rule = [f"{'-' * (w + 1)}:" if r else f":{'-' * (w + 1)}" for w, r in zip(widths, right, strict=True)]
    lines = [
        "| " + " | ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)) + " |"
        for line in [list(columns), *cells]
    ]
    return "\n".join([lines[0], "|" + "|".join(rule) + "|", *lines[1:]])


def html(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Return a ``<table>``; everything in it is escaped. See :func:`markdown` for the arguments."""
    right = [' class="number"' if _is_numeric(rows, column) else "" for column in columns]
    head = "".join(f"<th{r}>{escape.escape(column)}</th>" for column, r in zip(columns, right, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{r}>{escape.escape(cell)}</td>" for cell, r in zip(line, right, strict=True)) + "</tr>"
        for line in _lines(rows, columns)
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def latex(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Return a ``tabular`` with booktabs rules; everything in it is escaped. See :func:`markdown` for the arguments."""
    layout = "".join("r" if _is_numeric(rows, column) else "l" for column in columns)
    lines = [" & ".join(cell.translate(LATEX) for cell in line) + r" \\" for line in _lines(rows, columns)]
    head = " & ".join(column.translate(LATEX) for column in columns) + r" \\"
    return "\n".join(
        [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"]
    )


def _lines(rows: Sequence[Row], columns: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(_cells(rows, column) for column in columns), strict=True))


def _cells(rows: Sequence[Row], column: str) -> list[str]:
    values = [row.get(column) for row in rows]
    numbers = [abs(v) for v in values if isinstance(v, float) and math.isfinite(v) and v]
    # A column of numbers above 1 gets equal decimals, so that they can be compared; small ones get three digits each.
    even = bool(numbers) and min(numbers) >= 1
    decimals = 2 if even and max(numbers) < 1000 else 1
    return [_text(value, decimals if even else None) for value in values]


def _text(value: Any, decimals: int | None) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _is_numeric(rows: Sequence[Row], column: str) -> bool:
    values = [row.get(column) for row in rows if row.get(column) is not None]
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
