"""Pruning by the paper's rule, and the measures of how decided a search is."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degas_ray.config import SearchConfig, TrainConfig
from degas_ray.gan import build_generator, count_sizes
from degas_ray.search import decidedness, prune
from degas_ray.search.choices import largest, make_slots
from degas_ray.search.result import verdict
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


def random_alphas(space, seed):
    draw = np.random.default_rng(seed)
    return {c.name: {op: float(draw.normal()) for op in space.operations(c)} for c in space.connections}


@given(st.integers(1, 2), st.integers(0, 10_000))
def test_the_rule_of_the_paper_word_for_word(n, seed):
    space = Space(n)
    alphas = random_alphas(space, seed)
    for feature_map in prune(alphas, space).maps:
        entering = space.inputs()[feature_map.name]
        ranked = sorted(
            (value, c.residual, c.source, op) for c in entering for op, value in alphas[c.name].items() if op != NONE
        )
        kept = [ranked[-1]]
        if kept[0][1]:
            kept.append(max(entry for entry in ranked if not entry[1]))
        assert {(edge.source, edge.op) for edge in feature_map.inputs} == {(source, op) for _, _, source, op in kept}


@pytest.mark.parametrize(("price", "which"), [("parameters", 0), ("macs", 1)])
def test_under_a_limit_the_strongest_that_is_small_enough_is_kept(price, which):
    space, config = Space(1), TrainConfig(width=16, latent_dim=16)
    slots, limit = make_slots(space, 16, 4, price), largest(0.6, 16, 4, price)
    resnet = count_sizes(build_generator("resnet", config, 32))[which]
    allowed = resnet - largest(1.0, 16, 4, price) + limit  # first and last layers, and six tenths of the blocks
    large = 0
    for seed in range(30):
        alphas = random_alphas(space, seed)
        sizes = [
            count_sizes(build_generator(found, config, 32))[which]
            for found in (prune(alphas, space), prune(alphas, space, "alpha", slots, limit))
        ]
        large += sizes[0] > allowed
        assert sizes[1] <= allowed
        assert sizes[1] == sizes[0] or sizes[0] > allowed
    assert large  # or the limit did nothing


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
    # Weights that are too small for a number are nothing, and so is their share of the entropy.
    sharper = alphas_for(space, PUBLISHED["degas-cifar10"], 5000.0, 6000.0)
    assert decidedness(sharper, PUBLISHED["degas-cifar10"])["alpha_entropy"] == pytest.approx(3 / 11, abs=1e-12)
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
