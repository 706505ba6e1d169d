"""The alternating loop: what each half-step touches, exact resume, second order, and searches that decide."""

import copy
import math

import numpy as np
import pytest
import torch

from degas_ray.checkpoint import State, load, save
from degas_ray.config import PruneConfig, SearchConfig
from degas_ray.errors import CheckpointError, DivergedError, InputError, Interrupted
from degas_ray.search import Searcher, search
from degas_ray.search.glo import reconstruction_loss
from degas_ray.space import Genotype

TINY = {"width": 2, "latent_dim": 4, "batch": 6, "steps": 6, "device": "cpu"}


def searcher(pack, **changes):
    return Searcher(SearchConfig(**{**TINY, **changes}), pack, 0, PruneConfig())


def test_weights_and_alphas_see_their_own_halves(tiny_pack):
    loop = searcher(tiny_pack)
    mine, theirs = (
        {int(i) for _ in range(4) for i in b.next().indices} for b in (loop.weight_batches, loop.alpha_batches)
    )
    assert len(mine) == len(theirs) == 24
    assert not mine & theirs
    both = searcher(tiny_pack, arch_data="same")
    assert {int(i) for _ in range(8) for i in both.alpha_batches.next().indices} == set(range(48))


def test_alphas_rest_during_the_warm_up_and_move_after_it(tiny_pack):
    loop = searcher(tiny_pack, warmup=0.5)
    before = copy.deepcopy(loop.raw_alphas())
    for _ in range(3):
        loop.advance()
    assert loop.raw_alphas() == before
    loop.advance()
    assert all(loop.raw_alphas()[name] != row for name, row in before.items())


def test_only_the_latents_of_the_batch_move(tiny_pack):
    loop = searcher(tiny_pack)
    before = loop.latents.clone()
    touched = set(loop.weight_batches._order[:6].tolist()) | set(loop.alpha_batches._order[:6].tolist())
    loop.advance()
    moved = {int(i) for i in (loop.latents != before).any(1).nonzero()}
    assert moved == touched
    assert loop.latents.norm(dim=1).max() <= 1 + 1e-6


def test_latents_follow_the_gradient_of_the_summed_loss(tiny_pack):
    loop = searcher(tiny_pack, latent_lr=1e-3, steps=4)
    batch = loop.weight_batches.next()
    z = loop.latents[batch.indices].requires_grad_()
    by_hand = torch.autograd.grad(loop._loss(z, batch.images) * len(z), z)[0]
    expected = z.detach() - 1e-3 * by_hand
    loop._weight_step(batch.indices, z, batch.images)
    inside = expected.norm(dim=1) < 0.999
    torch.testing.assert_close(loop.latents[batch.indices][inside], expected[inside])


def test_the_rate_follows_the_cosine(tiny_pack):
    loop = searcher(tiny_pack, lr=0.3, lr_min=0.001, steps=8)
    rates = []
    for _ in range(8):
        rates.append(loop.weight_optimizer.param_groups[0]["lr"])
        loop.advance()
    expected = [0.001 + 0.299 * (1 + math.cos(math.pi * t / 8)) / 2 for t in range(8)]
    assert rates == pytest.approx(expected)


def test_adamw_takes_the_step_of_its_formula(tiny_pack):
    loop = searcher(tiny_pack, optimizer="adamw", lr=0.01, weight_decay=0.1, clip=1e9)
    before = [weight.detach().clone() for weight in loop.weights]
    batch = loop.weight_batches.next()
    loop._weight_step(batch.indices, loop.latents[batch.indices].requires_grad_(), batch.images)
    for weight, old in zip(loop.weights, before, strict=True):
        # At the first step both moments, corrected, make the sign of the gradient.
        expected = old * (1 - 0.01 * 0.1) - 0.01 * weight.grad / (weight.grad.abs() + 1e-8)
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-4, atol=1e-6)


