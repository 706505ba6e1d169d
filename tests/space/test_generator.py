"""Generators: the paper's sizes, gradients everywhere, and operations against independent calculations."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from degas_ray.errors import InputError
from degas_ray.space import PUBLISHED, Generator, Genotype, Space, count_macs, count_parameters
from degas_ray.space.operations import (
    NORMAL_OPS,
    UPSAMPLE_OPS,
    ConditionalBatchNorm2d,
    build_operation,
    operation_macs,
    search_norm,
)


@pytest.mark.parametrize(
    ("name", "resolution", "millions"),
    [("degas-cifar10", 32, 1.65), ("degas-stl10", 32, 1.17), ("degas-stl10", 48, 1.51)],
)
def test_published_generators_have_the_papers_sizes(name, resolution, millions):
    generator = Generator(PUBLISHED[name], width=128, latent_dim=128, resolution=resolution)
    assert count_parameters(generator) == pytest.approx(millions * 1e6, rel=0.01)


def test_convolution_weights_of_the_cifar10_net_by_hand():
    linear = 128 * 16 * 128
    stage1 = 2 * (128 * 25 + 128 * 128) + 128 * 128 + 9 * 128 * 128
    stage2 = 2 * (128 * 9 + 128 * 128) + 16 * 128 * 128 + 9 * 128 * 128
    stage3 = 9 * 128 * 128 + 36 * 128 * 128
    by_hand = linear + stage1 + stage2 + stage3 + 9 * 128 * 3
    generator = Generator(PUBLISHED["degas-cifar10"])
    weights = sum(
        m.weight.numel() for m in generator.modules() if hasattr(m, "weight") and not isinstance(m, nn.BatchNorm2d)
    )
    assert weights == by_hand == 1_650_560


@pytest.mark.parametrize("resolution", [8, 16, 24, 48])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_any_genotype_at_any_resolution(n, resolution):
    torch.manual_seed(0)
    generator = Generator(Space(n).random(n), width=3, latent_dim=5, resolution=resolution)
    images = generator(torch.randn(2, 5))
    assert images.shape == (2, 3, resolution, resolution)
    assert images.abs().max() < 1
    images.square().sum().backward()
    assert all(p.grad is not None for p in generator.parameters())


def test_a_conditional_generator_normalises_by_class_everywhere():
    torch.manual_seed(0)
    generator = Generator(PUBLISHED["degas-cifar10"], width=4, latent_dim=6, resolution=16, num_classes=3)
    norms = [m for m in generator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(norm, ConditionalBatchNorm2d) for norm in norms)
    z = torch.randn(8, 6)
    with torch.no_grad():
        norms[-1].shift[2] += 1.0
    same = generator(z, torch.zeros(8, dtype=torch.long)) - generator(z, torch.full((8,), 2))
    assert same.abs().max() > 0.01


def test_conditional_norm_equals_plain_norm_with_the_classes_row():
    torch.manual_seed(0)
    conditional, x = ConditionalBatchNorm2d(4, 3), torch.randn(6, 4, 5, 5)
    with torch.no_grad():
        conditional.scale.normal_()
        conditional.shift.normal_()
    labels = torch.full((6,), 1)
    expected = F.batch_norm(x, None, None, conditional.scale[1], conditional.shift[1], training=True)
    torch.testing.assert_close(conditional(x, labels), expected)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [2, 4])
def test_up_conv_is_nearest_then_convolution(kernel, stride):
    torch.manual_seed(0)
    step = build_operation(f"up_conv_{kernel}x{kernel}", 3, stride, lambda _c: nn.Identity()).double()
    x = torch.rand(2, 3, 4, 4, dtype=torch.double)  # positive: the ReLU before it is the identity
    expected = F.conv2d(F.interpolate(x, scale_factor=stride), step[-1].weight, padding=kernel // 2)
    torch.testing.assert_close(step(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NORMAL_OPS)
def test_normal_operations_keep_shape(name):
    op = build_operation(name, 4, 1, search_norm)
    assert op(torch.randn(2, 4, 6, 6)).shape == (2, 4, 6, 6)


@pytest.mark.parametrize("name", UPSAMPLE_OPS)
@pytest.mark.parametrize("stride", [2, 4])
def test_upsample_operations_enlarge(name, stride):
    op = build_operation(name, 4, stride, search_norm)
    assert op(torch.randn(2, 4, 3, 3)).shape == (2, 4, 3 * stride, 3 * stride)


@pytest.mark.parametrize("name", [*NORMAL_OPS, *UPSAMPLE_OPS])
def test_multiply_adds_follow_from_the_modules(name):
    # Counted independently: weights of each convolution times the pixels it is applied at.
    width, size, stride = 4, 6, 2 if name in UPSAMPLE_OPS else 1
    op = build_operation(name, width, stride, search_norm)
    pixels = size * size * (stride**2 if name.startswith("up_conv") else 1)
    weights = sum(p.numel() for p in op.parameters())
    assert operation_macs(name, width, stride, size) == weights * pixels


def test_multiply_adds_of_a_whole_generator_by_hand():
    text = "N1a=conv_1x1(U0); U1=deconv_4x4(N1a); N2a=skip_connect(U1); U2=up_conv_1x1(U0)+deconv_4x4(N2a); "
    genotype = Genotype.parse(text + "N3a=skip_connect(U2); U3=deconv_4x4(N3a)")
    w, base = 2, 4
    expected = (
        10 * w * base**2  # linear
        + base**2 * w * w  # N1a
        + base**2 * w * w * 16  # U1
        + (4 * base) ** 2 * w * w  # U2, from U0 by four
        + (2 * base) ** 2 * w * w * 16  # U2, from N2a
        + (4 * base) ** 2 * w * w * 16  # U3
        + (8 * base) ** 2 * w * 3 * 9  # tail
    )
    assert count_macs(genotype, width=w, latent_dim=10, resolution=32) == expected


def test_bad_sizes_are_named_together():
    with pytest.raises(InputError, match=r"resolution: got 30.*such as 32\nwidth: got 0") as caught:
        Generator(PUBLISHED["degas-stl10"], width=0, latent_dim=4, resolution=30)
    assert "expected 1 or more" in str(caught.value)
