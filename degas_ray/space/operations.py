"""The candidate operations (paper 3.2): nine that keep the size of a map, four that enlarge it, and ``none``.

Every operation keeps the number of channels. Strides 2 and 4 have exact integer paddings for kernels of 4 and 6.
"""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]


class ConditionalBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose scale and shift are looked up by class (supervised training, paper 4.1).

    Args:
        channels: Channels of the map.
        num_classes: Classes; labels are integers in ``[0, num_classes)``.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(channels, affine=False)
        self.scale = nn.Parameter(torch.ones(num_classes, channels))
        self.shift = nn.Parameter(torch.zeros(num_classes, channels))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Normalise ``x`` [N, C, H, W] and scale it by the rows that ``labels`` [N] name."""
        if labels is None:
            raise ValueError("a class-conditional generator needs labels [N]")
        scale, shift = self.scale[labels], self.shift[labels]  # [N, C] each
        return super().forward(x) * scale[:, :, None, None] + shift[:, :, None, None]


class Steps(nn.Sequential):
    """Modules one after the other; ``labels`` reach the conditional norms among them."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map ``x`` [N, C, H, W] through every module in turn."""
        for module in self:
            x = module(x, labels) if isinstance(module, ConditionalBatchNorm2d | Steps) else module(x)
        return x


def search_norm(channels: int) -> nn.Module:
    """Return the search's normalisation: batch statistics, no affine part, nothing remembered (as in DARTS)."""
    return nn.BatchNorm2d(channels, affine=False, track_running_stats=False)


def generator_norm(num_classes: int = 0) -> Norm:
    """Return what makes a derived generator's normalisation: affine, and by class where there are classes."""
    if num_classes:
        return lambda channels: ConditionalBatchNorm2d(channels, num_classes)
    return nn.BatchNorm2d


NONE = "none"
# (kernel, stride) -> padding with which a transposed convolution enlarges by exactly its stride.
DECONV_PADDING = {(4, 2): 1, (6, 2): 2, (4, 4): 0, (6, 4): 1}


class UpConv(nn.Module):
    """Nearest-neighbour up-sampling by ``stride``, then a convolution of ``kernel`` (1 or 3), without bias.

    Computed as the one transposed convolution that it is: its kernel, of size ``kernel + stride - 1``, is the flipped
    kernel convolved with a square of ones, so the enlarged map is never made.
    """

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, kernel, kernel))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)  # what nn.Conv2d starts from
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` [N, C, H, W] to [N, C, stride * H, stride * W]."""
        kernel = transposed_kernel(self.weight, self.stride)
        return F.conv_transpose2d(x, kernel, stride=self.stride, padding=(self.kernel - 1) // 2)

    def extra_repr(self) -> str:
        """Say the sizes."""
        return f"{self.weight.shape[0]}, kernel={self.kernel}, stride={self.stride}"


def transposed_kernel(weight: Tensor, stride: int) -> Tensor:
    """Return the transposed-convolution kernel of nearest-up by ``stride`` followed by a convolution.

    Args:
        weight: Convolution kernel [out, in, k, k], k odd, padding (k - 1) / 2.
        stride: Factor of the up-sampling.

    Returns:
        Kernel [in, out, k + stride - 1, k + stride - 1] for padding (k - 1) / 2.
    """
    spread = _spread(weight.shape[-1], stride).to(weight)
    return torch.einsum("ma,oiab,nb->iomn", spread, weight, spread)


@cache
def _spread(kernel: int, stride: int) -> Tensor:
    """Return the matrix [k + s - 1, k] that convolves a flipped row of k numbers with s ones."""
    matrix = torch.zeros(kernel + stride - 1, kernel)
    for tap in range(kernel):
        first = kernel - 1 - tap
        matrix[first : first + stride, tap] = 1
    return matrix


def _conv(channels: int, kernel: int, norm: Norm) -> nn.Module:
    conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
    return Steps(norm(channels), nn.ReLU(), conv)


def _separable(channels: int, kernel: int, dilation: int) -> list[nn.Module]:
    padding = dilation * (kernel - 1) // 2
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
    ]


def _sep_conv(channels: int, kernel: int, norm: Norm) -> nn.Module:
    twice = [[*_separable(channels, kernel, 1), norm(channels)] for _ in range(2)]
    return Steps(*twice[0], *twice[1])


def _dil_conv(channels: int, kernel: int, norm: Norm) -> nn.Module:
    return Steps(*_separable(channels, kernel, 2), norm(channels))


_NORMAL: dict[str, Callable[[int, Norm], nn.Module]] = {
    "conv_1x1": lambda channels, norm: _conv(channels, 1, norm),
    "conv_3x3": lambda channels, norm: _conv(channels, 3, norm),
    "max_pool_3x3": lambda channels, norm: Steps(nn.MaxPool2d(3, 1, 1), norm(channels)),
    "avg_pool_3x3": lambda channels, norm: Steps(nn.AvgPool2d(3, 1, 1, count_include_pad=False), norm(channels)),
    "skip_connect": lambda _channels, _norm: nn.Identity(),
    "sep_conv_3x3": lambda channels, norm: _sep_conv(channels, 3, norm),
    "sep_conv_5x5": lambda channels, norm: _sep_conv(channels, 5, norm),
    "dil_conv_3x3": lambda channels, norm: _dil_conv(channels, 3, norm),
    "dil_conv_5x5": lambda channels, norm: _dil_conv(channels, 5, norm),
}


def _deconv(channels: int, kernel: int, stride: int) -> nn.Module:
    padding = DECONV_PADDING[kernel, stride]
    return nn.ConvTranspose2d(channels, channels, kernel, stride, padding, bias=False)


_UPSAMPLE: dict[str, Callable[[int, int], nn.Module]] = {
    "deconv_4x4": lambda channels, stride: _deconv(channels, 4, stride),
    "deconv_6x6": lambda channels, stride: _deconv(channels, 6, stride),
    "up_conv_1x1": lambda channels, stride: UpConv(channels, 1, stride),
    "up_conv_3x3": lambda channels, stride: UpConv(channels, 3, stride),
}

NORMAL_OPS: tuple[str, ...] = tuple(_NORMAL)
UPSAMPLE_OPS: tuple[str, ...] = tuple(_UPSAMPLE)


def build_operation(name: str, channels: int, stride: int, norm: Norm) -> nn.Module:
    """Build one operation.

    Args:
        name: One of :data:`NORMAL_OPS` (then ``stride`` is 1) or :data:`UPSAMPLE_OPS`.
        stride: 1, 2 or 4: how many times larger the output is.

    Returns:
        A module from [N, C, H, W] to [N, C, stride * H, stride * W].
    """
    if name in _NORMAL:
        return _NORMAL[name](channels, norm)
    return Steps(norm(channels), nn.ReLU(), _UPSAMPLE[name](channels, stride))


def operation_macs(name: str, channels: int, stride: int, size: int) -> int:
    """Return the multiply-adds of one operation on one image, from a map of ``size`` x ``size``.

    Counted as published code runs them: a convolution after nearest-up-sampling at the large size. Normalisation,
    ReLU, pooling and skip connections count as none.
    """
    pixels, dense = size * size, channels * channels
    kernel = int(name[-1]) if name[-1].isdigit() else 0
    if name in _UPSAMPLE:
        return pixels * dense * kernel**2 * (stride**2 if name.startswith("up_conv") else 1)
    if name.startswith("conv"):
        return pixels * dense * kernel**2
    if name.startswith(("sep", "dil")):
        return pixels * (channels * kernel**2 + dense) * (2 if name.startswith("sep") else 1)
    return 0
