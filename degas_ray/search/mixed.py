"""MixedOps: every candidate operation of a connection at once, weighted by softmax(alpha) (paper eq. 1).

Two ways to compute the same sum. :func:`plain` runs op by op, as the equation is written. The merged way rests on
four facts, all exact:

* In a search, normalisation has no affine part, so ``relu(bn(x))`` and ``relu(x)`` of a map are the same tensors for
  every operation that reads it: :class:`Source` computes each once.
* All four up-sample operations are transposed convolutions of that tensor, and the two plain convolutions are 3x3
  ones: the weighted sum of their kernels is one kernel (:func:`upsample_kernel`, :func:`normal_kernel`).
* A convolution dilated by two never mixes pixels of different parity: it is an undilated one on the four half-size
  phases of the map, which a CPU runs several times faster (:func:`to_phases`).
* On maps of at most 4x4 pixels a library of depthwise convolutions spends its time on borders. There a depthwise
  convolution is, channel by channel, a small matrix over pixels, the pointwise one a matrix over channels, and several
  operations of one MixedOp go through both together (:func:`separable`). Layout: planes [C, N, P], with P pixels.
"""

import math
from collections.abc import Iterable, Mapping
from functools import cache, cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degas_ray.space.operations import DECONV_PADDING, NONE, UpConv, transposed_kernel

SMALL = 4  # side of the largest map that is faster so (docs/performance.md)


def to_planes(x: Tensor) -> Tensor:
    """Return ``x`` [N, C, H, W] as planes [C, N, H * W]."""
    n, c, h, w = x.shape
    return x.permute(1, 0, 2, 3).reshape(c, n, h * w)


def from_planes(x: Tensor, size: int) -> Tensor:
    """Return planes [C, N, size * size] as a map [N, C, size, size], channels last in memory."""
    c, n, _ = x.shape
    return x.permute(1, 2, 0).reshape(n, size, size, c).permute(0, 3, 1, 2)


def separable(ops: Mapping[str, nn.Module], weights: Mapping[str, Tensor], x: Tensor, dilation: int = 2) -> Tensor:
    """Return the weighted sum of separable and dilated operations.

    Args:
        ops: ``sep_conv_*`` first, then ``dil_conv_*``.
        x: relu of the map, as planes [C, N, P] of a square.
        dilation: Of the ``dil_conv_*``; 1 where ``x`` holds the phases of a larger map.
    """
    channels, n, pixels = x.shape
    layers = [[module for module in op.children() if isinstance(module, nn.Conv2d)] for op in ops.values()]
    twice = sum(len(convs) == 4 for convs in layers)  # a sep_conv is depthwise and pointwise, two times
    steps = [1 if len(convs) == 4 else dilation for convs in layers]
    y = _depthwise_pointwise(x, [convs[:2] for convs in layers], steps)
    if twice:
        again = F.relu(_norm_planes(y[:twice], None)).view(twice, channels, n, pixels)
        again = _depthwise_pointwise(again, [convs[2:] for convs in layers[:twice]], [1] * twice)
        y = torch.cat([again, y[twice:]])
    scale = torch.stack([weights[name] for name in ops]).repeat_interleave(channels)
    return _norm_planes(y, scale).view(len(ops), channels, n, pixels).sum(0)


def _depthwise_pointwise(x: Tensor, layers: list[list[nn.Conv2d]], dilations: list[int]) -> Tensor:
    """Run K pairs of convolutions on planes [C, N, P] or [K, C, N, P]; return [K, C, N * P]."""
    channels, n, pixels = x.shape[-3:]
    depthwise = torch.stack([_matrix(pair[0].weight, d, pixels) for pair, d in zip(layers, dilations, strict=True)])
    pointwise = torch.stack([pair[1].weight.view(channels, channels) for pair in layers])
    return pointwise @ torch.matmul(x, depthwise).view(len(layers), channels, n * pixels)


def _matrix(weight: Tensor, dilation: int, pixels: int) -> Tensor:
    """Return a depthwise kernel [C, 1, k, k] as matrices [C, P, P] from input to output pixels."""
    kernel = weight.shape[-1]
    taps = _taps(kernel, dilation, math.isqrt(pixels), weight.dtype, weight.device)
    return (weight.view(-1, kernel * kernel) @ taps).view(-1, pixels, pixels)


