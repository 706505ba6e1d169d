"""Pruning by the paper's rule, and the measures of how decided a search is."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degas_ray.config import SearchConfig
from degas_ray.search import decidedness, prune
from degas_ray.search.explain import verdict
from degas_ray.space import NONE, PUBLISHED, Genotype, Space


def alphas_for(space, genotype, direct=2.0, residual=3.0):
    """Return alphas whose strongest operations are those of ``genotype``."""
    alphas = {c.name: dict.fromkeys(space.operations(c), 0.0) for c in space.connections}
    for feature_map in genotype.maps:
        for edge in feature_map.inputs:
            alphas[f"{edge.source}->{feature_map.name}"][edge.op] = residual if edge.residual else direct
    return alphas


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_published_genotypes_come_out_of_alphas_that_favour_them(name):
    genotype = PUBLISHED[name]
    space = Space(genotype.n)
    assert prune(alphas_for(space, genotype), space) == genotype


@given(st.integers(1, 3), st.integers(0, 10_000))
def test_every_genotype_of_the_space_can_be_pruned_to(n, seed):
    space = Space(n)
    genotype = space.random(seed)
    assert prune(alphas_for(space, genotype), space) == genotype


def test_a_direct_winner_leaves_no_residual():
    space = Space(1)
    genotype = prune(alphas_for(space, PUBLISHED["degas-cifar10"], direct=3.0, residual=2.0), space)
    assert all(len(m.inputs) == 1 for m in genotype.maps)


def test_none_never_wins():
    space = Space(1)
    alphas = alphas_for(space, PUBLISHED["degas-cifar10"])
    for name, row in alphas.items():
        if NONE in row:
            alphas[name][NONE] = 9.0
    assert prune(alphas, space) == PUBLISHED["degas-cifar10"]


def test_softmax_weights_favour_direct_connections():
    # Equal leads in alpha: a residual one shares its weight with ``none``, so it loses by weight and wins by alpha.
    space = Space(1)
    alphas = alphas_for(space, PUBLISHED["degas-cifar10"], direct=1.0, residual=1.05)
    assert len(prune(alphas, space, "alpha").maps[1].inputs) == 2
    assert len(prune(alphas, space, "weight").maps[1].inputs) == 1


def test_decidedness_at_both_ends():
    space = Space(1)
    flat = {c.name: dict.fromkeys(space.operations(c), 0.0) for c in space.connections}
    nothing = decidedness(flat, prune(flat, space))
    assert nothing["alpha_entropy"] == pytest.approx(1)
    assert nothing["margin"] == pytest.approx(0)
    sharp = alphas_for(space, PUBLISHED["degas-cifar10"], 50.0, 60.0)
    everything = decidedness(sharp, PUBLISHED["degas-cifar10"])
    assert everything["margin"] == pytest.approx(1)
    # Three residual connections were left flat, at the uniform entropy; the other eight are decided.
    assert everything["alpha_entropy"] == pytest.approx(3 / 11, abs=1e-6)


def test_entropy_of_one_connection_by_hand():
    space = Space(1, ("conv_1x1", "conv_3x3"), ("deconv_4x4",))
    alphas = {c.name: dict.fromkeys(space.operations(c), -60.0) for c in space.connections}
    for row in alphas.values():
        row[next(iter(row))] = 60.0
    alphas["U0->N1a"] = {"conv_1x1": math.log(3), "conv_3x3": 0.0}
    by_hand = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    # A connection with one operation has nothing to decide and does not count: 3 normal and 5 residual ones do.
    assert decidedness(alphas, prune(alphas, space))["alpha_entropy"] == pytest.approx(by_hand / 8)


def test_warnings_name_the_setting_to_change():
    config = SearchConfig(alpha_lr=0.01)
    undecided = {"alpha_entropy": 0.97, "margin": 0.02, "margin_min": 0.0, "skip_share": 0.0}
    assert "search.alpha_lr (now 0.01)" in verdict(undecided, config)[0]
    skips = {"alpha_entropy": 0.2, "margin": 0.8, "margin_min": 0.5, "skip_share": 1.0}
    assert "skip collapse" in verdict(skips, config)[0]
    assert "search.warmup" in verdict(skips, config)[0]
    assert verdict({**skips, "skip_share": 0.0}, config) == ()


def test_skip_share_is_counted():
    text = "N1a=skip_connect(U0); U1=deconv_4x4(N1a); N2a=conv_1x1(U1); U2=deconv_4x4(N2a); "
    genotype = Genotype.parse(text + "N3a=skip_connect(U2); U3=deconv_4x4(N3a)")
    space = Space(1)
    assert decidedness(alphas_for(space, genotype), genotype)["skip_share"] == pytest.approx(2 / 3)
