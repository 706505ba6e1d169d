"""Curves, heat maps, overviews: what is drawn is what was given."""

import math
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.figure import Figure
from PIL import Image

from degas_ray import figures
from degas_ray.errors import InputError
from degas_ray.figures.curves import pareto_front
from degas_ray.space import PUBLISHED, Space


def _history(n: int, steps: tuple[int, ...] = (0, 10, 20)) -> list[dict[str, Any]]:
    """Uniform weights that move to each connection's first operation."""
    space = Space(n=n)
    history = []
    for i, step in enumerate(steps):
        alphas = {}
        for connection in space.connections:
            ops = space.operations(connection)
            rest = (1 - 0.2 * i) / len(ops)
            alphas[connection.name] = {op: rest + (0.2 * i if op == ops[0] else 0.0) for op in ops}
        history.append({"step": step, "loss": 1.0, "alphas": alphas})
    return history


@pytest.mark.parametrize("n", [1, 2])
def test_the_heat_map_has_a_panel_for_each_connection(n: int) -> None:
    figure = figures.alpha_heatmap(_history(n))
    connections = {c.name: c for c in Space(n=n).connections}
    panels = {
        axes.get_title(loc="left").replace(" → ", "->"): axes for axes in figure.axes if axes.get_title(loc="left")
    }
    assert panels.keys() == connections.keys()
    for name, axes in panels.items():
        ops = Space(n=n).operations(connections[name])
        labels = axes.get_yticklabels()
        assert len(labels) == len(ops)
        assert [label.get_fontweight() for label in labels] == ["bold"] + ["normal"] * (len(ops) - 1)
        (mesh,) = [c for c in axes.collections if isinstance(c, QuadMesh)]
        weights = np.asarray(mesh.get_array())
        assert weights.shape == (len(ops), 3)
        np.testing.assert_allclose(weights.sum(axis=0), 1.0)


def test_the_heat_map_takes_one_entry_and_needs_one() -> None:
    assert figures.alpha_heatmap(_history(1, steps=(5,))).axes
    with pytest.raises(InputError, match="no entry"):
        figures.alpha_heatmap([{"step": 1, "loss": 2.0}])


def test_a_curve_leaves_gaps_and_skips_rows_of_others() -> None:
    rows = [
        {"step": 20, "full/fid": 30.0},
        {"step": 10, "full/fid": 40.0, "full/kid": 1.0},
        {"step": 30, "full/fid": math.inf},
        {"time": 1.0},
        {"step": 40, "full/fid": None},
    ]
    (axes,) = figures.curve(rows, "step", ["full/fid", "full/kid", "absent"], title="scores").axes
    first, second = axes.get_lines()
    np.testing.assert_array_equal(first.get_xdata(), [10, 20, 30, 40])
    np.testing.assert_array_equal(first.get_ydata(), [40, 30, math.nan, math.nan])
    assert list(second.get_ydata()) == [1.0]
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() != second.get_linestyle()  # told apart without colour
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["full/fid", "full/kid"]
    with pytest.raises(InputError, match="'epoch'"):
        figures.curve(rows, "epoch", ["full/fid"])


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(1.0, 5.0), (2.0, 3.0), (3.0, 3.0), (4.0, 1.0), (2.0, 3.0), (5.0, 5.0)]
    assert pareto_front(points) == {0, 1, 3, 4}


def test_the_pareto_figure_marks_front_and_knee() -> None:
    points = [
        {"name": "a", "parameters": 100, "fid": 50.0},
        {"name": "b", "parameters": 200, "fid": 20.0},
        {"name": "c", "parameters": 300, "fid": 40.0},
        {"name": "d", "parameters": 50, "fid": math.nan},
        {"name": "e", "parameters": 60},
    ]
    (axes,) = figures.pareto(points, knee="b").axes
    sets = {str(c.get_label()): c.get_offsets() for c in axes.collections if isinstance(c, PathCollection)}
    np.testing.assert_array_equal(sets["dominated"], [[300, 40]])
    np.testing.assert_array_equal(sets["Pareto front"], [[100, 50], [200, 20]])
    np.testing.assert_array_equal(sets["promoted"], [[200, 20]])
    assert sorted(text.get_text() for text in axes.texts) == ["a", "b"]
    with pytest.raises(InputError, match="finite"):
        figures.pareto(points[3:])


def test_the_history_draws_the_best_so_far() -> None:
    (axes,) = figures.optimisation_history([5.0, None, 7.0, 3.0, math.nan, 4.0]).axes
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    np.testing.assert_array_equal(lines["best so far"].get_xdata(), [0, 2, 3, 5, 5])
    np.testing.assert_array_equal(lines["best so far"].get_ydata(), [5, 5, 3, 3, 3])
    np.testing.assert_array_equal(lines["no score"].get_xdata(), [1, 4])
    with pytest.raises(InputError, match="no trial has a score"):
        figures.optimisation_history([None, math.inf])


def test_parallel_coordinates_draw_every_scored_trial() -> None:
    rows: list[dict[str, Any]] = [
        {"search.lr": 0.001, "search.n": 1, "prune.compare": "alpha", "fid": 10.0},
        {"search.lr": 0.1, "search.n": 2, "prune.compare": "weight", "fid": 20.0},
        {"search.lr": 1.0, "search.n": 1, "fid": 15.0},
        {"search.lr": 1.0, "search.n": 1, "prune.compare": "alpha", "fid": None},
    ]
    figure = figures.parallel_coordinates(rows, ["search.lr", "search.n", "prune.compare"], "fid")
    (lines,) = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    segments = lines.get_segments()
    assert len(segments) == 3
    best = segments[-1]  # drawn last, on top: the first row
    np.testing.assert_allclose([best[0][1], best[3][1]], [0.0, 0.0], atol=1e-9)
    worst = segments[0]
    np.testing.assert_allclose(worst[0][1], 2 / 3)  # the rate's axis is logarithmic: 0.1 of 0.001 to 1
    with pytest.raises(InputError, match="fid"):
        figures.parallel_coordinates(rows[3:], ["search.lr"], "fid")


def test_importances_stand_in_order() -> None:
    (axes,) = figures.importances({"a": 0.1, "b": 0.7, "c": 0.2}).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "c", "b"]
    assert [round(bar.get_width(), 3) for bar in axes.patches] == [0.1, 0.2, 0.7]
    with pytest.raises(InputError, match="importances"):
        figures.importances({})


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.pdf"])
def test_other_file_kinds_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.png or \.svg"):
        figures.save(figures.importances({"a": 1.0}), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_files_are_written_whole(tmp_path: Path) -> None:
    figure = figures.draw_genotype(PUBLISHED["degas-cifar10"])
    figures.save(figure, tmp_path / "deep" / "a.png")
    figures.save(figure, tmp_path / "deep" / "a.svg")
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["a.png", "a.svg"]
    with Image.open(tmp_path / "deep" / "a.png") as image:
        assert image.size[0] > 1600  # 200 dots an inch


def test_threads_may_draw_at_once(tmp_path: Path) -> None:
    faults: list[BaseException] = []

    def draw(number: int) -> None:
        try:
            figure: Figure = figures.draw_genotype(Space(n=1).random(number))
            figures.save(figure, tmp_path / f"{number}.png")
        except BaseException as error:
            faults.append(error)
            raise

    threads = [threading.Thread(target=draw, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert len(list(tmp_path.iterdir())) == 4


def test_pyplot_with_its_global_state_is_never_loaded() -> None:
    code = (
        "import io, sys\n"
        "from degas_ray import figures\n"
        "figures.importances({'a': 1.0}).savefig(io.BytesIO())\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
