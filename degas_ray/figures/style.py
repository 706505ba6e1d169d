"""The look of every figure. Colours are Okabe and Ito's, which colour-blind readers tell apart.

Figures are made from ``matplotlib.figure.Figure`` alone, without pyplot and without global settings, so that threads
may draw at the same time.
"""

import os
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from degas_ray.errors import InputError

BLUE = "#0072B2"
VERMILLION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
ORANGE = "#E69F00"
SKY = "#56B4E9"
INK = "#1A1A1A"
GREY = "#6B6B6B"
PALE = "#EFEFEF"
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")
# dark is small; cividis without its pale end
SCORES = LinearSegmentedColormap.from_list("scores", [colormaps["cividis"](i / 10) for i in range(10)])
SHARES = LinearSegmentedColormap.from_list("shares", ["#FFFFFF", "#B5D8EE", BLUE, "#00263D"])  # dark is large

WIDTH = 6.9  # inches: the text block of a page
SMALL, NORMAL = 7.0, 8.0  # points at that width
DPI = 200


def new_figure(width: float = WIDTH, height: float = 3.2) -> Figure:
    """Return an empty figure of this size in inches, laid out so that nothing overlaps."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def tidy(axes: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Give axes the common look: two spines, light grid, small ticks, labels."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=SMALL, color=GREY, labelcolor=INK, length=3)
    axes.grid(visible=True, color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        if isinstance(axis.get_major_formatter(), ScalarFormatter):
            axis.set_major_formatter(_plain)
    axes.set_xlabel(x, fontsize=NORMAL, color=INK)
    axes.set_ylabel(y, fontsize=NORMAL, color=INK)
    if title:
        axes.set_title(title, fontsize=NORMAL, color=INK, loc="left", fontweight="bold")


def legend(axes: Axes) -> None:
    """Put the legend above the axes, where it covers no data."""
    axes.legend(
        fontsize=SMALL,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=4,
        borderaxespad=0.2,
        labelcolor=INK,
    )


def _plain(value: float, _: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all.

    Args:
        figure: Any of this room's figures.
        path: Ends in .png (200 dots an inch) or .svg.

    Raises:
        InputError: For another ending.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise InputError(f"figure file: got {path.name!r}, expected a name that ends in .png or .svg")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    metadata = {"Date": None} if kind == "svg" else {}
    try:
        figure.savefig(temporary, format=kind, dpi=DPI, metadata=metadata)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
