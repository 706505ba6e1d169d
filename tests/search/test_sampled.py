"""The search by single networks: what is tried, exact resume, failures, repeats, and following what it is told."""

import math

import pytest
import torch

from degas_ray.checkpoint import load, save
from degas_ray.config import PruneConfig, SearchConfig
from degas_ray.errors import CheckpointError, DivergedError, InputError, Interrupted
from degas_ray.search import SampledSearcher, search

TINY = {"paths": "sampled", "width": 2, "latent_dim": 4, "networks": 8, "warmup": 0.5, "device": "cpu"}


def length(genotype, seed):
    return float(len(str(genotype)))


def run(pack, attempt=length, **changes):
    given = {key: changes.pop(key) for key in ("resume", "on_progress", "should_stop") if key in changes}
    return search(SearchConfig(**{**TINY, **changes}), pack, seed=0, attempt=attempt, **given)


def test_every_step_tries_one_network_of_the_space(tiny_pack):
    tried = []

    def attempt(genotype, seed):
        tried.append((genotype.n, seed))
        return 10.0 - len(tried)

    result = run(tiny_pack, attempt, n=2)
    assert [n for n, _ in tried] == [2] * 8
    assert [(row["step"], row["distance"], row["best_distance"]) for row in result.history] == [
        (step, 10.0 - step, 10.0 - step) for step in range(1, 9)
    ]


@pytest.mark.parametrize("at", [1, 4, 7])
def test_resumed_equals_uninterrupted(tiny_pack, tmp_path, at):
    whole = run(tiny_pack)
    kept, steps = [], [0]

    def stop():
        steps[0] += 1
        return steps[0] == at

    with pytest.raises(Interrupted):
        run(tiny_pack, on_progress=lambda progress: kept.append(progress.state()), should_stop=stop)
    save(tmp_path / "stopped.ckpt", kept[-1], "search")
    resumed = run(tiny_pack, resume=load(tmp_path / "stopped.ckpt", "search"))
    assert resumed.history == whole.history
    assert resumed.genotype == whole.genotype
    assert resumed.alphas == whole.alphas
    assert torch.equal(resumed.state.tensors["distances"], whole.state.tensors["distances"])


def test_a_checkpoint_of_other_settings_is_refused(tiny_pack):
    with pytest.raises(CheckpointError, match="warmup"):
        run(tiny_pack, warmup=0.1, resume=run(tiny_pack).state)


def test_it_follows_what_it_is_told(tiny_pack):
    """Told that transposed convolutions are bad, it ends without them; of random genotypes one in fifty has none."""

    def attempt(genotype, seed):
        return str(genotype).count("deconv") + 0.1

    assert "deconv" not in str(run(tiny_pack, attempt, networks=40).genotype)


def test_the_same_network_is_tried_with_another_seed(tiny_pack):
    seeds = []

    def attempt(genotype, seed):
        seeds.append(seed)
        return 1.0

    # Of one operation of each kind there are few networks.
    run(tiny_pack, attempt, networks=60, warmup=0.9, normal_ops=("skip_connect",), upsample_ops=("up_conv_1x1",))
    assert min(seeds) == 0
    assert max(seeds) > 0


def test_a_network_that_fails_counts_as_the_worst(tiny_pack):
    def attempt(genotype, seed):
        return math.nan if "deconv" in str(genotype) else 1.0

    result = run(tiny_pack, attempt, networks=40)
    assert "deconv" not in str(result.genotype)
    assert all(math.isfinite(row.get("distance", 0.0)) for row in result.history)


def test_where_all_fail_the_search_has_diverged(tiny_pack):
    with pytest.raises(DivergedError, match=r"each of the 8 networks that were tried diverged; lower proxy\.lr"):
        run(tiny_pack, lambda genotype, seed: math.inf)


def test_the_limit_holds_for_what_is_tried_and_what_is_found(tiny_pack):
    sizes = []
    config = SearchConfig(**TINY, cost="parameters", cost_limit=0.6)
    loop = SampledSearcher(config, tiny_pack, 0, PruneConfig(), length)
    while loop.step < loop.steps:
        loop.advance()
        sizes.append(loop.model.limited.cost(loop.model.tried[-1][0]))
    assert max([*sizes, loop.model.limited.cost(loop.model.best())]) <= 0.6 * (3 * (19 * 2**2 + 7 * 2))


def test_without_an_attempt_it_says_what_to_do(tiny_pack):
    with pytest.raises(InputError, match=r"search\.paths=mixed"):
        run(tiny_pack, None)


def test_little_known_is_said(tiny_pack):
    assert "Raise search.networks to 10" in " ".join(run(tiny_pack, networks=9).warnings)
    assert run(tiny_pack, networks=10).warnings == ()
