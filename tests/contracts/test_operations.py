"""What every operation must do; a new one is held to it by being in NORMAL_OPS or UPSAMPLE_OPS."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from degas_ray.space import NORMAL_OPS, UPSAMPLE_OPS, Genotype
from degas_ray.space.operations import build_operation, operation_macs

CASES = [(name, 1) for name in NORMAL_OPS] + [(name, stride) for name in UPSAMPLE_OPS for stride in (2, 4)]
every = pytest.mark.parametrize(("name", "stride"), CASES, ids=[f"{name}-{stride}" for name, stride in CASES])
CHANNELS = 6


def operation(name: str, stride: int) -> nn.Module:
    torch.manual_seed(0)
    return build_operation(name, CHANNELS, stride, nn.BatchNorm2d).double()


@every
@pytest.mark.parametrize("size", [2, 5, 8])
def test_a_map_is_enlarged_by_exactly_the_stride(name: str, stride: int, size: int) -> None:
    images = torch.randn(3, CHANNELS, size, size, dtype=torch.float64)
    assert operation(name, stride)(images).shape == (3, CHANNELS, stride * size, stride * size)


@every
def test_gradients_reach_the_input_and_every_weight(name: str, stride: int) -> None:
    module = operation(name, stride)
    images = torch.randn(4, CHANNELS, 4, 4, dtype=torch.float64, requires_grad=True)
    (module(images) * torch.randn(4, CHANNELS, 4 * stride, 4 * stride, dtype=torch.float64)).sum().backward()
    for tensor in (images, *module.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().sum() > 0


@every
def test_multiply_adds_are_those_of_the_convolutions(name: str, stride: int) -> None:
    """Counted by torch; published code runs an up-convolution at the large size, ours as one transposed convolution."""
    counter = FlopCounterMode(display=False)
    size = 4
    if name.startswith("up_conv"):
        kernel = int(name[-1])
        module: nn.Module = nn.Sequential(
            nn.Upsample(scale_factor=stride), nn.Conv2d(CHANNELS, CHANNELS, kernel, padding=kernel // 2, bias=False)
        )
    else:
        module = operation(name, stride).float()
    with torch.no_grad(), counter:
        module.eval()(torch.randn(1, CHANNELS, size, size))
    assert operation_macs(name, CHANNELS, stride, size) * 2 == counter.get_total_flops()


@pytest.mark.parametrize("name", NORMAL_OPS)
def test_a_normal_operation_can_be_written_and_read(name: str) -> None:
    text = "; ".join(f"N{s}a={name}(U{s - 1}); U{s}=deconv_4x4(N{s}a)" for s in (1, 2, 3))
    assert str(Genotype.parse(text)) == text


@pytest.mark.parametrize("name", UPSAMPLE_OPS)
def test_an_upsample_operation_can_be_written_and_read(name: str) -> None:
    text = "; ".join(f"N{s}a=conv_3x3(U{s - 1}); U{s}={name}(N{s}a)" for s in (1, 2, 3))
    assert str(Genotype.parse(text)) == text
