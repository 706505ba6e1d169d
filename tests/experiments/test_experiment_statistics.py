"""Intervals, rank agreement, noise and stability, against scipy, numpy and counting by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from degas_ray.experiments.counting import macs_of
from degas_ray.experiments.likeness import _family, kept, stability
from degas_ray.experiments.rows import Row
from degas_ray.experiments.statistics import (
    Units,
    difference,
    median,
    noise,
    paired_difference,
    rank_agreement,
    reliability,
    units,
)
from degas_ray.figures import save
from degas_ray.figures.strips import Strip, strips
from degas_ray.space import NORMAL_OPS, PUBLISHED, UPSAMPLE_OPS, Space


def row(member: str, fid: float | None, *, group: str = "g", seed: int = 0, genotype: str = "") -> Row:
    return Row("k", "training", group, member, "completed", "digits", seed=seed, fid=fid, genotype=genotype or member)


def test_generators_are_the_units_and_seeds_where_there_is_one() -> None:
    rows = [row("a", 1.0), row("a", 3.0, seed=1), row("b", 5.0), row("b", None, seed=1)]
    assert units(rows) == Units((2.0, 5.0))
    assert units(rows[:2]) == Units((1.0, 3.0), of_seeds=True)


def test_one_generator_counts_by_the_mean_of_its_seeds_as_each_of_several_does() -> None:
    """Its median seed would be another average than the others have: distances are skewed."""
    alone = [row("a", value, seed=seed) for seed, value in enumerate((10.0, 11.0, 18.0))]
    assert median(units(alone)).value == 13.0
    found = difference(units([row("b", 26.0), row("c", 26.0)]), units(alone))
    assert found.value == 1.0
    interval = stats.bootstrap(
        (np.array([10.0, 11.0, 18.0]),), np.mean, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (found.low, found.high) == (
        pytest.approx(26 / interval.high - 1, abs=0.02),
        pytest.approx(26 / interval.low - 1, abs=0.02),
    )


def test_median_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        found = median(Units(tuple(draw.normal(10, 2, size=25))))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 10 <= found.high
    assert stats.binomtest(covered, 60, 0.95).pvalue > 0.01
    assert median(Units((4.0,))).low is None
    assert median(Units((1.0, 2.0, 9.0))).value == 2.0


def test_a_difference_is_a_share_of_the_reference() -> None:
    found = difference(Units((110.0, 111.0, 109.0, 110.0)), Units((100.0, 101.0, 99.0, 100.0)))
    assert found.value == pytest.approx(0.1)
    assert found.low is not None
    assert found.high is not None
    assert 0.05 < found.low < 0.1 < found.high < 0.15
    alone = difference(Units((2.0,)), Units((1.0, 1.0)))
    assert (alone.value, alone.low) == (1.0, None)


def test_rank_agreement_is_spearmans() -> None:
    x = [3.0, 1.0, 4.0, 1.5, 5.0, 9.0]
    y = [2.0, 1.0, 8.0, 2.5, 1.2, 8.2]
    first = [row(str(i), value) for i, value in enumerate(x)]
    second = [row(str(i), value) for i, value in enumerate(y)]
    found = rank_agreement(first, [*second, row("alone", 1.0)])
    assert found is not None
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.low is not None
    assert found.high is not None
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert rank_agreement(first[:3], second[:3]) is None


def test_trainings_are_compared_generator_by_generator() -> None:
    first = [row("a", 100.0), row("b", 10.0), row("b", 30.0, seed=1), row("c", 50.0), row("alone", 1.0)]
    second = [row("a", 50.0), row("b", 18.0), row("c", 60.0)]
    found = paired_difference(first, second)
    assert found is not None
    assert (found.value, found.count) == (pytest.approx(-0.1), 3)
    assert (found.low, found.high) == (pytest.approx(-0.5), pytest.approx(0.2))
    assert paired_difference(first[:1], second) is None


def test_noise_is_within_and_between() -> None:
    rows = [row("a", 90.0), row("a", 110.0, seed=1), row("b", 190.0), row("b", 210.0, seed=1), row("c", 7.0)]
    found = noise(rows)
    assert found is not None
    assert found[0] == pytest.approx(math.sqrt(200) / 150)
    assert found[1] == pytest.approx(math.sqrt(5000) / 150)
    assert noise(rows[:2]) is None


def test_stability_against_chance() -> None:
    space = Space(1)
    same = stability([str(PUBLISHED["degas-cifar10"])] * 3, space, space.random)
    assert same is not None
    assert (same.agreement, same.count, same.pairs) == (1.0, 3, (1.0, 1.0, 1.0))
    assert same.chance_low < same.chance < same.chance_high < 1
    assert same.p_value < 0.001
    # Six direct operations; three residual inputs, since a normal map of n = 1 has none to choose.
    inputs = space.inputs()
    direct = sum(1 / len(space.operations(entering[-1])) for entering in inputs.values())
    residual = sum(1 / (1 + sum(len(space.operations(c)) - 1 for c in inputs[f"U{stage}"][:-1])) for stage in (1, 2, 3))
    assert same.chance == pytest.approx((direct + residual) / 9, abs=0.01)
    drawn = stability([str(space.random(seed)) for seed in range(4)], space, space.random)
    assert drawn is not None
    assert drawn.p_value > 0.01
    assert stability([str(space.random(0))], space, space.random) is None


def test_what_genotypes_are_made_of_by_hand_and_by_chance() -> None:
    """Of 9 operations that keep the size 2 are plain convolutions, 2 pools, 4 separable or dilated, 1 a skip."""
    space = Space(1)
    found = kept([str(PUBLISHED["degas-stl10"])], space.random)
    # N: sep5, avg_pool, conv3. U: up3 + up3, deconv4, up3 + up1.
    assert {family: share for family, (share, _) in found.items()} == {
        "skip_connect": 0,
        "pooling": 1 / 3,
        "separable, dilated": 1 / 3,
        "conv": 1 / 3,
        "up_conv": 4 / 5,
        "deconv": 1 / 5,
    }
    for family, share in {
        "skip_connect": 1 / 9,
        "pooling": 2 / 9,
        "separable, dilated": 4 / 9,
        "up_conv": 1 / 2,
    }.items():
        assert found[family][1] == pytest.approx(share, abs=0.04)
    assert sum(found[family][1] for family in ("up_conv", "deconv")) == pytest.approx(1)


def test_every_operation_has_a_family_of_its_kind() -> None:
    for ops, families in (
        (NORMAL_OPS, {"skip_connect", "pooling", "separable, dilated", "conv"}),
        (UPSAMPLE_OPS, {"up_conv", "deconv"}),
    ):
        assert {_family(op) for op in ops} == families


def test_counting_sees_backward_passes_and_gradients_of_gradients() -> None:
    import torch

    conv = torch.nn.Conv2d(4, 6, 3, padding=1, bias=False)
    image = torch.ones(2, 4, 8, 8, requires_grad=True)
    forward = 2 * 64 * 4 * 6 * 9
    assert macs_of(lambda: conv(image)) == forward
    assert macs_of(lambda: conv(image).sum().backward()) == 3 * forward

    def penalty() -> None:
        (slope,) = torch.autograd.grad((conv(image) ** 2).sum(), image, create_graph=True)
        slope.square().sum().backward()

    # forward, its gradient by the image, and both of these by image or weights: each as much as the forward pass
    assert macs_of(penalty) / forward in (5, 6, 7)


def test_strips_draw_every_group(tmp_path: Path) -> None:
    groups = [Strip("a", "searched", (1.0, 2.0, 3.0), 2.0, 1.2, 2.8), Strip("b", "random", (5.0,), 5.0)]
    figure = strips([*groups, Strip("b", "none", (), 0.0)], "distance")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a", "b"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["searched"]
    save(figure, tmp_path / "strips.png")


def test_a_group_has_one_colour_in_all_panels() -> None:
    groups = [Strip(panel, name, (1.0,), 1.0) for panel, name in (("a", "searched"), ("a", "random"), ("b", "random"))]
    first, second = strips(groups, "distance").axes
    searched, random = (tuple(dots.get_facecolor()[0]) for dots in first.collections)
    assert searched != random == tuple(second.collections[0].get_facecolor()[0])


def test_reliability_is_that_of_log_distances_over_generators_with_two_seeds_or_more() -> None:
    """Logs 0 and 2, 4 and 6, 8 and 10: mean squares 32 between and 2 within (see tests/study/test_verdict.py)."""
    logs = {"a": (0.0, 2.0), "b": (4.0, 6.0), "c": (8.0, 10.0)}
    rows = [row(member, math.exp(value), seed=seed) for member, two in logs.items() for seed, value in enumerate(two)]
    found = reliability(rows)
    assert found is not None
    assert (found.value, found.groups) == (pytest.approx(30 / 34), 3)
    assert reliability(rows[:4]) is None
