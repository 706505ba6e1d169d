"""What every framework must do; a new one is held to it by being in FRAMEWORKS."""

import inspect
import typing

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from degas_ray.config import TrainConfig
from degas_ray.gan import FRAMEWORKS, PRESETS, build_critic
from degas_ray.gan.critic import Critic, Forward, Output
from degas_ray.gan.frameworks import Batch, Fakes, Framework
from degas_ray.gan.group import Noise

every = pytest.mark.parametrize("framework", FRAMEWORKS.values(), ids=FRAMEWORKS)


def setting(framework: Framework, **changes: object) -> TrainConfig:
    return TrainConfig.model_validate({"framework": framework.name, "critic_width": 6} | changes)


def critic_of(framework: Framework, classes: int = 0) -> Critic:
    return build_critic(setting(framework), 16, classes, seed=1).train()


def batch_of(count: int = 8, classes: int = 0) -> Batch:
    torch.manual_seed(2)
    labels = torch.arange(count) % classes if classes else None
    return Batch(torch.rand(count, 3, 16, 16), torch.rand(count, 3, 16, 16) - 1, labels)


def fakes_of(framework: Framework, batch: Batch, images: Tensor | None = None) -> Fakes:
    """Return the batch's generated images, or others, with what the trainer hands along with them."""
    return Fakes(batch.fake if images is None else images, batch.labels, batch.real if framework.pairs else None)


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_configuration_knows_every_framework() -> None:
    assert set(typing.get_args(TrainConfig.model_fields["framework"].annotation)) == set(FRAMEWORKS)


@every
def test_presets_are_valid_settings_and_belong_to_it(framework: Framework) -> None:
    assert framework.presets
    for name, preset in framework.presets.items():
        config = TrainConfig.model_validate(preset)
        assert config.framework == framework.name
        assert PRESETS[name] is preset
    assert framework.source
    assert inspect.getdoc(inspect.getmodule(framework.critic_loss))


def test_presets_have_the_originals_numbers() -> None:
    for name in ("ctgan-paper", "degas-release", "wgan-gp-paper", "sngan-paper"):
        config = TrainConfig.model_validate(PRESETS[name])
        assert (config.lr, config.critic_lr, config.betas, config.decay) == (2e-4, 2e-4, (0.0, 0.9), "linear")
        assert (config.critic_steps, config.batch, config.generator_batch) == (5, 64, 128)
        assert (config.critic_width, config.latent_dim, config.ema) == (128, 128, 0)
    r3gan = TrainConfig.model_validate(PRESETS["r3gan-paper"])
    assert (r3gan.critic_steps, r3gan.batch, r3gan.generator_batch) == (1, 512, 512)
    assert (r3gan.gamma, r3gan.gamma_end, r3gan.betas, r3gan.beta2_end) == (0.05, 0.005, (0.0, 0.9), 0.99)
    assert (r3gan.lr, r3gan.lr * r3gan.decay_to, r3gan.decay) == (2e-4, 5e-5, "cosine")
    assert r3gan.steps * r3gan.batch == pytest.approx(2e7, rel=1e-4)
    assert r3gan.ema == pytest.approx(0.5 ** (512 / 5e6), abs=1e-6)
    steps = {name: TrainConfig.model_validate(PRESETS[name]).steps for name in PRESETS}
    assert (steps["ctgan-paper"], steps["degas-release"], steps["sngan-paper"]) == (100_000, 200_000, 50_000)


@every
def test_losses_are_finite_and_reach_every_weight(framework: Framework) -> None:
    critic, config = critic_of(framework, classes=3), setting(framework)
    batch = batch_of(classes=3)
    loss = torch.stack(list(framework.critic_loss(critic, batch, config, noise()).values())).sum()
    gradients = torch.autograd.grad(loss, list(critic.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)
    weights = [(p, g) for p, g in zip(critic.parameters(), gradients, strict=True) if p.ndim > 1]
    assert all(gradient.any() for _, gradient in weights)

    images = batch.fake.clone().requires_grad_()
    terms = framework.generator_loss(critic, fakes_of(framework, batch, images), config, noise())
    (gradient,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), images)
    assert gradient.isfinite().all()
    assert gradient.flatten(1).any(1).all()


@every
def test_terms_have_no_side_effect_on_the_batch_or_the_global_random_state(framework: Framework) -> None:
    critic, config, batch = critic_of(framework), setting(framework), batch_of()
    copies = batch.real.clone(), batch.fake.clone()
    state = torch.get_rng_state()
    framework.critic_loss(critic, batch, config, noise())
    framework.generator_loss(critic, fakes_of(framework, batch), config, noise())
    assert torch.equal(batch.real, copies[0])
    assert torch.equal(batch.fake, copies[1])
    assert torch.equal(torch.get_rng_state(), state)


