"""A whole study in one figure: optimisation history, parallel coordinates, importance of hyperparameters."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from degas_ray.errors import InputError
from degas_ray.figures import style

Row = Mapping[str, Any]

SPREAD = 0.09  # between the first and the last of equal values
LINE = 10  # characters of a name beside its neighbours
LOG_RATIO = 30.0  # positive values that span more than this are drawn on a logarithmic axis


def optimisation_history(scores: Sequence[float | None], objective: str = "fid") -> Figure:
    """Draw every trial's score, in order, and the best so far.

    Args:
        scores: Small is good; None or not finite for a trial without one (pruned, diverged, failed).
        objective: Its name.

    Raises:
        InputError: Where no trial has a score.
    """
    finite = [(i, s) for i, s in enumerate(scores) if s is not None and math.isfinite(s)]
    if not finite:
        raise InputError("optimisation history: no trial has a score yet")
    missing = [i for i in range(len(scores)) if i not in {i for i, _ in finite}]
    figure = style.new_figure(height=2.9)
    axes = figure.add_subplot()
    places = [i for i, _ in finite]
    axes.scatter(
        places, [s for _, s in finite], s=24, color=style.SKY, edgecolor=style.BLUE, linewidth=0.7, label="trial"
    )
    best = list(accumulate((s for _, s in finite), min))
    axes.plot(
        [*places, len(scores) - 1],
        [*best, best[-1]],
        drawstyle="steps-post",
        color=style.VERMILLION,
        linewidth=1.5,
        label="best so far",
    )
    if missing:
        look: dict[str, Any] = {"linestyle": "none", "marker": "x", "markersize": 5, "color": style.GREY}
        bottom = axes.get_xaxis_transform()  # x in trials, y from 0 to 1
        axes.plot(missing, [0.03] * len(missing), label="no score", transform=bottom, **look)
    style.tidy(axes, "trial", objective)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.legend(axes)
    return figure


def parallel_coordinates(rows: Sequence[Row], columns: Sequence[str], score: str) -> Figure:
    """Draw each trial as a line through its hyperparameters to its score; dark is good.

    Args:
        rows: One trial each; those without a finite ``score`` are left out.
        columns: Keys of the axes; a column of text gets one height a value, a wide positive one a logarithmic axis.
        score: Key of the last axis and of the colour; small is good.

    Raises:
        InputError: Where no row has a score.
    """
    rows = [row for row in rows if isinstance(row.get(score), int | float) and math.isfinite(row[score])]
    if not rows:
        raise InputError(f"parallel coordinates: no trial has a finite {score}")
    names = [*columns, score]
    scales = [_Axis([row.get(name) for row in rows]) for name in names]
    values = np.array([float(row[score]) for row in rows])
    order = np.argsort(-values, kind="stable")  # the best is drawn last, on top
    heights = np.array([scale.heights() for scale in scales]).T[order]  # [trials, axes]
    norm = Normalize(float(values.min()), float(values.max()))
    lines = LineCollection([list(enumerate(line)) for line in heights], cmap=style.SCORES, norm=norm, alpha=0.9)
    lines.set(array=values[order], linewidths=[1.1] * (len(rows) - 1) + [2.6])
    figure = style.new_figure(height=3.1)
    axes = figure.add_subplot()
    axes.add_collection(lines)
    for i, scale in enumerate(scales):
        axes.axvline(i, color=style.GREY, linewidth=0.8)
        for height, text in scale.ticks():
            axes.text(i + 0.03, height, text, fontsize=6.5, color=style.INK, va="center", ha="left", bbox=_HALO)
    axes.set(xlim=(-0.1, len(names) - 0.55), ylim=(-0.07, 1.07), yticks=[])
    axes.set_xticks(range(len(names)), [_short_lines(name) for name in names], fontsize=style.SMALL, color=style.INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(ScalarMappable(norm, style.SCORES), ax=axes, pad=0.01, aspect=30)
    bar.set_label(score, fontsize=style.NORMAL, color=style.INK)
    bar.ax.tick_params(labelsize=style.SMALL, length=2)
    return figure


def importances(values: Mapping[str, float], objective: str = "fid") -> Figure:
    """Draw how much of the score's variance each hyperparameter explains, the largest on top.

    Args:
        values: Hyperparameters to shares, 0 to 1.
        objective: The score's name.

    Raises:
        InputError: Where there are none.
    """
    if not values:
        raise InputError("importances: got none, expected at least one hyperparameter")
    items = sorted(values.items(), key=lambda item: item[1])
    figure = style.new_figure(height=0.28 * len(items) + 0.8)
    axes = figure.add_subplot()
    bars = axes.barh([key for key, _ in items], [value for _, value in items], color=style.BLUE, height=0.62)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=style.SMALL, color=style.INK)
    style.tidy(axes, f"share of the variance of {objective}")
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, max(max(values.values()) * 1.12, 1e-9))
    return figure


_HALO = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}


class _Axis:
    """Maps one column's values to heights from 0 to 1."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        self.choices: list[str] = []
        if len(numbers) < len([v for v in values if v is not None]) or not numbers:
            self.choices = sorted({str(v) for v in values})
            return
        self.log = min(numbers) > 0 and max(numbers) / min(numbers) > LOG_RATIO
        self.whole = all(isinstance(v, int) for v in numbers)
        self.low, self.high = self._scaled(min(numbers)), self._scaled(max(numbers))

    def heights(self) -> list[float]:
        """Return a height for each value; equal ones stand a little apart, so that lines can be counted."""
        places = [self._place(value) for value in self.values]
        seen = Counter[float]()
        spread = []
        for place in places:
            together = places.count(place)
            spread.append(place + SPREAD * (seen[place] / (together - 1) - 0.5 if together > 1 else 0.0))
            seen[place] += 1
        return spread

    def _place(self, value: Any) -> float:
        if self.choices:
            return 0.5 if len(self.choices) == 1 else self.choices.index(str(value)) / (len(self.choices) - 1)
        if value is None or self.high == self.low:
            return 0.5
        return (self._scaled(value) - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        if self.choices:
            return [(self._place(choice), choice) for choice in self.choices]
        if self.high == self.low:
            return [(0.5, _short(self._value(self.low)))]
        ends = [self._value(self.low + share * (self.high - self.low)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
        if self.whole and ends[-1] - ends[0] <= 4:
            ends = [float(v) for v in range(round(ends[0]), round(ends[-1]) + 1)]
        return [(self._place(value), _short(value)) for value in ends]

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else float(value)

    def _value(self, scaled: float) -> float:
        return 10**scaled if self.log else scaled


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def _short_lines(name: str) -> str:
    """Break a dotted name at its dots and underscores, so that neighbouring axes keep their names apart."""
    lines: list[str] = []
    for part in re.findall(r"[^._ ]+[._ ]?", name) or [name]:
        if lines and lines[-1][-1] not in ". " and len(lines[-1]) + len(part) <= LINE:
            lines[-1] += part
        else:
            lines.append(part)
    return "\n".join(lines)
