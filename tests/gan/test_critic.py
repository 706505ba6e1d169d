"""The critic against the plain form that the papers' code writes down, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degas_ray.gan.build import initialise
from degas_ray.gan.critic import Block, Critic, Forward, Output
from degas_ray.gan.slopes import scores_and_slopes
from degas_ray.gan.terms import gradient_penalty
from degas_ray.space import count_parameters


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def double_critic(resolution: int = 16, **settings: object) -> Critic:
    critic = Critic(resolution, width=6, **settings).double()  # type: ignore[arg-type]
    initialise(critic, 0)
    for parameter in critic.parameters():  # biases too, so that their handling shows
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.1)
    return critic


def plain_block(block: Block, x: Tensor) -> Tensor:
    """As the WGAN-GP and CT-GAN code writes it: convolve, then average four shifted copies."""
    y = block.conv2(F.relu(block.conv1(x if block.first else F.relu(x))))
    if block.shortcut is None:
        return x + y

    def pool(z: Tensor) -> Tensor:
        return (z[:, :, ::2, ::2] + z[:, :, 1::2, ::2] + z[:, :, ::2, 1::2] + z[:, :, 1::2, 1::2]) / 4

    return pool(y) + pool(block.shortcut(x))


def plain_score(critic: Critic, x: Tensor, noise: torch.Generator | None = None) -> Tensor:
    how = Forward(noise)
    x = how.dropout(plain_block(critic.second, plain_block(critic.first, x)), critic.rates[0])
    for block, rate in zip(critic.blocks, critic.rates[1:], strict=True):
        x = how.dropout(plain_block(block, x), rate)  # type: ignore[arg-type]
    return critic.score(F.relu(x).mean((2, 3))).squeeze(1)


@pytest.mark.parametrize("resolution", [16, 32, 48, 64])
def test_scores_equal_the_plain_form(resolution: int) -> None:
    critic = double_critic(resolution)
    images = torch.randn(3, 3, resolution, resolution, dtype=torch.float64)
    assert torch.allclose(critic(images).score, plain_score(critic, images), atol=1e-12)


@pytest.mark.parametrize(
    ("resolution", "rates"),
    [(16, (0.2, 0.5, 0.5)), (32, (0.2, 0.5, 0.5)), (48, (0.2, 0.2, 0.5, 0.5)), (64, (0.2, 0.2, 0.5, 0.5))],
)
def test_down_blocks_repeat_above_32(resolution: int, rates: tuple[float, ...]) -> None:
    assert Critic(resolution, width=2).rates == rates


def test_output_shapes() -> None:
    critic = Critic(16, width=8, num_classes=5)
    output = critic(torch.zeros(3, 3, 16, 16))
    assert output.logits is not None
    assert [tuple(t.shape) for t in output] == [(3,), (3, 8), (3, 5)]
    assert Critic(16, width=8)(torch.zeros(3, 3, 16, 16)).logits is None


def test_parameters_at_the_papers_width() -> None:
    # 3->128 conv3 and conv1; 7 conv3 of 128->128 (block 1 has one, blocks 2-4 two each); block 2's conv1; score.
    by_hand = (3 * 9 + 1) * 128 + (3 + 1) * 128 + 7 * (128 * 9 + 1) * 128 + (128 + 1) * 128 + (128 + 1)
    assert count_parameters(Critic(32, width=128)) == by_hand == 1_053_825


def test_dropout_masks_keep_the_mean_and_use_the_given_noise() -> None:
    x = torch.ones(1000, 50)
    dropped = Forward(torch.Generator().manual_seed(0)).dropout(x, 0.5)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert float(dropped.mean()) == pytest.approx(1, abs=0.02)
    assert torch.equal(dropped, Forward(torch.Generator().manual_seed(0)).dropout(x, 0.5))
    assert Forward(None).dropout(x, 0.5) is x


@pytest.mark.parametrize("dropout", [True, False])
@pytest.mark.parametrize("resolution", [16, 48])
def test_the_penalty_and_its_gradient_equal_double_differentiation(resolution: int, dropout: bool) -> None:
    critic = double_critic(resolution, dropout=dropout)
    real, fake = torch.randn(2, 4, 3, resolution, resolution, dtype=torch.float64)

    penalty = gradient_penalty(critic, real, fake, torch.Generator().manual_seed(3))
    ours = torch.autograd.grad(penalty, list(critic.parameters()), allow_unused=True)

    noise = torch.Generator().manual_seed(3)
    share = torch.rand((4, 1, 1, 1), generator=noise)
    points = (real + share * (fake - real)).requires_grad_()
    (slope,) = torch.autograd.grad(plain_score(critic, points, noise).sum(), points, create_graph=True)
    expected = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    theirs = torch.autograd.grad(expected, list(critic.parameters()), allow_unused=True)

    assert penalty.item() == pytest.approx(expected.item(), abs=1e-12)
    for (name, weight), own, plain in zip(critic.named_parameters(), ours, theirs, strict=True):
        zero = torch.zeros_like(weight)  # a slope does not depend on most biases
        own, plain = zero if own is None else own, zero if plain is None else plain
        assert torch.allclose(own, plain, atol=1e-12), name


def test_the_penalty_of_an_affine_critic_in_closed_form() -> None:
    """Kernels and biases that keep every unit on make a critic affine: its slope is known by differences."""
    critic = double_critic(8, dropout=False)
    with torch.no_grad():
        for layer in critic.modules():
            if isinstance(layer, nn.Conv2d):
                layer.bias.fill_(1.0)
                layer.weight.abs_()
        origin = critic(torch.zeros(1, 3, 8, 8, dtype=torch.float64)).score
        slope = critic(torch.eye(192, dtype=torch.float64).view(192, 3, 8, 8)).score - origin
    real, fake = 0.1 * torch.randn(2, 5, 3, 8, 8, dtype=torch.float64)
    penalty = gradient_penalty(critic, real, fake, torch.Generator().manual_seed(0))
    norm = slope.norm().item()
    assert penalty.item() == pytest.approx((norm - 1) ** 2, rel=1e-8)
    # Scaling the last layer by s scales the norm by s: d/ds (s norm - 1)^2 at s = 1.
    (gradient,) = torch.autograd.grad(penalty, critic.score.weight)
    assert (gradient * critic.score.weight).sum().item() == pytest.approx(2 * (norm - 1) * norm, rel=1e-8)


def test_a_flat_critic_has_a_penalty_of_one_and_a_finite_gradient() -> None:
    critic = double_critic(8)
    nn.init.zeros_(critic.score.weight)
    real, fake = torch.randn(2, 5, 3, 8, 8, dtype=torch.float64)
    penalty = gradient_penalty(critic, real, fake, torch.Generator().manual_seed(0))
    assert penalty.item() == 1
    gradients = torch.autograd.grad(penalty, list(critic.parameters()), allow_unused=True)
    assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)


@pytest.mark.parametrize("part", ["score", "features", "logits", "all"])
@pytest.mark.parametrize("pool", ["mean", "sum"])
@pytest.mark.parametrize("slopes", [True, False])
def test_scores_with_slopes_have_the_gradients_of_double_differentiation(part: str, pool: str, slopes: bool) -> None:
    """Any loss of scores, features, logits and slopes, against autograd through the plain form."""
    critic = double_critic(16, dropout=False, num_classes=3, pool=pool)
    images = torch.randn(5, 3, 16, 16, dtype=torch.float64)
    weighing = torch.Generator().manual_seed(1)
    by_score, by_features, by_logits, by_slope = (
        torch.randn(size, generator=weighing, dtype=torch.float64) for size in ((5,), (5, 6), (5, 3), (5, 3, 16, 16))
    )

    def loss(output: Output, slope: Tensor) -> Tensor:
        assert output.logits is not None
        terms = {
            "score": (output.score.square() * by_score).sum(),
            "features": (output.features.square() * by_features).sum(),
            "logits": (output.logits.square() * by_logits).sum(),
        }
        own = sum(terms.values()) if part == "all" else terms[part]
        return own + (slope.square() * by_slope).sum() if slopes else own  # type: ignore[operator]

    ours = loss(*scores_and_slopes(critic, images, None))
    points = images.clone().requires_grad_()
    output = critic(points)
    (slope,) = torch.autograd.grad(output.score.sum(), points, create_graph=True)
    theirs = loss(output, slope)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-10)
    parameters = list(critic.parameters())
    own = torch.autograd.grad(ours, parameters, allow_unused=True)
    plain = torch.autograd.grad(theirs, parameters, allow_unused=True)
    for (name, weight), a, b in zip(critic.named_parameters(), own, plain, strict=True):
        zero = torch.zeros_like(weight)
        assert torch.allclose(zero if a is None else a, zero if b is None else b, rtol=1e-9, atol=1e-11), name


def test_slopes_in_half_precision_are_those_of_full_precision_within_rounding() -> None:
    critic = Critic(16, width=16, dropout=False)
    initialise(critic, 0)
    images = torch.randn(8, 3, 16, 16)
    _, exact = scores_and_slopes(critic, images, None)
    with torch.autocast("cpu", torch.bfloat16):
        output, slopes = scores_and_slopes(critic, images, None)
        loss = slopes.square().sum() + output.score.sum()
    assert slopes.dtype == torch.float32
    assert ((slopes - exact).norm() / exact.norm()).item() < 0.1  # units near zero switch
    gradients = torch.autograd.grad(loss, list(critic.parameters()))
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in gradients)


def test_initial_weights_have_the_deviations_of_the_papers_code() -> None:
    critic = Critic(32, width=128)
    initialise(critic, 0)
    for layer, deviation in (
        (critic.first.conv2, (4 / (2 * 128 * 9)) ** 0.5),
        (critic.second.shortcut, (2 / 256) ** 0.5),
    ):
        assert layer is not None
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
        assert layer.weight.abs().max().item() <= 3**0.5 * deviation
        assert not layer.bias.any()
    again = Critic(32, width=128)
    initialise(again, 0)
    assert torch.equal(again.score.weight, critic.score.weight)
