"""The critic against the plain form that the papers' code writes down, in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degas_ray.gan.critic import Block, Critic, Forward
from degas_ray.gan.init import initialise
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


class Linear(Critic):
    """A critic that is one scalar product, for which the penalty has a closed form."""

    def __init__(self, direction: Tensor) -> None:
        super().__init__(8, width=1)
        self.direction = nn.Parameter(direction)

    def trunk(self, images: Tensor, how: Forward) -> Tensor:
        return images

    def head(self, x: Tensor, how: Forward):  # type: ignore[no-untyped-def]
        score = x.flatten(1) @ self.direction
        return super().head(torch.zeros(len(x), 1, 2, 2, dtype=x.dtype), how)._replace(score=score)


def test_the_penalty_of_a_linear_critic_in_closed_form() -> None:
    direction = torch.randn(3 * 8 * 8, dtype=torch.float64)
    critic = Linear(direction).double()
    real, fake = torch.randn(2, 5, 3, 8, 8, dtype=torch.float64)
    penalty = gradient_penalty(critic, real, fake, torch.Generator().manual_seed(0))
    norm = np.linalg.norm(direction.numpy())
    assert penalty.item() == pytest.approx((norm - 1) ** 2, rel=1e-12)
    (gradient,) = torch.autograd.grad(penalty, critic.direction)
    assert np.allclose(gradient.numpy(), 2 * (norm - 1) * direction.numpy() / norm, rtol=1e-10)


def test_a_flat_critic_has_a_penalty_of_one_and_a_finite_gradient() -> None:
    critic = Linear(torch.zeros(3 * 8 * 8, dtype=torch.float64)).double()
    real, fake = torch.randn(2, 5, 3, 8, 8, dtype=torch.float64)
    penalty = gradient_penalty(critic, real, fake, torch.Generator().manual_seed(0))
    assert penalty.item() == 1
    assert torch.autograd.grad(penalty, critic.direction)[0].isfinite().all()


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
