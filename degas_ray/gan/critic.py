"""The critic of WGAN-GP and CT-GAN: residual blocks without normalisation, dropout, global pooling.

How a pass treats its units is handed in (:class:`Forward`): the gradient penalties run the same network in ways of
their own (:mod:`degas_ray.gan.slopes`).
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degas_ray.gan.group import uniform_like

# After block 2 (and every further block that halves the size), block 3 and block 4 (CT-GAN, section 4).
DROPOUT = (0.2, 0.5, 0.5)
_SMALL = 8  # blocks go on halving a map while it is larger


class Output(NamedTuple):
    """What the critic says of N images."""

    score: Tensor  # [N]
    features: Tensor  # [N, width], pooled last features
    logits: Tensor | None  # [N, num_classes]


@dataclass
class Forward:
    """An ordinary pass.

    Args:
        noise: Draws the dropout masks; ``None`` turns dropout off.
    """

    noise: torch.Generator | None = None

    def relu(self, x: Tensor) -> Tensor:
        """Return the positive part."""
        return F.relu(x)

    def conv(self, x: Tensor, layer: nn.Conv2d, stride: int = 1, padding: int = 0) -> Tensor:
        """Convolve ``x`` with the weights of ``layer``; its own stride and padding do not count."""
        return F.conv2d(x, layer.weight, layer.bias, stride, padding)

    def linear(self, x: Tensor, layer: nn.Linear) -> Tensor:
        """Apply ``layer`` to ``x`` [N, inputs]."""
        return F.linear(x, layer.weight, layer.bias)

    def dropout(self, x: Tensor, rate: float) -> Tensor:
        """Drop units of ``x`` at ``rate`` and scale up the others."""
        return x if self.noise is None or not rate else x * self.mask(x, rate)

    def mask(self, x: Tensor, rate: float) -> Tensor:
        """Draw 0 or 1 / (1 - rate) in the shape and layout of ``x``."""
        # Twice as fast on a CPU as bernoulli_.
        return uniform_like(x, self.noise).ge_(rate).div_(1 - rate)


class Block(nn.Module):
    """A residual block: ReLU, conv 3x3, ReLU, conv 3x3, and where it ``halves`` the size, mean pooling.

    Args:
        halves: Whether to pool 2x2; the shortcut is then pooled too and has a 1x1 convolution.
        first: The image's own block: no ReLU before its first convolution.
    """

    def __init__(self, inputs: int, width: int, *, halves: bool, first: bool = False) -> None:
        super().__init__()
        hidden = width if first else inputs
        self.conv1 = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.conv2 = nn.Conv2d(hidden, width, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, width, 1) if halves else None
        self.first = first

    def forward(self, x: Tensor, how: Forward) -> Tensor:
        """Map ``x`` [N, C, H, W] to [N, width, H, W], or half that size."""
        y = x if self.first else how.relu(x)
        y = how.relu(how.conv(y, self.conv1, padding=1))
        if self.shortcut is None:
            return x + how.conv(y, self.conv2, padding=1)
        # Convolving the means of neighbours at every second place is pooling after the convolution, at a quarter of the
        # work; a 1x1 convolution simply commutes with pooling.
        return how.conv(blur(y), self.conv2, stride=2) + how.conv(pool(x), self.shortcut)


class _Blur(torch.autograd.Function):
    """Means of 2x2 neighbours at every place; the derivative is the same sum once more.

    PyTorch's own derivative of the pooling costs two to three times as much on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2, stride=1, padding=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return blur_adjoint(gradients[0])


class _Pool(torch.autograd.Function):
    """Means of 2x2 cells."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return pool_adjoint(gradients[0])


def blur(x: Tensor) -> Tensor:
    """Return the means of 2x2 neighbours of ``x`` [N, C, H, W], zeros around it: [N, C, H + 1, W + 1]."""
    y: Tensor = _Blur.apply(x)
    return y


def pool(x: Tensor) -> Tensor:
    """Return the means of the 2x2 cells of ``x`` [N, C, H, W]: [N, C, H / 2, W / 2]."""
    y: Tensor = _Pool.apply(x)
    return y


def blur_adjoint(gradient: Tensor) -> Tensor:
    """Return the gradient of :func:`blur`'s input, given that of its output."""
    return F.avg_pool2d(gradient, 2, stride=1)


def pool_adjoint(gradient: Tensor) -> Tensor:
    """Return the gradient of :func:`pool`'s input, given that of its output."""
    return F.interpolate(gradient * 0.25, scale_factor=2.0, mode="nearest")


class Critic(nn.Module):
    """Scores images [N, 3, R, R]; higher means more like the real ones.

    Four residual blocks, of which two halve the size; at more than 32x32 the second is repeated while the size is above
    8 and even. ReLU, global pooling, a linear score, and class logits where there are classes.

    Args:
        resolution: Height and width of an image, a multiple of 4.
        num_classes: For the auxiliary classifier; 0 for none.
        pool: Global ``mean`` (CT-GAN) or ``sum`` (SN-GAN).
    """

    def __init__(
        self,
        resolution: int,
        *,
        width: int = 128,
        num_classes: int = 0,
        dropout: bool = True,
        pool: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        self.resolution, self.width, self.num_classes = resolution, width, num_classes
        self.pool = pool
        size = resolution // 4
        self.first = Block(3, width, halves=True, first=True)
        self.second = Block(width, width, halves=True)
        blocks, rates = [], [DROPOUT[0]]
        while size > _SMALL and size % 2 == 0:
            blocks.append(Block(width, width, halves=True))
            rates.append(DROPOUT[0])
            size //= 2
        blocks += [Block(width, width, halves=False) for _ in DROPOUT[1:]]
        rates += DROPOUT[1:]
        self.blocks = nn.ModuleList(blocks)
        self.rates = tuple(rates) if dropout else (0.0,) * len(rates)
        self.score = nn.Linear(width, 1)
        self.classifier = nn.Linear(width, num_classes) if num_classes else None

    def forward(self, images: Tensor, how: Forward | None = None) -> Output:
        """Judge ``images`` [N, 3, R, R]; without ``how`` no unit is dropped."""
        how = how or Forward()
        return self.head(self.trunk(images, how), how)

    def trunk(self, images: Tensor, how: Forward) -> Tensor:
        """Return what comes before the first dropout [N, width, R/4, R/4], the same for every dropout mask."""
        x: Tensor = self.second(self.first(images, how), how)
        return x

    def head(self, x: Tensor, how: Forward) -> Output:
        """Judge images from what :meth:`trunk` made of them."""
        x = how.dropout(x, self.rates[0])
        for block, rate in zip(self.blocks, self.rates[1:], strict=True):
            x = how.dropout(block(x, how), rate)
        x = how.relu(x)
        with torch.autocast(x.device.type, enabled=False):  # few numbers, and losses need their precision
            x = x.to(self.score.weight.dtype)
            features = x.mean((2, 3)) if self.pool == "mean" else x.sum((2, 3))
            score = how.linear(features, self.score).squeeze(1)
            logits = None if self.classifier is None else how.linear(features, self.classifier)
        return Output(score, features, logits)
