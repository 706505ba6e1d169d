"""The space's counts against the paper's, and its genotypes against its own rules."""

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degas_ray.errors import InputError
from degas_ray.space import NORMAL_OPS, UPSAMPLE_OPS, Genotype, Space


def test_the_paper_counts_for_n_1():
    assert Space(1).continuous_size() == 145_800_000 == 9**3 * 4**3 * 5**5  # 1.458 * 10^8
    assert Space(1).discrete_size() == 18_895_680
    seven = Space(1, normal_ops=NORMAL_OPS[:7])
    assert seven.discrete_size() == 8_890_560 == 4**3 * 7**3 * 5 * 9**2  # the paper's "about 10^7"


def test_the_connections_of_figure_2():
    names = {(c.name, c.residual, c.stride) for c in Space(1).connections}
    assert names == {
        ("U0->N1a", False, 1),
        ("N1a->U1", False, 2),
        ("U0->U1", True, 2),
        ("U1->N2a", False, 1),
        ("N2a->U2", False, 2),
        ("U0->U2", True, 4),
        ("U1->U2", True, 2),
        ("U2->N3a", False, 1),
        ("N3a->U3", False, 2),
        ("U1->U3", True, 4),
        ("U2->U3", True, 2),
    }


def test_two_normal_maps_have_residual_connections_of_their_own():
    residual = {c.name for c in Space(2).connections if c.residual and c.stage == 1}
    assert residual == {"U0->N1b", "N1a->U1", "U0->U1"}


@pytest.mark.parametrize(
    ("n", "ops", "upsample"),
    [
        (1, NORMAL_OPS[:2], UPSAMPLE_OPS[:1]),
        (2, NORMAL_OPS[:1], UPSAMPLE_OPS[:1]),
        (1, NORMAL_OPS[:1], UPSAMPLE_OPS[:2]),
    ],
)
def test_the_discrete_size_is_the_number_of_genotypes_that_can_be_written(n, ops, upsample):
    # Enumerated by hand-written loops over every map's choices, not by the formula.
    space = Space(n, ops, upsample)
    per_map = []
    for entering in space.inputs().values():
        *residual, direct = entering
        direct_ops = ops if direct.stride == 1 else upsample
        choices = [(op, None) for op in direct_ops]
        for extra in residual:
            extra_ops = ops if extra.stride == 1 else upsample
            choices += [(op, (extra.name, more)) for op in direct_ops for more in extra_ops]
        per_map.append(len(set(choices)))
    assert space.discrete_size() == prod(per_map)


def test_small_spaces_are_drawn_from_evenly_and_wholly():
    space = Space(1, NORMAL_OPS[:1], UPSAMPLE_OPS[:1])
    drawn = [space.random(seed) for seed in range(900)]
    assert len(set(drawn)) == space.discrete_size() == 18
    counts = [drawn.count(genotype) for genotype in set(drawn)]
    assert 20 < min(counts) <= max(counts) < 90  # 50 expected, 7 standard deviations are 48


@given(st.integers(1, 3), st.integers(0, 2**32))
def test_genotypes_print_and_parse_back(n, seed):
    genotype = Space(n).random(seed)
    again = Genotype.parse(str(genotype))
    assert again == genotype
    assert again.hash == genotype.hash
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert genotype.n == n


def test_a_space_refuses_all_its_faults_at_once():
    with pytest.raises(InputError) as caught:
        Space(4, ("conv_9x9",), ())
    assert "n: got 4" in str(caught.value)
    assert "conv_9x9" in str(caught.value)
    assert "up-sample operations: got none" in str(caught.value)