def test_sgd_has_momentum_and_decay(tiny_pack):
    """v = 0.8 v + g + 0.1 w and w = w - rate v, by NumPy, along a cosine from 0.05 to 0.01."""
    loop = searcher(tiny_pack, lr=0.05, lr_min=0.01, momentum=0.8, weight_decay=0.1, clip=1e9, steps=4)
    expected = [weight.detach().double().numpy().copy() for weight in loop.weights]
    moving = [np.zeros_like(weight) for weight in expected]
    for step in range(3):
        loop.advance()
        rate = 0.01 + 0.04 * (1 + math.cos(math.pi * step / 4)) / 2
        for i, weight in enumerate(loop.weights):
            moving[i] = 0.8 * moving[i] + weight.grad.double().numpy() + 0.1 * expected[i]
            expected[i] = expected[i] - rate * moving[i]
    for weight, by_hand in zip(loop.weights, expected, strict=True):
        np.testing.assert_allclose(weight.detach().numpy(), by_hand, rtol=1e-4, atol=1e-6)


def test_gradients_of_the_weights_are_clipped(tiny_pack):
    """Without momentum and decay the first step is as long as the rate times the largest norm."""
    loop = searcher(tiny_pack, lr=0.5, momentum=0.0, weight_decay=0.0, clip=1e-3)
    before = [weight.detach().double().clone() for weight in loop.weights]
    loop.advance()
    moved = torch.cat([(w.detach() - old).flatten() for w, old in zip(loop.weights, before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.5 * 1e-3, rel=1e-3)


def test_alphas_move_by_adam_with_decay(tiny_pack):
    """Adam's published formulas by NumPy; the decay is added to the gradient, as DARTS does it."""
    loop = searcher(tiny_pack, alpha_lr=0.01, alpha_weight_decay=2.0, alpha_betas=(0.5, 0.9), warmup=0.0)
    expected = [alpha.detach().double().numpy().copy() for alpha in loop.alphas]
    first, second = ([np.zeros_like(alpha) for alpha in expected] for _ in range(2))
    for step in range(1, 4):
        loop.advance()
        for i, alpha in enumerate(loop.alphas):
            gradient = alpha.grad.double().numpy() + 2.0 * expected[i]
            first[i] = 0.5 * first[i] + 0.5 * gradient
            second[i] = 0.9 * second[i] + 0.1 * gradient**2
            corrected = np.sqrt(second[i] / (1 - 0.9**step)) + 1e-8
            expected[i] = expected[i] - 0.01 * first[i] / (1 - 0.5**step) / corrected
    for alpha, by_hand in zip(loop.alphas, expected, strict=True):
        np.testing.assert_allclose(alpha.detach().numpy(), by_hand, rtol=1e-3, atol=1e-5)


def test_epochs_count_the_half_that_the_weights_see(tiny_pack):
    assert searcher(tiny_pack, steps=None, epochs=5).steps == 5 * (24 // 6)


@pytest.mark.parametrize(
    "changes", [{}, {"order": "second"}, {"optimizer": "adamw"}, {"arch_data": "same", "latent_start": "gaussian"}]
)
@pytest.mark.parametrize("at", [1, 4])
def test_resumed_equals_uninterrupted_bit_for_bit(tiny_pack, tmp_path, changes, at):
    config = SearchConfig(**{**TINY, **changes})
    whole = search(config, tiny_pack, seed=7)
    saved = []

    def keep(progress):
        saved.append(progress)

    with pytest.raises(Interrupted):
        search(
            config,
            tiny_pack,
            seed=7,
            on_progress=lambda progress: save(tmp_path / "state", progress.state(), "search"),
            should_stop=iter([False] * (at - 1) + [True] * 9).__next__,
        )
    torch.manual_seed(99)  # a fresh process has another global state
    resumed = search(config, tiny_pack, seed=7, resume=load(tmp_path / "state", "search"), on_progress=keep)
    assert resumed.history == whole.history
    assert resumed.genotype == whole.genotype
    assert resumed.state.meta == whole.state.meta
    assert resumed.state.tensors.keys() == whole.state.tensors.keys()
    for name, tensor in whole.state.tensors.items():
        assert torch.equal(tensor, resumed.state.tensors[name]), name
    assert [p.step for p in saved] == list(range(at + 1, 7))


def test_a_checkpoint_of_another_search_is_refused(tiny_pack):
    state = search(SearchConfig(**{**TINY, "steps": 1}), tiny_pack, seed=1).state
    with pytest.raises(CheckpointError, match=r"has seed = 1, this search 0"):
        searcher(tiny_pack, steps=1).restore(state)
    with pytest.raises(CheckpointError, match=r"steps"):
        searcher(tiny_pack).restore(
            State(state.tensors, {**state.meta, "identity": {**state.meta["identity"], "seed": 0}})
        )


def test_a_checkpoint_resumes_under_settings_that_change_no_result(tiny_pack):
    state = search(SearchConfig(**{**TINY, "steps": 1}), tiny_pack, seed=0).state
    identity = state.meta["identity"]
    searcher(tiny_pack, steps=1, mixed="plain", checkpoint_seconds=1.0).restore(state)
    with pytest.raises(CheckpointError, match=r"has precision = float32, this search bf16"):
        searcher(tiny_pack, steps=1, precision="bf16").restore(state)
    # Checkpoints did not name the precision at first.
    config = {key: value for key, value in identity["config"].items() if key != "precision"}
    older = State(state.tensors, {**state.meta, "identity": {**identity, "config": config}})
    searcher(tiny_pack, steps=1, precision="bf16").restore(older)
    with pytest.raises(CheckpointError, match=r"has lr = "):
        searcher(tiny_pack, steps=1, lr=0.5).restore(older)
    # Any other setting that is not named was not the same.
    unnamed = {key: value for key, value in identity["config"].items() if key != "lr"}
    lacking = State(state.tensors, {**state.meta, "identity": {**identity, "config": unnamed}})
    with pytest.raises(CheckpointError, match=r"has lr = None"):
        searcher(tiny_pack, steps=1).restore(lacking)


def test_plain_and_merged_searches_agree(tiny_pack):
    plain = search(SearchConfig(**TINY, mixed="plain"), tiny_pack, seed=0)
    merged = search(SearchConfig(**TINY, mixed="merged"), tiny_pack, seed=0)
    assert merged.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], rel=1e-3)
    searcher(tiny_pack, mixed="plain").restore(merged.state)  # one's checkpoint loads in the other


def test_second_order_is_the_gradient_through_the_look_ahead_step(tiny_pack, monkeypatch):
    """The finite difference against autograd through w' = w - rate * (grad + decay * w)."""
    monkeypatch.setattr("degas_ray.search.searcher.EPSILON", 1e-6)  # in float64: close to the derivative itself
    loop = searcher(tiny_pack, order="second", lr=0.05, weight_decay=1e-2)
    loop.supernet.double()
    loop.latents = loop.latents.double()
    train, held = loop.weight_batches.next(), loop.alpha_batches.next()
    z, images = loop.latents[train.indices], train.images.double()
    held_z, held_images = loop.latents[held.indices].requires_grad_(), held.images.double()
    _, ours, _ = loop._unrolled((z, images), held_z, held_images)

    names = [name for name, _ in loop.supernet.named_parameters()]
    parameters = dict(loop.supernet.named_parameters())
    weights = [name for name in names if not name.startswith("alphas.")]
    gradients = torch.autograd.grad(
        loop._loss(z, images), [parameters[name] for name in weights], create_graph=True, allow_unused=True
    )
    ahead = {
        name: parameters[name] - 0.05 * (gradient + 1e-2 * parameters[name])
        for name, gradient in zip(weights, gradients, strict=True)
    }
    made = torch.func.functional_call(loop.supernet, {**parameters, **ahead}, (held_z,))
    loss = reconstruction_loss(made, held_images, loop.config.lap1_share).mean()
    exact = torch.autograd.grad(loss, loop.alphas)
    direct = torch.autograd.grad(loop._loss(held_z, held_images), loop.alphas)
    for one, other, first in zip(ours, exact, direct, strict=True):
        assert (one - other).norm() < 1e-3 * (other - first).norm()


def test_second_order_with_adamw_is_refused():
    with pytest.raises(ValueError, match="order: second looks one step of SGD ahead; set optimizer to sgd"):
        SearchConfig(order="second", optimizer="adamw")


def test_penalties_by_hand(tiny_pack):
    loop = searcher(tiny_pack, cost_penalty=1.0, entropy_penalty=0.0)
    with torch.no_grad():
        for alpha, cost in zip(loop.alphas, loop.costs, strict=True):
            alpha.copy_(torch.where(cost == cost.max(), 60.0, -60.0))
    assert loop._penalty().item() == pytest.approx(1.0)
    small = searcher(tiny_pack, cost_penalty=1.0, entropy_penalty=0.0, cost="parameters")
    # Weights of four up-sampling operations, in units of channels squared, at every enlarging connection.
    by_hand = {"deconv_4x4": 16, "deconv_6x6": 36, "up_conv_1x1": 1, "up_conv_3x3": 9, "none": 0}
    connection = next(c for c in small.space.connections if c.name == "U0->U1")
    costs = dict(
        zip(small.space.operations(connection), small.costs[small.space.connections.index(connection)], strict=True)
    )
    assert costs == {op: by_hand[op] * small.config.width**2 for op in costs}
    undecided = searcher(tiny_pack, entropy_penalty=0.5, warmup=0.0)
    undecided.step = undecided.steps
    with torch.no_grad():
        for alpha in undecided.alphas:
            alpha.zero_()
    assert undecided._penalty().item() == pytest.approx(0.5)


def test_the_entropy_penalty_rises_from_the_end_of_the_warm_up(tiny_pack):
    """Alphas that are all alike have the whole entropy: 0.6 of it, times the share of the way from step 2 to step 8."""
    loop = searcher(tiny_pack, entropy_penalty=0.6, warmup=0.25, steps=8)
    with torch.no_grad():
        for alpha in loop.alphas:
            alpha.zero_()
    found = {}
    for loop.step in (2, 5, 8):
        found[loop.step] = loop._penalty().item()
    assert found == pytest.approx({2: 0.0, 5: 0.3, 8: 0.6})


def test_a_short_search_decides_and_improves(tiny_pack):
    result = search(SearchConfig(**{**TINY, "steps": 120, "width": 4, "alpha_lr": 0.1}), tiny_pack, seed=0)
    first, last = result.history[0], result.history[-1]
    assert last["loss"] < 0.5 * first["loss"]
    assert last["alpha_entropy"] < 0.7 < first["alpha_entropy"]
    assert Genotype.parse(last["genotype"]) == result.genotype
    assert all(sum(row.values()) == pytest.approx(1) for row in last["alphas"].values())


def test_the_epoch_with_the_best_margin_can_be_picked(tiny_pack):
    result = search(SearchConfig(**TINY), tiny_pack, seed=0, pruning=PruneConfig(pick="best-margin"))
    best = max(result.history, key=lambda row: row["margin"])
    assert str(result.genotype) == best["genotype"]


def test_a_report_has_the_mean_losses_since_the_last_one(tiny_pack, monkeypatch):
    loop, seen = searcher(tiny_pack), []
    plain = loop._loss

    def noted(*args, **options):
        loss = plain(*args, **options)
        seen.append(loss.item())
        return loss

    monkeypatch.setattr(loop, "_loss", noted)
    for steps in (1, 3):
        seen.clear()
        for _ in range(steps):
            loop.advance()
        loop.report(record=True)
        assert loop.metrics["loss"] == pytest.approx(sum(seen[0::2]) / steps)  # a step of the weights, then of alphas
        assert loop.metrics["alpha_loss"] == pytest.approx(sum(seen[1::2]) / steps)


def test_a_search_that_is_stopped_at_its_last_step_has_ended(tiny_pack):
    config = SearchConfig(**{**TINY, "steps": 2})
    found = search(config, tiny_pack, seed=0, should_stop=iter([False, True]).__next__)
    assert found.history == search(config, tiny_pack, seed=0).history


def test_seeds_matter_and_repeat(tiny_pack):
    one, again, other = (search(SearchConfig(**TINY), tiny_pack, seed=s) for s in (1, 1, 2))
    assert one.history == again.history
    assert one.history != other.history


def test_a_search_leaves_the_global_random_state_alone(tiny_pack):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    search(SearchConfig(**{**TINY, "steps": 2}), tiny_pack, seed=0)
    assert torch.equal(torch.rand(1), expected)


def test_divergence_is_said(tiny_pack):
    with pytest.raises(DivergedError, match=r"non-finite by step \d+; lower search.lr"):
        search(SearchConfig(**{**TINY, "steps": 40, "lr": 1e30, "lr_min": 1e30}), tiny_pack, seed=0)


def test_too_few_images_are_refused(tiny_pack):
    with pytest.raises(InputError, match=r"48 images are too few.*set search.batch lower"):
        searcher(tiny_pack, batch=30)
