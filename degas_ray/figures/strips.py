"""Groups of values on one axis: every value a dot, the median a bar, its interval a line."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from degas_ray.errors import InputError
from degas_ray.figures import style

LINE = 0.27  # inches of one group
SPREAD = 0.26  # how far dots stand apart, as a share of a line


@dataclass(frozen=True)
class Strip:
    """One group.

    Args:
        panel: Groups of one panel share an axis; each panel has its own.
        name: Written beside the group.
        values: One dot each.
        median: Of the values.
        low: Lower end of the median's interval, if there is one.
        high: Upper end.
    """

    panel: str
    name: str
    values: tuple[float, ...]
    median: float
    low: float | None = None
    high: float | None = None


def strips(groups: Sequence[Strip], x: str) -> Figure:
    """Draw groups below each other, a panel for each of their kinds.

    Args:
        groups: In order; each name has its own colour, the same in all panels.
        x: What is measured; smaller stands to the left.

    Raises:
        InputError: Where there is no value.
    """
    drawn = [group for group in groups if group.values]
    if not drawn:
        raise InputError("strips: no group has a value yet")
    panels = list(dict.fromkeys(group.panel for group in drawn))
    names = list(dict.fromkeys(group.name for group in drawn))
    sizes = [sum(group.panel == panel for group in drawn) for panel in panels]
    figure = style.new_figure(height=0.6 * len(panels) + LINE * sum(sizes) + 0.3)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[size + 0.6 for size in sizes])[:, 0]
    for place, panel in zip(axes, panels, strict=True):
        own = [group for group in drawn if group.panel == panel]
        for line, group in enumerate(own):
            colour = style.SERIES[names.index(group.name) % len(style.SERIES)]
            count = len(group.values)
            heights = [line + SPREAD * (2 * i / (count - 1) - 1) if count > 1 else line for i in range(count)]
            place.scatter(sorted(group.values), heights, s=11, color=colour, alpha=0.55, linewidths=0)
            if group.low is not None and group.high is not None:
                place.plot([group.low, group.high], [line, line], color=colour, linewidth=2.2, solid_capstyle="butt")
            place.plot([group.median] * 2, [line - 0.36, line + 0.36], color=style.INK, linewidth=1.6)
        place.set_yticks(range(len(own)), [group.name for group in own])
        place.set_ylim(len(own) - 0.4, -0.6)
        style.tidy(place, x if panel == panels[-1] else "", "", panel)
    return figure
