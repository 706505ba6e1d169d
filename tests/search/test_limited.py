"""Networks that are not too large, and what a search finds that learns nothing, by enumeration and closed forms."""

import math
from collections import Counter
from collections.abc import Mapping
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from degas_ray.config import PruneConfig, SearchConfig
from degas_ray.search import limited_space, unlearnt
from degas_ray.space import Genotype, Space
from degas_ray.space.genotype import Edge
from degas_ray.trials.strategies import choices, distributions, genotype_of

SMALL = {"normal_ops": ("skip_connect", "conv_3x3"), "upsample_ops": ("up_conv_1x1", "deconv_4x4")}


@cache
def every(space: Space) -> list[Genotype]:
    known = distributions(space)
    options = [distribution.choices for distribution in known.values()]  # type: ignore[attr-defined]
    return [genotype_of(dict(zip(known, chosen, strict=True)), space) for chosen in product(*options)]


def inputs(genotype: Genotype, name: str) -> tuple[Edge, ...]:
    return next(feature_map.inputs for feature_map in genotype.maps if feature_map.name == name)


def test_a_cost_is_that_of_the_operations() -> None:
    # At width 8: a 3x3 convolution has 576 weights, a 1x1 one 64; a norm's 16 follow each.
    limited = limited_space(SearchConfig(width=8, cost="parameters"))
    plain = Genotype.parse(
        "N1a=skip_connect(U0); U1=up_conv_1x1(N1a); N2a=skip_connect(U1); U2=up_conv_1x1(N2a); "
        "N3a=conv_3x3(U2); U3=up_conv_1x1(U1)+up_conv_1x1(N3a)"
    )
    less = Genotype.parse(str(plain).replace("conv_3x3(U2)", "skip_connect(U2)"))
    assert limited.cost(plain) - limited.cost(less) == 576 + 16
    assert limited.cost(plain) == 576 + 4 * 64 + 5 * 16


@pytest.mark.parametrize(("price", "limit"), [("parameters", 0.5), ("macs", 0.12)])
def test_draws_are_uniform_among_those_that_are_small_enough(price: str, limit: float) -> None:
    config = SearchConfig(width=8, cost=price, cost_limit=limit, **SMALL)  # type: ignore[arg-type]
    limited = limited_space(config)
    small = [str(genotype) for genotype in every(limited.space) if limited.cost(genotype) <= limited.limit]
    assert 20 < len(small) < limited.space.discrete_size() / 4
    drawn = Counter(str(limited.random(seed)) for seed in range(10 * len(small)))
    assert set(drawn) <= set(small)
    assert stats.chisquare([drawn[text] for text in small]).pvalue > 0.001


@cache
def priced() -> list[tuple[Mapping[str, str], float]]:
    """Return the choices and the cost of each network of the small space."""
    limited = limited_space(SearchConfig(width=8, cost="parameters", **SMALL))  # type: ignore[arg-type]
    return [(choices(genotype, limited.space), limited.cost(genotype)) for genotype in every(limited.space)]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), limit=st.floats(0.05, 2.0))
def test_the_nearest_shares_the_most_choices(seed: int, limit: float) -> None:
    limited = limited_space(SearchConfig(width=8, cost="parameters", cost_limit=limit, **SMALL))  # type: ignore[arg-type]
    wanted = limited.space.random(seed)

    own = choices(wanted, limited.space)

    def shared(others: Mapping[str, str]) -> int:
        return sum(own[key] == others[key] for key in own)

    known = priced()
    small = [others for others, cost in known if cost <= limited.limit]
    found = limited.nearest(wanted)
    if small:
        assert limited.cost(found) <= limited.limit
        assert shared(choices(found, limited.space)) == max(map(shared, small))
    else:
        assert limited.cost(found) == min(cost for _, cost in known)
    assert found == wanted or limited.cost(wanted) > limited.limit


@pytest.mark.parametrize("seed", range(20))
def test_without_a_limit_nothing_changes(seed: int) -> None:
    limited = limited_space(SearchConfig())
    assert limited.limit == math.inf
    assert limited.random(seed) == Space().random(seed) == limited.nearest(Space().random(seed))


def test_a_search_that_learns_nothing_prunes_random_alphas() -> None:
    # The strongest of 4 direct and 4, 8 or 8 residual operations is residual in 1/2, 2/3 and 2/3 of all maps.
    draw = unlearnt(SearchConfig(paths="mixed"), PruneConfig())
    drawn = [draw(seed) for seed in range(1500)]
    for name, share in {"U1": 1 / 2, "U2": 2 / 3, "U3": 2 / 3}.items():
        with_residual = sum(len(inputs(found, name)) == 2 for found in drawn)
        assert stats.binomtest(with_residual, len(drawn), share).pvalue > 0.001
    assert stats.chisquare(list(Counter(inputs(found, "N1a")[0].op for found in drawn).values())).pvalue > 0.001
    assert draw(3) == draw(3) != draw(4)


@pytest.mark.parametrize("paths", ["mixed", "sampled"])
def test_a_search_that_learns_nothing_keeps_to_the_limit(paths: str) -> None:
    config = SearchConfig(paths=paths, cost="parameters", cost_limit=0.5)  # type: ignore[arg-type]
    limited, draw = limited_space(config), unlearnt(config, PruneConfig())
    assert all(limited.cost(draw(seed)) <= limited.limit for seed in range(40))