@every
def test_terms_are_means_over_images_so_that_workers_can_share_a_batch(framework: Framework) -> None:
    critic, config, batch = critic_of(framework, classes=3).eval(), setting(framework), batch_of(8, classes=3)

    def half(rank: int) -> tuple[Batch, Noise]:
        own = Noise(rank=rank, workers=2)
        own.manual_seed(5)
        own.rows = 4
        part = slice(rank * 4, rank * 4 + 4)
        assert batch.labels is not None
        return Batch(batch.real[part], batch.fake[part], batch.labels[part]), own

    whole = framework.critic_loss(critic, batch, config, noise(5))
    parts = [framework.critic_loss(critic, own, config, draws) for own, draws in map(half, range(2))]
    for name, value in whole.items():
        assert (parts[0][name] + parts[1][name]).item() / 2 == pytest.approx(value.item(), rel=1e-4, abs=1e-5), name
    whole = framework.generator_loss(critic, fakes_of(framework, batch), config, noise(5))
    parts = [
        framework.generator_loss(critic, fakes_of(framework, own), config, draws) for own, draws in map(half, range(2))
    ]
    for name, value in whole.items():
        assert (parts[0][name] + parts[1][name]).item() / 2 == pytest.approx(value.item(), rel=1e-4, abs=1e-5), name


@every
def test_dropout_is_on_where_the_framework_has_it_in_both_steps(framework: Framework) -> None:
    critic, config, batch = critic_of(framework).eval(), setting(framework, gradient_penalty=0), batch_of()

    def losses(seed: int) -> tuple[float, float]:
        critics = framework.critic_loss(critic, batch, config, noise(seed))
        generators = framework.generator_loss(critic, fakes_of(framework, batch), config, noise(seed))
        return sum(critics.values()).item(), sum(generators.values()).item()  # type: ignore[union-attr]

    (critic0, generator0), (critic1, generator1) = losses(0), losses(1)
    assert (critic0 != critic1) is framework.dropout
    assert (generator0 != generator1) is framework.dropout
    assert losses(0) == (critic0, generator0)


@every
def test_training_the_critic_tells_real_from_generated(framework: Framework) -> None:
    critic, config, batch = critic_of(framework), setting(framework), batch_of(16)
    adam, draws = torch.optim.Adam(critic.parameters(), 5e-3, betas=(0.0, 0.9)), noise()

    def gap() -> float:
        critic.eval()
        with torch.no_grad():
            value = critic(batch.real).score.mean() - critic(batch.fake).score.mean()
        critic.train()
        return value.item()

    before = gap()
    for _ in range(25):
        loss = torch.stack(list(framework.critic_loss(critic, batch, config, draws).values())).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert gap() > before + 0.5


@every
def test_the_classifier_counts_at_its_weight_on_real_images_only(framework: Framework) -> None:
    critic, batch = critic_of(framework, classes=3).eval(), batch_of(classes=3)
    one = framework.critic_loss(critic, batch, setting(framework, auxiliary_critic=1.0), noise())["classification"]
    half = framework.critic_loss(critic, batch, setting(framework, auxiliary_critic=0.5), noise())["classification"]
    assert half.item() == pytest.approx(one.item() / 2)
    elsewhere = batch._replace(fake=torch.zeros_like(batch.fake))
    same = framework.critic_loss(critic, elsewhere, setting(framework), noise())["classification"]
    assert same.item() == pytest.approx(one.item(), rel=1e-5)
    fakes = fakes_of(framework, batch)
    tenth = framework.generator_loss(critic, fakes, setting(framework), noise())["classification"]
    whole = framework.generator_loss(critic, fakes, setting(framework, auxiliary_generator=1.0), noise())
    assert tenth.item() == pytest.approx(whole["classification"].item() / 10, rel=1e-5)


