import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from degas_ray.config import Config, flatten, resolve
from degas_ray.errors import ConfigError
from degas_ray.trials.ranges import RANGES, apply, own_values, tuned

# docs/method.md: the paper's own values (4.1 and 4.2), DARTS's where it defers to them.
PAPER = {
    "search.n": (1, 2),
    "search.lr": (0.3, 0.03),
    "search.alpha_lr": (3e-4,),
    "search.alpha_weight_decay": (1e-3,),
    "search.lap1_share": (0.5,),
    "search.warmup": (0.0,),
    "search.cost_penalty": (0.0,),
    "search.latent_start": ("pca", "gaussian"),
    "prune.compare": ("alpha",),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in PAPER.items() for value in values])
def test_the_papers_value_is_inside_each_range(key: str, value: float | str) -> None:
    distribution = RANGES[key]
    if isinstance(distribution, CategoricalDistribution):
        assert value in distribution.choices
    else:
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        assert distribution.low <= value <= distribution.high


def test_every_key_is_one_of_the_configuration() -> None:
    assert set(RANGES) <= set(flatten(Config()))


def test_what_is_tuned_can_be_named() -> None:
    config = resolve(sets=["study.tune=[search.lr, prune.compare]"])
    assert list(tuned(config)) == ["search.lr", "prune.compare"]
    assert own_values(config) == {"search.lr": config.search.lr, "prune.compare": "alpha"}


def test_an_unknown_key_is_named_with_the_nearest_one() -> None:
    with pytest.raises(
        ConfigError, match=r"study\.tune: search\.alpha_rl is not tuned; did you mean search\.alpha_lr\?"
    ):
        tuned(resolve(sets=["study.tune=[search.alpha_rl, search.lr]"]))


def test_a_range_is_widened_to_hold_the_configs_own_value() -> None:
    low, high = (tuned(resolve(sets=[f"search.lr={value}"]))["search.lr"] for value in (0.001, 2.0))
    assert isinstance(low, FloatDistribution)
    assert isinstance(high, FloatDistribution)
    known = RANGES["search.lr"]
    assert isinstance(known, FloatDistribution)
    assert (low.low, low.high) == (0.001, known.high)
    assert (high.low, high.high) == (known.low, 2.0)
    assert low.log is high.log is known.log is True


def test_adamw_has_a_range_of_its_own() -> None:
    """A step of AdamW is as long as its rate whatever the gradient, so its rates are smaller than SGD's."""
    rate = tuned(resolve(sets=["search.optimizer=adamw", "search.lr=0.003"]))["search.lr"]
    sgd = RANGES["search.lr"]
    assert isinstance(rate, FloatDistribution)
    assert isinstance(sgd, FloatDistribution)
    assert rate.low < 0.003 < rate.high <= sgd.low


def test_network_by_network_only_what_counts_there_is_tuned() -> None:
    config = resolve(sets=["dataset=fashion-mnist", "search.paths=sampled"])
    keys = ["search.n", "search.networks", "search.try_steps", "search.warmup"]
    assert list(tuned(config)) == keys
    assert own_values(config) == {key: flatten(config)[key] for key in keys}
    with pytest.raises(ConfigError, match=r"search\.alpha_lr is not tuned; (expected some of|did you mean)"):
        tuned(resolve(sets=["search.paths=sampled", "study.tune=[search.alpha_lr]"]))


def test_a_trials_values_replace_the_configs_and_nothing_else() -> None:
    config = Config()
    changed = apply(config, {"search.lr": 0.3, "search.n": 2, "prune.compare": "weight"})
    assert flatten(changed) == {**flatten(config), "search.lr": 0.3, "search.n": 2, "prune.compare": "weight"}
