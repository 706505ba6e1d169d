"""The model of single networks: prices, the best choice under a limit, the posterior, and whether it finds the best."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.linear_model import Ridge

from degas_ray.config import TrainConfig
from degas_ray.gan import build_generator, count_sizes
from degas_ray.search.choices import LimitedSpace, largest, make_slots
from degas_ray.search.sampled import NOISE, PathModel
from degas_ray.space import Space

SMALL = Space(1, ("conv_3x3", "skip_connect"), ("deconv_4x4", "up_conv_3x3"))


def model(space: Space = SMALL, price: str = "parameters", limit: float | None = None, width: int = 8) -> PathModel:
    limited = LimitedSpace(space, make_slots(space, width, 4, price), largest(limit, width, 4, price))
    return PathModel(limited)


def everything(known: PathModel) -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(len(slot.options)) for slot in known.slots)))


def test_there_are_as_many_choices_as_the_space_counts() -> None:
    known = model()
    found = {str(known.limited.genotype(choice)) for choice in everything(known)}
    assert len(found) == len(everything(known)) == SMALL.discrete_size()


@pytest.mark.parametrize("price", ["parameters", "macs"])
def test_prices_are_those_of_the_built_generators(price: str) -> None:
    known, config = model(Space(1), price, 1.0), TrainConfig(width=8, latent_dim=16)
    which = 0 if price == "parameters" else 1
    draw = np.random.default_rng(0)
    chosen = [tuple(int(draw.integers(len(slot.options))) for slot in known.slots) for _ in range(20)]
    sizes = [count_sizes(build_generator(known.limited.genotype(choice), config, 32))[which] for choice in chosen]
    costs = [known.limited.cost(choice) for choice in chosen]
    fixed = sizes[0] - costs[0]  # the first layer and the last, which all have
    assert [size - cost for size, cost in zip(sizes, costs, strict=True)] == pytest.approx([fixed] * len(sizes))
    # The limit is the hand-designed generator's, which has the same first and last layers.
    assert known.limited.limit + fixed == count_sizes(build_generator("resnet", config, 32))[which]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 1.5))
def test_the_best_under_a_limit_is_what_trying_all_of_them_finds(seed: int, limit: float) -> None:
    known = model(limit=limit)
    worth = np.random.default_rng(seed).normal(size=sum(len(slot.options) for slot in known.slots))
    starts = np.cumsum([0, *(len(slot.options) for slot in known.slots)])[:-1]

    def value(choice: tuple[int, ...]) -> float:
        return float(worth[starts + np.asarray(choice)].sum())

    allowed = [choice for choice in everything(known) if known.limited.cost(choice) <= known.limited.limit]
    if allowed:
        assert value(known._best(worth)) == pytest.approx(max(map(value, allowed)))
    else:  # then the cheapest
        assert known.limited.cost(known._best(worth)) == min(map(known.limited.cost, everything(known)))


def test_random_networks_keep_to_the_limit() -> None:
    known = model(Space(1), limit=0.5)
    costs = [known.limited.cost(known.random(np.random.default_rng(seed))) for seed in range(50)]
    assert max(costs) <= known.limited.limit
    assert len(set(costs)) > 25


def test_the_posterior_is_ridge_regression_on_normal_scores() -> None:
    """In the coordinates in which the prior is the same in all directions."""
    known, draw = model(), np.random.default_rng(1)
    for distance in (5.0, 1.0, 3.0, 2.0, 900.0):
        known.tried.append((known.random(draw), distance))
    x = np.zeros((5, 1 + sum(len(slot.options) for slot in known.slots)))
    x[:, -1] = 1
    for row, (choice, _) in zip(x, known.tried, strict=True):
        place = 0
        for slot, option in zip(known.slots, choice, strict=True):
            row[place + option] = 1
            place += len(slot.options)
    worth = -norm.ppf((np.array([4, 1, 3, 2, 5]) - 0.5) / 5)
    root = np.linalg.cholesky(known.prior())
    expected = (root @ Ridge(alpha=NOISE, fit_intercept=False).fit(x @ root, worth).coef_)[:-1]
    assert known.posterior()[0] == pytest.approx(expected)


def test_an_operation_tells_of_itself_elsewhere() -> None:
    """What is seen of deconv_4x4 in one place is believed of it in others, less so, and not of up_conv_3x3."""
    known = model()
    covariance = known.prior()
    names = [(option, slot.residual) for slot in known.slots for option in slot.options]
    places = {name: place for place, name in enumerate(names)}
    at = places[("N1a->U1", "deconv_4x4"), False]
    alike, other_role, other = (
        covariance[at, places[name]]
        for name in (
            (("N2a->U2", "deconv_4x4"), False),
            (("U1->U2", "deconv_4x4"), True),
            (("N1a->U1", "up_conv_3x3"), False),
        )
    )
    assert covariance[at, at] > alike > other_role > other == pytest.approx(0)


def test_nothing_known_is_nothing_preferred() -> None:
    assert {value for row in model(Space(2)).alphas().values() for value in row.values()} == {0.0}


def test_alphas_have_the_operations_of_every_connection() -> None:
    for n in (1, 2):
        space = Space(n)
        alphas = model(space).alphas()
        assert {name: tuple(row) for name, row in alphas.items()} == {
            connection.name: space.operations(connection) for connection in space.connections
        }


def test_it_finds_a_planted_network_among_millions() -> None:
    """Noise of a third of the networks' spread; a random network is this good once in two hundred times."""
    known = model(Space(1))
    draw = np.random.default_rng(3)
    worth = [draw.normal(size=len(slot.options)) for slot in known.slots]

    def value(choice: tuple[int, ...]) -> float:
        return float(sum(each[option] for each, option in zip(worth, choice, strict=True)))

    drawn = [value(known.random(draw)) for _ in range(5000)]
    for number in range(60):
        choice = known.random(draw) if number < 20 else known.propose(draw)
        known.tried.append((choice, -value(choice) + draw.normal() * float(np.std(drawn)) / 3))
    assert value(known.best()) > np.quantile(drawn, 0.995)
