"""What happened over time, and what was traded for what: score curves, alpha heat maps, Pareto fronts."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from degas_ray.errors import InputError
from degas_ray.figures import style

Row = Mapping[str, Any]

OP_ROW = 0.128  # inches of one operation in a heat map


def curve(rows: Sequence[Row], x: str, ys: Sequence[str], *, title: str = "") -> Figure:
    """Draw one or more series over a common axis; a value that is missing or not finite leaves a gap.

    Args:
        rows: Such as the lines of a run's ``stats.jsonl``; rows without ``x`` are left out.
        x: The key of the axis, such as ``step``.
        ys: Keys of the series; each gets its own colour, dash and marker.
        title: Above it.

    Raises:
        InputError: Where no row has any of them.
    """
    figure = style.new_figure(height=2.9)
    axes = figure.add_subplot()
    drawn = 0
    for number, key in enumerate(ys):
        points = sorted((float(row[x]), _finite(row[key])) for row in rows if x in row and key in row)
        if not points:
            continue
        drawn += 1
        axes.plot(
            [point[0] for point in points],
            [point[1] for point in points],
            color=style.SERIES[number % len(style.SERIES)],
            linestyle=style.DASHES[number % len(style.DASHES)],
            marker=style.MARKERS[number % len(style.MARKERS)] if len(points) <= 25 else None,
            markersize=4,
            linewidth=1.5,
            label=key,
        )
    if not drawn:
        raise InputError(f"curve: no row has {x!r} together with any of {', '.join(ys)}")
    style.tidy(axes, x, ys[0] if drawn == 1 else "", title)
    if drawn > 1:
        style.legend(axes)
    return figure


def alpha_heatmap(history: Sequence[Row]) -> Figure:
    """Draw softmax(alpha) of every connection over the search, one panel a connection and a column a stage.

    Args:
        history: ``{"step": int, "alphas": {"U0->N1a": {"conv_3x3": weight, ...}}}``, each connection with the same
            operations throughout; entries without alphas are left out.

    Returns:
        A figure 6.9 inches wide. The strongest operation of the last entry is in bold.

    Raises:
        InputError: Where no entry has alphas.
    """
    entries = sorted((entry for entry in history if entry.get("alphas")), key=lambda entry: int(entry["step"]))
    if not entries:
        raise InputError("alpha heat map: no entry of the history has alphas")
    panels = _panels(entries[-1]["alphas"])
    heights = [max(len(entries[-1]["alphas"][name]) for name in row if name) for row in panels]
    figure = style.new_figure(height=sum(heights) * OP_ROW + 0.3 * len(panels) + 0.8)
    grid = figure.add_gridspec(len(panels), len(panels[0]), height_ratios=heights)
    top = max(weight for entry in entries for ops in entry["alphas"].values() for weight in ops.values())
    scale = Normalize(0.0, top)
    for line, row in enumerate(panels):
        for column, name in enumerate(row):
            if name:
                axes = figure.add_subplot(grid[line, column])
                _heat_panel(axes, entries, name, scale, last=not any(below[column] for below in panels[line + 1 :]))
    bar = figure.colorbar(
        ScalarMappable(scale, style.SHARES), ax=figure.axes, location="bottom", shrink=0.4, aspect=40, pad=0.02
    )
    bar.set_label("softmax(α)", fontsize=style.NORMAL, color=style.INK)
    bar.ax.tick_params(labelsize=style.SMALL, length=2)
    return figure


def pareto(points: Sequence[Row], x: str = "parameters", y: str = "fid", *, knee: str = "") -> Figure:
    """Draw two objectives, both to be small, and the front of those that no other beats in both.

    Args:
        points: Each with ``x``, ``y`` and optionally ``name``; those that are not finite are left out.
        x: Key of the axis to the right.
        y: Key of the axis upward.
        knee: Name of the point to mark, the one promoted.

    Raises:
        InputError: Where no point is finite in both.
    """
    finite = [p for p in points if math.isfinite(_finite(p.get(x))) and math.isfinite(_finite(p.get(y)))]
    if not finite:
        raise InputError(f"Pareto figure: no point has a finite {x} and {y}")
    front = pareto_front([(float(p[x]), float(p[y])) for p in finite])
    figure = style.new_figure(height=3.6)
    axes = figure.add_subplot()
    others = [p for i, p in enumerate(finite) if i not in front]
    best = sorted((finite[i] for i in front), key=lambda p: float(p[x]))
    axes.scatter([p[x] for p in others], [p[y] for p in others], s=22, color=style.SKY, marker="o", label="dominated")
    axes.plot([p[x] for p in best], [p[y] for p in best], drawstyle="steps-post", color=style.VERMILLION, linewidth=1.2)
    axes.scatter(
        [p[x] for p in best], [p[y] for p in best], s=34, color=style.VERMILLION, marker="s", label="Pareto front"
    )
    for point in best:
        if point.get("name"):
            where = (float(point[x]), float(point[y]))
            axes.annotate(str(point["name"]), where, (4, 5), textcoords="offset points", fontsize=style.SMALL)
    chosen = [p for p in finite if knee and p.get("name") == knee]
    if chosen:
        ring = axes.scatter([p[x] for p in chosen], [p[y] for p in chosen], s=130, marker="o", label="promoted")
        ring.set(facecolor="none", edgecolor=style.INK, linewidth=1.3)
    style.tidy(axes, x, y)
    style.legend(axes)
    return figure


def pareto_front(points: Sequence[tuple[float, float]]) -> set[int]:
    """Return the places of the points that no other is at least as small as in both and smaller in one."""
    return {i for i, (a, b) in enumerate(points) if not any(c <= a and d <= b and (c < a or d < b) for c, d in points)}


def _heat_panel(axes: Axes, entries: Sequence[Row], name: str, scale: Normalize, *, last: bool) -> None:
    ops = list(entries[-1]["alphas"][name])
    weights = [[float(entry["alphas"][name][op]) for entry in entries] for op in ops]
    steps = [int(entry["step"]) for entry in entries]
    edges = _edges(steps)
    axes.pcolormesh(edges, range(len(ops) + 1), weights, norm=scale, cmap=style.SHARES, rasterized=True)
    axes.invert_yaxis()
    axes.set_title(name.replace("->", " → "), fontsize=style.NORMAL, color=style.INK, loc="left", pad=3)
    axes.set_yticks([i + 0.5 for i in range(len(ops))], [_spoken(op) for op in ops])
    axes.tick_params(labelsize=6.0, length=0, pad=2)
    strongest = max(range(len(ops)), key=lambda i: weights[i][-1])
    axes.get_yticklabels()[strongest].set_fontweight("bold")
    axes.spines[:].set(color=style.GREY, linewidth=0.5)
    if last:
        axes.set_xlabel("step", fontsize=style.SMALL, color=style.INK)
        axes.tick_params(axis="x", labelsize=6.0, length=2)
    else:
        axes.set_xticks([])


def _spoken(op: str) -> str:
    name, _, kernel = op.rpartition("_")
    return f"{name} {kernel.replace('x', '×')}".replace("_", " ") if kernel[-1:].isdigit() else op.replace("_", " ")


def _panels(alphas: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """Put connections into rows of equal operations and columns of their target's stage; '' where there is none."""
    stages = sorted({_stage(name) for name in alphas})
    kinds = list(dict.fromkeys(tuple(ops) for ops in alphas.values()))
    rows: list[list[str]] = []
    for kind in sorted(kinds, key=lambda ops: ("conv_1x1" not in ops and "up_conv_1x1" in ops, "none" in ops)):
        columns = [[name for name in alphas if tuple(alphas[name]) == kind and _stage(name) == s] for s in stages]
        depth = max(map(len, columns))
        # a shorter column stands below: equal strides side by side, the step axis at the end
        padded = [[""] * (depth - len(names)) + names for names in columns]
        rows += [list(line) for line in zip(*padded, strict=True)]
    return rows


def _stage(connection: str) -> str:
    return connection.partition("->")[2][1:2]


def _edges(steps: Sequence[int]) -> list[float]:
    if len(steps) == 1:
        return [steps[0] - 0.5, steps[0] + 0.5]
    middles = [(a + b) / 2 for a, b in pairwise(steps)]
    return [steps[0] - (middles[0] - steps[0]), *middles, steps[-1] + (steps[-1] - middles[-1])]


def _finite(value: Any) -> float:
    number = float(value) if isinstance(value, int | float) else math.nan
    return number if math.isfinite(number) else math.nan