@every
def test_spectral_norm_is_one_by_svd_where_the_framework_has_it(framework: Framework) -> None:
    critic = critic_of(framework)
    layers = [m for m in critic.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for _ in range(60):  # one power iteration each
            critic(batch_of(2).real)
        norms = [np.linalg.svd(layer.weight.flatten(1).numpy(), compute_uv=False)[0] for layer in layers]
    if framework.spectral_norm:
        assert norms == pytest.approx([1.0] * len(layers), rel=1e-2)
    else:
        assert max(abs(norm - 1) for norm in norms) > 0.05


def test_ctgan_by_hand() -> None:
    """Terms of CT-GAN and WGAN-GP from the critic's own scores, dropout off."""
    framework, config = FRAMEWORKS["ctgan"], TrainConfig(critic_width=6)
    critic, batch = critic_of(framework), batch_of()
    critic.rates = (0.0, 0.0, 0.0)
    terms = framework.critic_loss(critic, batch, config, noise())
    real, fake = critic(batch.real), critic(batch.fake)
    assert terms["wasserstein"].item() == pytest.approx((fake.score.mean() - real.score.mean()).item(), abs=1e-6)
    assert terms["consistency"].item() == pytest.approx(0, abs=1e-10)  # equal passes
    plain = FRAMEWORKS["wgan-gp"].critic_loss(critic, batch, config, noise())
    assert plain["penalty"].item() == pytest.approx(terms["penalty"].item(), rel=1e-5)
    assert set(terms) - set(plain) == {"consistency"}
    adversarial = framework.generator_loss(critic, Fakes(batch.fake, None), config, noise())["adversarial"]
    assert adversarial.item() == pytest.approx(-fake.score.mean().item(), abs=1e-6)


def test_ctgans_two_passes_have_their_own_dropout() -> None:
    framework = FRAMEWORKS["ctgan"]
    terms = framework.critic_loss(critic_of(framework), batch_of(), setting(framework), noise())
    assert terms["consistency"].item() > 1e-3


def test_ctgans_consistency_is_of_two_passes_over_real_images_by_numpy() -> None:
    """Every draw again in the same order: the trunk over all images, then the head over real ones twice."""
    critic, batch = critic_of(FRAMEWORKS["ctgan"]), batch_of()
    config = setting(FRAMEWORKS["ctgan"], consistency=2.0, consistency_features=0.1, consistency_margin=0.05)
    term = FRAMEWORKS["ctgan"].critic_loss(critic, batch, config, noise(4))["consistency"].item()
    how = Forward(noise(4))
    with torch.no_grad():
        real = critic.trunk(torch.cat([batch.real, batch.fake]), how)[:8]
        both = critic.head(real.repeat(3, 1, 1, 1), how)  # the third pass stands for the generated images
    scores, features = both.score.numpy().reshape(3, 8), both.features.numpy().reshape(3, 8, -1)
    distance = (scores[0] - scores[1]) ** 2 + 0.1 * ((features[0] - features[1]) ** 2).mean(1)
    assert term == pytest.approx(np.maximum(2.0 * distance - 0.05, 0).mean(), rel=1e-4)
    for images in (torch.zeros_like(batch.fake), 3 * batch.fake):
        other = FRAMEWORKS["ctgan"].critic_loss(critic, batch._replace(fake=images), config, noise(4))
        assert other["consistency"].item() == pytest.approx(term, rel=1e-4)


def test_cagan_rewards_disagreement_on_generated_images_up_to_one() -> None:
    framework = FRAMEWORKS["cagan"]
    critic, batch = critic_of(framework), batch_of()
    critic.rates = (0.0, 0.0, 0.0)  # equal critics: 0 on real, the full 1 on generated, times the weight
    terms = framework.critic_loss(critic, batch, setting(framework, consistency=3.0), noise())
    assert terms["consistency"].item() == pytest.approx(3.0)
    own = framework.generator_loss(critic, Fakes(batch.fake, None), setting(framework), noise())
    assert own["consistency"].item() == pytest.approx(0, abs=1e-10)


def test_sngan_is_the_hinge_by_numpy() -> None:
    framework = FRAMEWORKS["sngan"]
    critic, batch, config = critic_of(framework, classes=3).eval(), batch_of(classes=3), setting(FRAMEWORKS["sngan"])
    with torch.no_grad():
        real, fake = critic(batch.real), critic(batch.fake)
        terms = framework.critic_loss(critic, batch, config, noise())
        own = framework.generator_loss(critic, Fakes(batch.fake, batch.labels), config, noise())
    r, f = real.score.numpy(), fake.score.numpy()
    assert terms["hinge"].item() == pytest.approx(np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(), rel=1e-5)
    assert terms["classification"].item() == pytest.approx(
        config.auxiliary_critic * cross_entropy(real, batch), rel=1e-5
    )
    assert set(terms) == {"hinge", "classification"}
    assert own["adversarial"].item() == pytest.approx(-f.mean(), rel=1e-5)
    assert own["classification"].item() == pytest.approx(
        config.auxiliary_generator * cross_entropy(fake, batch), rel=1e-5
    )
    assert set(own) == {"adversarial", "classification"}


@pytest.mark.parametrize("penalty", ["exact", "approximate"])
def test_r3gan_is_its_formula_by_numpy(penalty: str) -> None:
    framework = FRAMEWORKS["r3gan"]
    critic, batch = critic_of(framework, classes=3), batch_of(classes=3)
    config = setting(framework, gamma=0.7, penalty=penalty)
    terms = framework.critic_loss(critic, batch, config, noise(4))
    points = torch.cat([batch.real, batch.fake]).requires_grad_()
    output = critic(points)
    real, fake = output.score.detach().numpy().reshape(2, 8)
    assert terms["relativistic"].item() == pytest.approx(np.log1p(np.exp(fake - real)).mean(), rel=1e-5)
    if penalty == "exact":
        (slopes,) = torch.autograd.grad(output.score.sum(), points)
        squared = np.square(slopes.numpy()).sum((1, 2, 3))
    else:  # the slope in one drawn direction
        step = 0.01 * torch.empty_like(points).normal_(generator=noise(4))
        with torch.no_grad():
            squared = ((critic(points + step).score - output.score).numpy() / 0.01) ** 2
    expected = 0.7 / 2 * (squared[:8].mean() + squared[8:].mean())
    assert terms["penalty"].item() == pytest.approx(expected, rel=1e-4)
    judged = Output(output.score[:8], output.features[:8], None if output.logits is None else output.logits[:8])
    assert terms["classification"].item() == pytest.approx(cross_entropy(judged, batch), rel=1e-5)
    assert set(terms) == {"relativistic", "penalty", "classification"}

    own = framework.generator_loss(critic, fakes_of(framework, batch), config, noise())
    assert own["adversarial"].item() == pytest.approx(np.log1p(np.exp(real - fake)).mean(), rel=1e-5)


def test_the_approximate_penalty_is_the_exact_one_on_average() -> None:
    framework = FRAMEWORKS["r3gan"]
    critic, batch = critic_of(framework), batch_of()
    exact = framework.critic_loss(critic, batch, setting(framework), noise())["penalty"].item()
    config = setting(framework, penalty="approximate")
    drawn = [framework.critic_loss(critic, batch, config, noise(seed))["penalty"].item() for seed in range(200)]
    # The square of a normal number has a deviation of sqrt(2) times its mean; 200 x 16 of them.
    assert np.mean(drawn) == pytest.approx(exact, rel=4 * 2**0.5 / (200 * 16) ** 0.5 * 2)


def test_cagan_is_its_formula_by_numpy_dropout_on() -> None:
    """Every draw again in the same order: the critics, then the points and the masks of the penalty."""
    framework = FRAMEWORKS["cagan"]
    critic, batch = critic_of(framework), batch_of()
    config = setting(framework, critics=3, consistency=2.0, gradient_penalty=10.0)
    terms = framework.critic_loss(critic, batch, config, noise(4))
    draws = noise(4)
    with torch.no_grad():
        how = Forward(draws)
        trunk = critic.trunk(torch.cat([batch.real, batch.fake]), how)
        scores = critic.head(trunk.repeat(3, 1, 1, 1), how).score.view(3, -1).numpy()
    real, fake = scores[:, :8], scores[:, 8:]
    assert real.var(0).min() > 0  # dropout makes three critics of one
    spread = real.var(0).mean() + np.maximum(0, 1 - fake.var(0)).mean()
    assert terms["wasserstein"].item() == pytest.approx(fake.mean() - real.mean(), rel=1e-4, abs=1e-6)
    assert terms["consistency"].item() == pytest.approx(2.0 * spread, rel=1e-4)

    share = torch.rand(8, 1, 1, 1, generator=draws)
    points = (batch.real + share * (batch.fake - batch.real)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(points, Forward(draws)).score.sum(), points)
    penalty = np.square(np.linalg.norm(slope.flatten(1).numpy(), axis=1) - 1).mean()
    assert terms["penalty"].item() == pytest.approx(10 * penalty, rel=1e-4)
    assert set(terms) == {"wasserstein", "penalty", "consistency"}

    own = framework.generator_loss(critic, Fakes(batch.fake, None), config, noise(4))
    how = Forward(noise(4))
    with torch.no_grad():
        made = critic.head(critic.trunk(batch.fake, how).repeat(3, 1, 1, 1), how).score.view(3, -1).numpy()
    assert own["adversarial"].item() == pytest.approx(-made.mean(), rel=1e-4, abs=1e-6)
    assert own["consistency"].item() == pytest.approx(2.0 * made.var(0).mean(), rel=1e-4)


def cross_entropy(output: Output, batch: Batch) -> float:
    """Return the mean of -log softmax at the labels, by numpy."""
    assert output.logits is not None
    assert batch.labels is not None
    logits = output.logits.detach().numpy().astype(float)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return float(-np.log(shares[np.arange(len(logits)), batch.labels.numpy()]).mean())
