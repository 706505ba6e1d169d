"""A critic's scores and their gradient with respect to the images; a loss of both is differentiated once.

A gradient penalty is a loss of the slope ``g = dD/dx``; differentiating it by the weights is usually a second
differentiation of the whole graph. A critic of ReLU, convolutions and means is piecewise linear, so here it is four
explicit passes, each a chain of convolutions:

* the *forward* pass records the input ``x_l`` of each layer and which units are on;
* the *adjoint* pass carries a gradient of 1 at each image's score back to the images: it gives the slope, and on its
  way ``a_l``, the gradient at the output of each layer;
* in the backward pass of the loss, the *tangent* pass carries the gradient of the loss by the slope forward through
  the same linear map and gives ``t_l`` at the input of each layer;
* the *weight* pass: the gradient by the kernel of layer ``l`` is the correlation of ``c x_l + t_l`` with ``a_l``,
  where ``c`` is the gradient of the loss by each image's score. That one correlation serves scores and penalty at once.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degas_ray.gan.critic import Block, Critic, Forward, Output, blur_adjoint, pool_adjoint

Layer = nn.Conv2d | nn.Linear
Weights = dict[nn.Module, tuple[Tensor, Tensor]]  # kernel and bias as the pass uses them


def scores_and_slopes(critic: Critic, images: Tensor, noise: torch.Generator | None) -> tuple[Output, Tensor]:
    """Judge images and return the gradient of each score with respect to its image.

    All that is returned can be differentiated by the critic's weights, once; not by the images.

    Args:
        images: [N, 3, R, R].
        noise: Draws the dropout masks; ``None`` turns dropout off.

    Returns:
        What the critic says, and the slopes [N, 3, R, R].
    """
    layers = _layers(critic)
    values = [value for layer in layers for value in (layer.weight, layer.bias)]
    enabled = torch.is_autocast_enabled(images.device.type)
    dtype = torch.get_autocast_dtype(images.device.type) if enabled else images.dtype
    score, features, logits, slopes = _Slopes.apply(critic, images, noise, dtype, *values)
    return Output(score, features, logits), slopes


def _layers(critic: Critic) -> list[Layer]:
    return [module for module in critic.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


class _Recorded(Forward):
    """A forward pass that keeps the input of each layer, the units that are on, and the dropout masks."""

    def __init__(self, noise: torch.Generator | None, weights: Weights) -> None:
        super().__init__(noise)
        self.weights = weights
        self.inputs: dict[nn.Module, Tensor] = {}
        self.geometry: dict[nn.Module, tuple[int, int]] = {}
        self.activations: list[Tensor] = []
        self.masks: list[Tensor] = []

    def relu(self, x: Tensor) -> Tensor:
        self.activations.append(F.relu(x))
        return self.activations[-1]

    def conv(self, x: Tensor, layer: nn.Conv2d, stride: int = 1, padding: int = 0) -> Tensor:
        self.inputs[layer], self.geometry[layer] = x, (stride, padding)
        return F.conv2d(x, *self.weights[layer], stride, padding)

    def linear(self, x: Tensor, layer: nn.Linear) -> Tensor:
        self.inputs[layer] = x
        return F.linear(x, *self.weights[layer])

    def mask(self, x: Tensor, rate: float) -> Tensor:
        self.masks.append(super().mask(x, rate))
        return self.masks[-1]


class _Tangent(Forward):
    """The linear map that a recorded pass is: no biases, and each unit passes or blocks as it did there."""

    def __init__(self, record: _Recorded) -> None:
        super().__init__(record.noise)
        self.inputs: dict[nn.Module, Tensor] = {}
        self._weights = record.weights
        self._activations, self._masks = iter(record.activations), iter(record.masks)

    def relu(self, x: Tensor) -> Tensor:
        return _where_on(x, next(self._activations))

    def conv(self, x: Tensor, layer: nn.Conv2d, stride: int = 1, padding: int = 0) -> Tensor:
        self.inputs[layer] = x
        return F.conv2d(x, self._weights[layer][0], None, stride, padding)

    def linear(self, x: Tensor, layer: nn.Linear) -> Tensor:
        self.inputs[layer] = x
        return F.linear(x, self._weights[layer][0])

    def mask(self, x: Tensor, rate: float) -> Tensor:
        return next(self._masks)


class _Adjoint:
    """The recorded pass backwards: gradients at the outputs of the layers, from a gradient at the pooled features."""

    def __init__(self, critic: Critic, record: _Recorded) -> None:
        self.outputs: dict[nn.Module, Tensor] = {}
        self._critic, self._record = critic, record
        self._activations, self._masks = reversed(record.activations), reversed(record.masks)

    def run(self, features: Tensor) -> Tensor:
        """Return the gradient by the images, given that by the features [N, width]."""
        critic, last = self._critic, next(self._activations)
        share = features / (last.shape[2] * last.shape[3]) if critic.pool == "mean" else features
        a = last.gt(0).to(last.dtype) * share.to(last.dtype)[:, :, None, None]
        for block, rate in zip(reversed(critic.blocks), reversed(critic.rates[1:]), strict=True):
            a = self._block(block, self._dropout(a, rate))  # type: ignore[arg-type]
        a = self._dropout(a, critic.rates[0])
        return self._block(critic.first, self._block(critic.second, a))

    def _block(self, block: Block, a: Tensor) -> Tensor:
        y = self._conv(a, block.conv2)
        y = _where_on(y if block.shortcut is None else blur_adjoint(y), next(self._activations))
        y = self._conv(y, block.conv1)
        y = y if block.first else _where_on(y, next(self._activations))
        return y + (a if block.shortcut is None else pool_adjoint(self._conv(a, block.shortcut)))

    def _conv(self, a: Tensor, layer: nn.Conv2d) -> Tensor:
        self.outputs[layer] = a
        record = self._record
        x, _ = _conv_backward(a, record.inputs[layer], record.weights[layer][0], *record.geometry[layer], by_input=True)
        return x

    def _dropout(self, a: Tensor, rate: float) -> Tensor:
        return a if self._record.noise is None or not rate else a * next(self._masks)


class _Slopes(torch.autograd.Function):
    """Scores, features, logits and slopes; the derivative is written out (see the module)."""

    @staticmethod
    def forward(
        ctx: Any, critic: Critic, images: Tensor, noise: torch.Generator | None, dtype: torch.dtype, *values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        layers = _layers(critic)
        weights: Weights = {
            layer: (values[2 * i].to(dtype), values[2 * i + 1].to(dtype))
            if isinstance(layer, nn.Conv2d)
            else (values[2 * i], values[2 * i + 1])
            for i, layer in enumerate(layers)
        }
        with torch.autocast(images.device.type, enabled=False):
            record = _Recorded(noise, weights)
            output = critic(images.to(dtype), record)
            adjoint = _Adjoint(critic, record)
            slopes = adjoint.run(weights[critic.score][0].expand(len(images), -1))
        ctx.set_materialize_grads(False)
        ctx.critic, ctx.record, ctx.adjoint, ctx.layers = critic, record, adjoint, layers
        return output.score, output.features, output.logits, slopes.to(images.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        score, features, logits, slopes = gradients
        critic, record, device = ctx.critic, ctx.record, ctx.record.activations[0].device.type
        with torch.autocast(device, enabled=False):
            tangent: dict[nn.Module, Tensor] = {}
            if slopes is not None:
                run = _Tangent(record)
                critic(slopes.to(record.activations[0].dtype), run)
                tangent = run.inputs
            if features is None and logits is None:
                found = _from_scores(ctx, score, tangent)
            else:
                found = _from_features(ctx, score, features, logits, tangent)
            found[critic.score] = _linear(record, tangent, critic.score, None if score is None else score[:, None])
            if critic.classifier is not None:
                found[critic.classifier] = _linear(record, {}, critic.classifier, logits)
        own = [value for layer in ctx.layers for value in found[layer]]
        return (None, None, None, None, *own)


Found = dict[nn.Module, tuple[Tensor | None, Tensor | None]]  # gradients of kernel and bias


def _from_scores(ctx: Any, score: Tensor | None, tangent: dict[nn.Module, Tensor]) -> Found:
    """Return the kernels' gradients where the loss depends on scores and slopes alone: one correlation a layer."""
    record, found = ctx.record, {}
    for layer, a in ctx.adjoint.outputs.items():
        x, bias = tangent.get(layer), None
        if score is not None:
            weighted = score.to(a.dtype)[:, None, None, None]
            own = record.inputs[layer]
            x = own * weighted if x is None else torch.addcmul(x, own, weighted)
            bias = score @ a.sum((2, 3), dtype=score.dtype)
        found[layer] = (None if x is None else _by_kernel(record, layer, x, a), bias)
    return found


