"""A genotype drawn as in the paper's figure 3: stages from left to right, residuals as arcs.

In a stage the two up-sampled maps stand on the upper line and the normal maps below each other between them, so the
figure is as wide for n = 3 as for n = 1. Every operation is a labelled sign on its edge: a rounded one keeps the size,
one that opens to the right enlarges. Its ``gid`` is ``op:NAME:SOURCE->TARGET``.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path

from degas_ray.figures import style
from degas_ray.space import Edge, Genotype

Point = tuple[float, float]

STAGES = 3
# Inches, of a figure that is printed about 6.9 wide; sizes of type in points.
STAGE = 2.3  # from one up-sampled map to the next
ROW = 0.84  # between normal maps
LEFT, RIGHT = 0.92, 0.95
BELOW = 0.72
LOW_ARC, HIGH_ARC = 0.66, 1.16  # how far residual arcs rise above the upper line
CHIP_WIDTH, CHIP_HEIGHT = 0.57, 0.32
GAP = 0.13  # an arrow between a sign and a map
SIDES = (0.38, 0.42, 0.45, 0.48)  # maps of 1, 2, 4 and 8 times the base size
TURN = 0.1  # radius of a corner
LANE, LANES = 0.05, 3  # between parallel lines
FILL = {"normal": "#D6E9F5", "upsample": "#FBE0CC"}
LINE = {"normal": style.BLUE, "upsample": style.VERMILLION}
WORDS, MINOR, TINY = 8.0, 7.5, 6.5


@dataclass(frozen=True)
class _Node:
    name: str
    kind: str
    stage: int
    row: int  # 0 on the upper line, then 1 to 3
    size: int
    x: float
    y: float
    side: float


def draw_genotype(genotype: Genotype, resolution: int = 32) -> Figure:
    """Draw a genotype for images of ``resolution`` pixels.

    Args:
        genotype: With n = 1 to 3.
        resolution: Of the generated images; only the sizes written in the maps depend on it.

    Returns:
        A figure 8.8 inches wide; :func:`degas_ray.figures.save` writes it as SVG or PNG.
    """
    edges = [(edge, m.name) for m in genotype.maps for edge in m.inputs]
    top = 0.36 + _rise(genotype)
    depth = ROW * genotype.n + 0.36
    width = LEFT + STAGES * STAGE + RIGHT
    figure = Figure(figsize=(width, top + depth + BELOW), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(-depth - BELOW, top)
    nodes = _place(genotype, resolution)
    _draw_stages(axes, resolution, top, depth)
    _draw_ends(axes, nodes, resolution)
    bypassed = {m.stage for m in genotype.maps for edge in m.inputs if _bypasses(edge, m.name)}
    for edge, target in edges:
        name = f"{edge.op}:{edge.source}->{target}"
        path, place = _route(nodes[edge.source], nodes[target], edge, bypassed)
        _draw_line(axes, path, residual=edge.residual, gid=f"{'arc' if edge.residual else 'line'}:{name}")
        _draw_chip(axes, place, edge, f"op:{name}")
    for node in nodes.values():
        _draw_node(axes, node)
    _draw_legend(axes, width / 2 - 3.05, -depth - BELOW + 0.2)
    return figure


def _rise(genotype: Genotype) -> float:
    strides = [e.stride for m in genotype.maps if m.kind == "upsample" for e in m.inputs if e.source[0] == "U"]
    return HIGH_ARC if 4 in strides else LOW_ARC


def _bypasses(edge: Edge, target: str) -> bool:
    """Tell whether an edge goes from the first normal map of a stage to the third."""
    return edge.residual and edge.source[0] == target[0] == "N"


def _place(genotype: Genotype, resolution: int) -> dict[str, _Node]:
    base = resolution // 2**STAGES
    nodes = {"U0": _Node("U0", "upsample", 0, 0, base, LEFT, 0.0, SIDES[0])}
    for feature_map in genotype.maps:
        stage, name = feature_map.stage, feature_map.name
        if feature_map.kind == "upsample":
            nodes[name] = _Node(name, "upsample", stage, 0, base * 2**stage, LEFT + stage * STAGE, 0.0, SIDES[stage])
        else:
            row = 1 + "abc".index(name[-1])
            x = LEFT + (stage - 0.5) * STAGE
            nodes[name] = _Node(name, "normal", stage, row, base * 2 ** (stage - 1), x, -ROW * row, SIDES[stage - 1])
    return nodes


def _draw_stages(axes: Axes, resolution: int, top: float, depth: float) -> None:
    for stage in range(1, STAGES + 1):
        left = LEFT + (stage - 1) * STAGE
        fill = "#F5F5F5" if stage % 2 else "white"
        axes.add_patch(Rectangle((left, -depth), STAGE, depth + top, facecolor=fill, linewidth=0, zorder=0))
        small, large = resolution // 2 ** (STAGES + 1 - stage), resolution // 2 ** (STAGES - stage)
        text = f"stage {stage}:  {small}×{small} → {large}×{large}"
        axes.text(left + STAGE / 2, -depth - 0.14, text, ha="center", va="center", fontsize=WORDS, color=style.GREY)


def _draw_ends(axes: Axes, nodes: dict[str, _Node], resolution: int) -> None:
    first, last = nodes["U0"], nodes[f"U{STAGES}"]
    axes.add_patch(Circle((0.2, 0), 0.15, facecolor="white", edgecolor=style.INK, linewidth=1, zorder=4))
    axes.text(0.2, 0, "z", ha="center", va="center", fontsize=9, style="italic", color=style.INK, zorder=5)
    _draw_line(axes, _straight((0.35, 0), (first.x - first.side / 2, 0)), residual=False)
    axes.text((0.32 + first.x - first.side / 2) / 2, 0.07, "linear", ha="center", fontsize=TINY, color=style.GREY)
    start, end = last.x + last.side / 2, last.x + RIGHT - 0.24
    _draw_line(axes, _straight((start, 0), (end - 0.16, 0)), residual=False)
    axes.text(end, 0.0, "RGB", ha="center", va="center", fontsize=WORDS, color=style.INK)
    axes.text(end, -0.15, f"{resolution}×{resolution}", ha="center", va="center", fontsize=TINY, color=style.GREY)
    middle = last.x + 0.5
    axes.text(middle, 0.13, "BN, ReLU,\nconv 3×3,\ntanh", ha="center", fontsize=TINY, color=style.GREY)


def _route(source: _Node, target: _Node, edge: Edge, bypassed: set[int]) -> tuple[Path, Point]:
    """Return the way of an edge and the middle of its sign; ``bypassed`` stages have an arc around their second map."""
    if source.kind == target.kind == "upsample":
        return _over(source, target, HIGH_ARC if edge.stride == 4 else LOW_ARC)
    if source.kind == "upsample":
        lane = source.x + 0.04 + LANE * (LANES - target.row)
        left = target.x - target.side / 2
        path = _corner((lane, -source.side / 2), (lane, target.y), (left, target.y))
        return path, (left - GAP - CHIP_WIDTH / 2, target.y)
    if target.kind == "upsample":
        lane = target.x - 0.04 - LANE * (LANES - source.row)
        right = source.x + source.side / 2
        path = _corner((right, source.y), (lane, source.y), (lane, -target.side / 2))
        aside = GAP if source.row == 2 and source.stage in bypassed else 0.0
        return path, (right + GAP + aside + CHIP_WIDTH / 2, source.y)
    low, high = source.y - source.side / 2, target.y + target.side / 2
    if not edge.residual:
        return _straight((source.x, low), (target.x, high)), (source.x, (low + high) / 2)
    middle = target.y + ROW / 2
    right, x = source.x + source.side / 2, source.x + CHIP_WIDTH / 2 + 0.07
    points = [
        (right, source.y - 0.1),
        (x + 0.05, source.y - 0.18),
        (x, source.y - 0.3),
        (x, middle + 0.1),
        (x, middle - 0.2),
        (x + 0.02, target.y + 0.15),
        (right, target.y + 0.14),
    ]
    return Path(points, [Path.MOVETO, *[Path.CURVE4] * 6]), (x + CHIP_WIDTH / 2 - 0.03, middle)


def _over(source: _Node, target: _Node, height: float) -> tuple[Path, Point]:
    """Return an arc above the upper line; the sign sits on its top."""
    start, end = (source.x + 0.06, source.side / 2), (target.x - 0.06, target.side / 2)
    pull = 0.22 * (end[0] - start[0])
    base = (start[1] + end[1]) / 2
    rise = base + (height - base) * 4 / 3  # a cubic curve reaches three quarters of the way to its two handles
    points = [start, (start[0] + pull, rise), (end[0] - pull, rise), end]
    return Path(points, [Path.MOVETO, *[Path.CURVE4] * 3]), ((start[0] + end[0]) / 2, height)


def _straight(start: Point, end: Point) -> Path:
    return Path([start, end], [Path.MOVETO, Path.LINETO])


def _corner(start: Point, corner: Point, end: Point) -> Path:
    """Return a line that turns once by a right angle, rounded."""
    before, after = (_towards(corner, other, TURN) for other in (start, end))
    codes = [Path.MOVETO, Path.LINETO, Path.CURVE3, Path.CURVE3, Path.LINETO]
    return Path([start, before, corner, after, end], codes)


def _towards(point: Point, other: Point, length: float) -> Point:
    dx, dy = other[0] - point[0], other[1] - point[1]
    share = length / (dx**2 + dy**2) ** 0.5
    return point[0] + dx * share, point[1] + dy * share


def _draw_line(axes: Axes, path: Path, *, residual: bool, gid: str = "") -> None:
    colour = style.GREEN if residual else style.INK
    line = PathPatch(path, facecolor="none", edgecolor=colour, linewidth=1.4 if residual else 1.1, zorder=2)
    line.set_linestyle((0, (4, 1.6)) if residual else "-")
    if gid:
        line.set_gid(gid)
    axes.add_patch(line)
    (x0, y0), (x1, y1) = np.asarray(path.vertices)[-2:].tolist()
    tip = (x1, y1)
    neck = _towards(tip, (x0, y0), 0.095)
    dx, dy = (tip[1] - neck[1]) * 0.45, (neck[0] - tip[0]) * 0.45
    head = [tip, (neck[0] + dx, neck[1] + dy), (neck[0] - dx, neck[1] - dy)]
    axes.add_patch(Polygon(head, closed=True, facecolor=colour, linewidth=0, zorder=3))


def _draw_chip(axes: Axes, place: Point, edge: Edge, gid: str) -> None:
    _draw_sign(axes, place, CHIP_WIDTH, CHIP_HEIGHT, enlarges=edge.stride > 1)
    text = axes.text(*place, _label(edge), ha="center", va="center", fontsize=MINOR, color=style.INK, zorder=6)
    text.set_linespacing(1.0)
    text.set_gid(gid)


def _draw_sign(axes: Axes, place: Point, width: float, height: float, *, enlarges: bool) -> None:
    x, y = place
    left, low = x - width / 2, y - height / 2
    sign: FancyBboxPatch | Polygon
    if enlarges:
        step = height / 5
        corners = [(left, low + step), (left + width, low - step / 2)]
        corners += [(left + width, y + height / 2 + step / 2), (left, y + height / 2 - step)]
        sign = Polygon(corners, closed=True)
    else:
        sign = FancyBboxPatch((left, low), width, height, boxstyle=f"round,pad=0,rounding_size={height / 2.5}")
    kind = "upsample" if enlarges else "normal"
    sign.set(facecolor=FILL[kind], edgecolor=LINE[kind], linewidth=1.0, zorder=5)
    axes.add_patch(sign)


def _label(edge: Edge) -> str:
    if edge.op == "skip_connect":
        return "skip"
    name, _, kernel = edge.op.rpartition("_")
    times = f" ↑{edge.stride}" if edge.stride == 4 else ""
    return f"{name.replace('_', ' ')}\n{kernel.replace('x', '×')}{times}"


def _draw_node(axes: Axes, node: _Node) -> None:
    half = node.side / 2
    square = Rectangle((node.x - half, node.y - half), node.side, node.side, zorder=4)
    square.set(facecolor="white" if node.kind == "normal" else "#FFF8F2", edgecolor=LINE[node.kind], linewidth=1.6)
    square.set_gid(f"map:{node.name}")
    axes.add_patch(square)
    axes.text(node.x, node.y + 0.055, node.name, ha="center", va="center", fontsize=MINOR, color=style.INK, zorder=6)
    size = f"{node.size}×{node.size}"
    axes.text(node.x, node.y - 0.075, size, ha="center", va="center", fontsize=TINY, color=style.GREY, zorder=6)


def _draw_legend(axes: Axes, x: float, y: float) -> None:
    for enlarges, text in ((False, "keeps the size"), (True, "up-samples")):
        _draw_sign(axes, (x, y), 0.3, 0.16, enlarges=enlarges)
        axes.text(x + 0.24, y, text, ha="left", va="center", fontsize=WORDS, color=style.INK)
        x += 1.5
    for residual, text in ((False, "direct connection"), (True, "residual connection")):
        _draw_line(axes, _straight((x - 0.2, y), (x + 0.22, y)), residual=residual)
        axes.text(x + 0.3, y, text, ha="left", va="center", fontsize=WORDS, color=style.INK)
        x += 1.75