@cache
def _taps(kernel: int, dilation: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return which tap leads from each input pixel to each output pixel, [k * k, P * P] of zeros and ones."""
    taps = torch.zeros(kernel, kernel, size, size, size, size)
    for row in range(kernel):
        for column in range(kernel):
            down, right = (row - kernel // 2) * dilation, (column - kernel // 2) * dilation
            for i in range(max(0, -down), min(size, size - down)):
                for j in range(max(0, -right), min(size, size - right)):
                    taps[row, column, i + down, j + right, i, j] = 1
    return taps.view(kernel * kernel, -1).to(device, dtype)


def _norm_planes(x: Tensor, scale: Tensor | None) -> Tensor:
    """Normalise every channel of [K, C, N * P] by batch statistics."""
    flat = x.reshape(1, -1, x.shape[-1])
    return F.batch_norm(flat, None, None, scale, None, training=True).view_as(x)


MixedOp = Mapping[str, nn.Module]

_DENSE = ("conv_1x1", "conv_3x3")  # one kernel together
_GROUPED = ("sep", "dil")  # what the separable and the dilated operations begin with

# Stride -> (size, padding) of a kernel that holds all four up-sample operations.
_FRAME = {2: (6, 2), 4: (6, 1)}


class Source:
    """What the connections that leave one map share, each computed once, when first asked for."""

    def __init__(self, x: Tensor) -> None:
        self.x = x  # [N, C, H, W]

    @cached_property
    def activated(self) -> Tensor:
        """relu(bn(x)), what convolutions and up-sample operations read."""
        return F.relu(_norm(self.x))

    @cached_property
    def rectified(self) -> Tensor:
        """relu(x), what separable convolutions read."""
        return F.relu(self.x)

    @cached_property
    def phases(self) -> Tensor:
        """relu(x) by parity, what dilated convolutions read."""
        return to_phases(self.rectified)

    @cached_property
    def max_pool(self) -> Tensor:
        """The largest of every 3x3."""
        return F.max_pool2d(self.x, 3, 1, 1)

    @cached_property
    def avg_pool(self) -> Tensor:
        """The mean of every 3x3, borders left out."""
        return F.avg_pool2d(self.x, 3, 1, 1, count_include_pad=False)


def plain(ops: MixedOp, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return the weighted sum of the operations on ``x``, one by one."""
    total: Tensor | None = None
    for name, op in ops.items():
        term = weights[name] * op(x)
        total = term if total is None else total + term
    assert total is not None, "a connection has at least one operation"
    return total


def merged_normal(ops: MixedOp, weights: Mapping[str, Tensor], source: Source) -> Tensor:
    """Return the same sum for a connection that keeps the size."""
    terms: list[Tensor] = []
    if (kernel := normal_kernel(ops, weights)) is not None:
        terms.append(F.conv2d(source.activated, kernel, padding=kernel.shape[-1] // 2))
    for name in ops:
        if name == "skip_connect":
            terms.append(weights[name] * source.x)
        elif name.endswith("pool_3x3"):
            pooled = source.max_pool if name.startswith("max") else source.avg_pool
            terms.append(_norm(pooled, weights[name]))
        elif name not in _DENSE and not name.startswith(_GROUPED):  # shares nothing that is known here
            terms.append(weights[name] * ops[name](source.x))
    terms += _separable_terms(ops, weights, source)
    return add_up(terms)


def merged_upsample(entering: Iterable[tuple[MixedOp, Mapping[str, Tensor], Source]], stride: int) -> Tensor:
    """Return the sum of several up-sample MixedOps of one stride into one map: a single transposed convolution."""
    mixed = list(entering)
    kernel = torch.cat([upsample_kernel(ops, weights, stride) for ops, weights, _ in mixed])
    x = torch.cat([source.activated for _, _, source in mixed], dim=1) if len(mixed) > 1 else mixed[0][2].activated
    return F.conv_transpose2d(x, kernel, stride=stride, padding=_FRAME[stride][1])


def upsample_kernel(ops: MixedOp, weights: Mapping[str, Tensor], stride: int) -> Tensor:
    """Return the weighted sum of the up-sample operations as one transposed kernel [in, out, 6, 6]."""
    cores = []
    for op in ops.values():
        core = list(op.children())[-1]
        assert isinstance(core, UpConv | nn.ConvTranspose2d), "an up-sample operation ends in one of two kinds"
        cores.append(core.weight.transpose(0, 1) if isinstance(core, UpConv) else core.weight)
    return _one_kernel(
        cores, [weights[name] for name in ops], _upsample_frame(tuple(ops), stride, cores[0].dtype, cores[0].device)
    )


def normal_kernel(ops: MixedOp, weights: Mapping[str, Tensor]) -> Tensor | None:
    """Return the weighted sum of conv_1x1 and conv_3x3 as one kernel [out, in, k, k], or None without them."""
    names = tuple(name for name in _DENSE if name in ops)
    cores = []
    for name in names:
        core = list(ops[name].children())[-1]
        assert isinstance(core, nn.Conv2d), "a plain convolution ends in one"
        cores.append(core.weight)
    if not cores:
        return None
    return _one_kernel(cores, [weights[name] for name in names], _normal_frame(names, cores[0].dtype, cores[0].device))


def _one_kernel(cores: list[Tensor], weights: list[Tensor], frame: Tensor) -> Tensor:
    """Return the weighted sum of kernels of several sizes in one frame.

    All at once, since a dozen small calls for every connection were a tenth of a step (docs/performance.md).

    Args:
        cores: Kernels [A, B, k, k].
        frame: Where each tap of each kernel goes, [kernels, taps of all, S * S].

    Returns:
        Kernel [A, B, S, S].
    """
    count, taps, pixels = frame.shape
    placed = (torch.stack(weights) @ frame.view(count, -1)).view(taps, pixels)
    side = math.isqrt(pixels)
    kernel = torch.cat([core.flatten(2) for core in cores], dim=2) @ placed
    return kernel.view(*kernel.shape[:2], side, side)


@cache
def _upsample_frame(names: tuple[str, ...], stride: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the frame of :func:`_one_kernel` for up-sample operations: what each makes of one tap at a time."""
    size, padding = _FRAME[stride]
    made = []
    for name in names:
        kernel = int(name[-1])
        one_tap = torch.eye(kernel**2).view(-1, 1, kernel, kernel)
        if name.startswith("up_conv"):
            one_tap, own_padding = transposed_kernel(one_tap, stride).transpose(0, 1), (kernel - 1) // 2
        else:
            own_padding = DECONV_PADDING[kernel, stride]
        before = padding - own_padding
        after = size - one_tap.shape[-1] - before
        made.append(F.pad(one_tap, (before, after, before, after)).flatten(1))
    return _one_row_each(made).to(device, dtype)


@cache
def _normal_frame(names: tuple[str, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the frame of :func:`_one_kernel` for conv_1x1 and conv_3x3, centres on each other."""
    sizes = [int(name[-1]) for name in names]
    made = []
    for kernel in sizes:
        edge = (max(sizes) - kernel) // 2
        made.append(F.pad(torch.eye(kernel**2).view(-1, kernel, kernel), (edge, edge, edge, edge)).flatten(1))
    return _one_row_each(made).to(device, dtype)


def _one_row_each(blocks: list[Tensor]) -> Tensor:
    """Return blocks [t_i, P] as [i, sum of t, P], every block in its own row and at its own place, zeros elsewhere."""
    taps: Tensor = torch.block_diag(*[torch.ones(1, len(block)) for block in blocks])
    return taps[:, :, None] * torch.cat(blocks)


def to_phases(x: Tensor) -> Tensor:
    """Return the four parities of ``x`` [N, C, H, W], H and W even, as more images [4N, C, H/2, W/2]."""
    n, c, h, w = x.shape
    split = x.view(n, c, h // 2, 2, w // 2, 2).permute(3, 5, 0, 2, 4, 1)  # [2, 2, N, H/2, W/2, C]
    return split.reshape(4 * n, h // 2, w // 2, c).permute(0, 3, 1, 2)


def from_phases(x: Tensor) -> Tensor:
    """Undo :func:`to_phases`."""
    n, c, h, w = x.shape[0] // 4, *x.shape[1:]
    split = x.permute(0, 2, 3, 1).reshape(2, 2, n, h, w, c).permute(2, 3, 0, 4, 1, 5)  # [N, H, 2, W, 2, C]
    return split.reshape(n, 2 * h, 2 * w, c).permute(0, 3, 1, 2)


def _separable_terms(ops: MixedOp, weights: Mapping[str, Tensor], source: Source) -> list[Tensor]:
    """Return the terms of the separable and the dilated operations, each group the way its map's size asks for."""
    size = source.x.shape[-1]
    sep = {name: op for name, op in ops.items() if name.startswith("sep")}
    dil = {name: op for name, op in ops.items() if name.startswith("dil")}
    if size <= SMALL:
        both = {**sep, **dil}
        return [from_planes(separable(both, weights, to_planes(source.rectified)), size)] if both else []
    # Their own first ReLU is the source's, their last normalisation carries the weight.
    whole = {**sep, **dil} if size % 2 else sep  # odd maps have no equal phases
    terms = [_norm(_run(list(op.children())[1:-1], source.rectified), weights[name]) for name, op in whole.items()]
    if size % 2 or not dil:
        return terms
    if size // 2 <= SMALL:
        made = from_planes(separable(dil, weights, to_planes(source.phases), dilation=1), size // 2)
        return [*terms, from_phases(made)]
    parts = []
    for name, op in dil.items():
        _, depthwise, pointwise, _ = op.children()
        assert isinstance(depthwise, nn.Conv2d), "a dilated operation is ReLU, depthwise, pointwise, norm"
        x = F.conv2d(source.phases, depthwise.weight, padding=depthwise.kernel_size[0] // 2, groups=depthwise.groups)
        parts.append(_norm(pointwise(x), weights[name]))
    return [*terms, from_phases(add_up(parts))]


def _run(modules: Iterable[nn.Module], x: Tensor) -> Tensor:
    for module in modules:
        x = module(x)
    return x


def _norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Normalise by batch statistics and scale by one number: the backward pass yields its gradient at no cost."""
    scale = None if weight is None else weight.expand(x.shape[1]).contiguous()
    return F.batch_norm(x, None, None, scale, None, training=True)


def add_up(terms: list[Tensor]) -> Tensor:
    """Return the sum of ``terms``, written into the first of them that owns its memory: they are not used again."""
    total, *others = sorted(terms, key=Tensor._is_view)
    if total._is_view():
        total = total + others.pop() if others else total
    for term in others:
        total.add_(term)
    return total


def op_weights(alphas: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
    """Return softmax(alpha) by operation, ``none`` left out: it adds nothing."""
    weights = torch.softmax(alphas, dim=0).unbind()
    return {name: weight for name, weight in zip(names, weights, strict=True) if name != NONE}