def _from_features(
    ctx: Any, score: Tensor | None, features: Tensor | None, logits: Tensor | None, tangent: dict[nn.Module, Tensor]
) -> Found:
    """Return the kernels' gradients where features or logits count too: they need an adjoint pass of their own."""
    critic, record = ctx.critic, ctx.record
    parts = [] if features is None else [features]
    if score is not None:
        parts.append(score[:, None] * record.weights[critic.score][0])
    if logits is not None:
        parts.append(logits @ record.weights[critic.classifier][0])
    adjoint = _Adjoint(critic, record)
    adjoint.run(torch.stack(parts).sum(0))
    found: Found = {}
    for layer, b in adjoint.outputs.items():
        kernel = _by_kernel(record, layer, record.inputs[layer], b)
        if layer in tangent:
            kernel = kernel + _by_kernel(record, layer, tangent[layer], ctx.adjoint.outputs[layer])
        found[layer] = (kernel, b.sum((0, 2, 3), dtype=kernel.dtype))
    return found


def _linear(
    record: _Recorded, tangent: dict[nn.Module, Tensor], layer: nn.Linear, output: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of a layer behind the features, given that of its output [N, K]."""
    kernel = None if output is None else output.T @ record.inputs[layer]
    if layer in tangent:
        slope = tangent[layer].sum(0, keepdim=True)
        kernel = slope if kernel is None else kernel + slope
    return kernel, None if output is None else output.sum(0)


def _by_kernel(record: _Recorded, layer: nn.Module, x: Tensor, a: Tensor) -> Tensor:
    _, kernel = _conv_backward(a, x, record.weights[layer][0], *record.geometry[layer], by_input=False)
    return kernel.to(layer.weight.dtype)  # type: ignore[arg-type]


def _conv_backward(
    a: Tensor, x: Tensor, kernel: Tensor, stride: int, padding: int, *, by_input: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradients of a convolution by its input or by its kernel, given that of its output."""
    sizes: tuple[Any, ...] = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, [by_input, not by_input, False])
    by_x, by_kernel, _ = torch.ops.aten.convolution_backward(a, x, kernel, None, *sizes)
    return by_x, by_kernel


def _where_on(x: Tensor, activation: Tensor) -> Tensor:
    """Return ``x`` where the unit was on, else 0."""
    on: Tensor = torch.ops.aten.threshold_backward(x, activation, 0)
    return on
