"""The genotype diagram: everything that the genotype says is drawn once, and nothing lies on anything else."""

import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon
from matplotlib.text import Text

from degas_ray.figures import draw_genotype, save
from degas_ray.space import PUBLISHED, Genotype, Space

GENOTYPES = [*PUBLISHED.values(), *(Space(n=n).random(seed) for n in (1, 2, 3) for seed in range(6))]


def _gids(figure: Figure) -> list[str]:
    artists = figure.findobj(lambda artist: bool(artist.get_gid()))
    return [str(artist.get_gid()) for artist in artists]


def _boxes(figure: Figure) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Return what fills space: maps, and the text of operations."""
    figure.canvas.draw()
    found = []
    for artist in figure.findobj(lambda artist: str(artist.get_gid() or "").startswith(("op:", "map:"))):
        box = artist.get_window_extent()
        found.append((str(artist.get_gid()), (box.x0, box.y0, box.x1, box.y1)))
    return found


@pytest.mark.parametrize("genotype", GENOTYPES, ids=lambda g: g.hash)
def test_every_operation_map_and_residual_is_drawn_once(genotype: Genotype) -> None:
    gids = _gids(draw_genotype(genotype))
    edges = [(edge, feature_map.name) for feature_map in genotype.maps for edge in feature_map.inputs]
    ops = [f"op:{edge.op}:{edge.source}->{target}" for edge, target in edges]
    assert sorted(gid for gid in gids if gid.startswith("op:")) == sorted(ops)
    arcs = [f"arc:{edge.op}:{edge.source}->{target}" for edge, target in edges if edge.residual]
    assert sorted(gid for gid in gids if gid.startswith("arc:")) == sorted(arcs)
    lines = [f"line:{edge.op}:{edge.source}->{target}" for edge, target in edges if not edge.residual]
    assert sorted(gid for gid in gids if gid.startswith("line:")) == sorted(lines)
    maps = ["map:U0", *(f"map:{feature_map.name}" for feature_map in genotype.maps)]
    assert sorted(gid for gid in gids if gid.startswith("map:")) == sorted(maps)


@pytest.mark.parametrize("genotype", GENOTYPES, ids=lambda g: g.hash)
def test_nothing_overlaps_and_nothing_is_cut(genotype: Genotype) -> None:
    figure = draw_genotype(genotype)
    boxes = _boxes(figure)
    for i, (first, (x0, y0, x1, y1)) in enumerate(boxes):
        for second, (a0, b0, a1, b1) in boxes[i + 1 :]:
            assert x1 <= a0 or a1 <= x0 or y1 <= b0 or b1 <= y0, f"{first} lies on {second}"
    page = figure.bbox
    for text in figure.findobj(lambda artist: isinstance(artist, Text) and bool(artist.get_text())):
        box = text.get_window_extent()
        assert page.x0 <= box.x0, text.get_text()
        assert box.x1 <= page.x1, text.get_text()
        assert page.y0 <= box.y0, text.get_text()
        assert box.y1 <= page.y1, text.get_text()


def test_the_text_of_an_operation_fits_its_sign() -> None:
    genotype = PUBLISHED["degas-cifar10-n2"]
    figure = draw_genotype(genotype)
    figure.canvas.draw()
    signs = [patch.get_window_extent() for patch in figure.findobj(lambda a: isinstance(a, FancyBboxPatch | Polygon))]
    for text in figure.findobj(lambda artist: str(artist.get_gid() or "").startswith("op:")):
        box = text.get_window_extent()
        assert any(s.x0 <= box.x0 and box.x1 <= s.x1 and s.y0 <= box.y0 and box.y1 <= s.y1 for s in signs)


def test_stages_stand_from_left_to_right_and_up_sampled_maps_on_one_line() -> None:
    places = {gid: box for gid, box in _boxes(draw_genotype(Space(n=3).random(0))) if gid.startswith("map:")}
    middles = {gid[4:]: ((x0 + x1) / 2, (y0 + y1) / 2) for gid, (x0, y0, x1, y1) in places.items()}
    order = ["U0", "N1a", "U1", "N2a", "U2", "N3a", "U3"]
    assert sorted(order, key=lambda name: middles[name][0]) == order
    assert len({round(middles[f"U{i}"][1]) for i in range(4)}) == 1
    assert middles["N1a"][1] > middles["N1b"][1] > middles["N1c"][1]


@pytest.mark.parametrize(("resolution", "sizes"), [(32, ["4×4", "8×8", "16×16", "32×32"]), (48, ["6×6", "48×48"])])
def test_sizes_follow_the_resolution(resolution: int, sizes: list[str]) -> None:
    texts = [text.get_text() for text in draw_genotype(PUBLISHED["degas-stl10"], resolution).findobj(Text)]
    assert set(sizes) <= set(texts)


def test_up_sampling_operations_have_another_colour_and_shape() -> None:
    figure = draw_genotype(PUBLISHED["degas-cifar10"])
    rounded = {patch.get_facecolor() for patch in figure.findobj(FancyBboxPatch)}
    slanted = {p.get_facecolor() for p in figure.findobj(Polygon) if len(p.get_xy()) == 5}
    assert len(rounded) == len(slanted) == 1
    assert rounded != slanted


def test_the_fourfold_up_sampling_says_so() -> None:
    text = "N1a=conv_3x3(U0); U1=deconv_4x4(N1a); N2a=conv_3x3(U1); U2=up_conv_1x1(U0)+deconv_4x4(N2a); "
    genotype = Genotype.parse(text + "N3a=skip_connect(U2); U3=deconv_6x6(N3a)")
    texts = [text.get_text() for text in draw_genotype(genotype).findobj(Text)]
    assert texts.count("up conv\n1×1 ↑4") == 1
    assert texts.count("skip") == 1


def test_svg_holds_the_names(tmp_path: Path) -> None:
    genotype = PUBLISHED["degas-cifar10"]
    save(draw_genotype(genotype), tmp_path / "diagram.svg")
    svg = (tmp_path / "diagram.svg").read_text()
    assert len(re.findall(r'id="op:', svg)) == 8
    assert len(re.findall(r'id="arc:', svg)) == 2
    assert "http://" not in re.sub(r'(xmlns[:\w]*|rdf:\w+)="[^"]*"|<!DOCTYPE[^>]*>', "", svg)
