"""The search by single networks: what it is judged by, exact resume, repeats, and that it follows the judge."""

import numpy as np
import pytest
import torch

from degas_ray.checkpoint import load, save
from degas_ray.config import PruneConfig, SearchConfig
from degas_ray.errors import CheckpointError, ConfigError, DivergedError, InputError, Interrupted
from degas_ray.search import SampledSearcher, search
from degas_ray.search.sampled import _gaussian_of

TINY = {
    "paths": "sampled", "optimizer": "adamw", "lr": 3e-3, "width": 2, "latent_dim": 4, "batch": 6, "steps": 12,
    "rebuild_steps": 3, "samples": 6, "device": "cpu",
}  # fmt: skip


def brightness(images) -> float:
    return float(torch.cat(list(images)).mean()) + 2


def run(pack, distance=brightness, **changes):
    given = {key: changes.pop(key) for key in ("resume", "on_progress", "should_stop") if key in changes}
    return search(SearchConfig(**{**TINY, **changes}), pack, seed=0, distance=distance, **given)


def test_every_network_is_judged_once_by_its_samples(tiny_pack):
    seen = []

    def judge(images):
        images = torch.cat(list(images))
        seen.append(images)
        return float(len(seen))

    result = run(tiny_pack, judge, samples=130)
    assert [tuple(images.shape) for images in seen] == [(130, 3, 16, 16)] * 4
    assert all(images.abs().max() <= 1 for images in seen)
    assert result.history[-1]["networks"] == 4
    assert (result.history[-1]["distance"], result.history[-1]["best_distance"]) == (4, 1)


@pytest.mark.parametrize("at", [1, 3, 7, 11])
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
    assert all(torch.equal(resumed.state.tensors[key], value) for key, value in whole.state.tensors.items())


def test_a_checkpoint_of_other_settings_is_refused(tiny_pack):
    with pytest.raises(CheckpointError, match="rebuild_steps"):
        run(tiny_pack, rebuild_steps=2, resume=run(tiny_pack).state)


def test_it_follows_the_judge(tiny_pack):
    """A judge that dislikes transposed convolutions ends without them."""
    config = SearchConfig(**{**TINY, "steps": 60, "rebuild_steps": 1, "warmup": 0.4})
    loop: list[SampledSearcher] = []

    def judge(images):
        list(images)
        return str(loop[0].model.genotype(loop[0].choice)).count("deconv") + 0.1

    loop.append(SampledSearcher(config, tiny_pack, 0, PruneConfig(), judge))
    while loop[0].step < loop[0].steps:
        loop[0].advance()
    assert "deconv" not in str(loop[0].result().genotype)


def test_a_network_that_is_tried_again_has_other_weights(tiny_pack):
    # With one operation of each kind, some network comes twice.
    loop = SampledSearcher(
        SearchConfig(**{**TINY, "normal_ops": ("skip_connect",), "upsample_ops": ("up_conv_1x1",)}),
        tiny_pack, 0, PruneConfig(), brightness,
    )  # fmt: skip
    choice = loop.choice
    first = loop.generator.linear.weight.clone()
    loop._begin(choice)
    assert torch.equal(loop.generator.linear.weight, first)
    loop.model.observe(choice, 1.0)
    loop._begin(choice)
    assert not torch.equal(loop.generator.linear.weight, first)


def test_new_latents_have_the_mean_and_covariance_of_the_images(tiny_pack):
    latents = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) @ torch.randn(4, 4) + 3
    mean, root = _gaussian_of(latents)
    assert mean.numpy() == pytest.approx(latents.mean(0).numpy(), rel=1e-5)
    assert (root @ root.T).numpy() == pytest.approx(np.cov(latents.numpy().T, bias=True), rel=1e-4, abs=1e-4)


def test_what_is_missing_or_does_not_fit_is_said(tiny_pack):
    with pytest.raises(InputError, match=r"search\.paths=mixed"):
        run(tiny_pack, None)
    with pytest.raises(DivergedError, match=r"lower search\.lr"):
        run(tiny_pack, lambda images: float("nan"))
    with pytest.raises((ConfigError, ValueError), match="latent_start to pca"):
        SearchConfig(**{**TINY, "latent_start": "gaussian"})


def test_a_search_shorter_than_one_network_judges_one(tiny_pack):
    assert run(tiny_pack, steps=2).history[-1]["networks"] == 1
