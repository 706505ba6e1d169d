"""Merged MixedOps against the plain sum of operations, in value and in every gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from degas_ray.search import Supernet, accelerate
from degas_ray.search.mixed import (
    Source,
    from_phases,
    merged_normal,
    merged_upsample,
    op_weights,
    plain,
    to_phases,
)
from degas_ray.space import NORMAL_OPS, UPSAMPLE_OPS, Space
from degas_ray.space.operations import build_operation, search_norm

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def compare(merged, reference, variables):
    """Assert equal values and gradients of a weighted sum of the outputs."""
    torch.testing.assert_close(merged, reference, **EXACT)
    seed = torch.randn(reference.shape, generator=torch.Generator().manual_seed(9), dtype=torch.double)
    for one, other in zip(
        torch.autograd.grad((merged * seed).sum(), variables, allow_unused=True, retain_graph=True),
        torch.autograd.grad((reference * seed).sum(), variables, allow_unused=True, retain_graph=True),
        strict=True,
    ):
        if one is None or other is None:  # a weight that a normalisation hides has no gradient in one form
            assert other is None or other.abs().max() < 1e-10
        else:
            torch.testing.assert_close(one, other, **EXACT)


def mixed(names, stride, seed=0):
    torch.manual_seed(seed)
    ops = {name: build_operation(name, 3, stride, search_norm).double() for name in names}
    alphas = torch.randn(len(names), dtype=torch.double, requires_grad=True)
    return ops, alphas


@pytest.mark.parametrize("size", [1, 2, 5, 6, 8])
@pytest.mark.parametrize("names", [*[(name,) for name in NORMAL_OPS], NORMAL_OPS, ("conv_1x1", "dil_conv_5x5")])
def test_normal_operations(names, size):
    ops, alphas = mixed(names, 1)
    x = torch.randn(5, 3, size, size, dtype=torch.double, requires_grad=True)
    weights = op_weights(alphas, names)
    parameters = [p for op in ops.values() for p in op.parameters()]
    compare(merged_normal(ops, weights, Source(x)), plain(ops, weights, x), [x, alphas, *parameters])


def test_a_normal_operation_that_is_not_known_runs_by_itself():
    ops, alphas = mixed(("conv_3x3", "skip_connect", "avg_pool_3x3"), 1)
    ops["tanh"] = nn.Tanh()
    del ops["avg_pool_3x3"]  # its place in the alphas is the new one's
    x = torch.randn(5, 3, 6, 6, dtype=torch.double, requires_grad=True)
    weights = op_weights(alphas, tuple(ops))
    parameters = [p for op in ops.values() for p in op.parameters()]
    compare(merged_normal(ops, weights, Source(x)), plain(ops, weights, x), [x, alphas, *parameters])


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("names", [*[(name,) for name in UPSAMPLE_OPS], UPSAMPLE_OPS])
def test_upsample_operations(names, stride):
    ops, alphas = mixed(names, stride)
    x = torch.randn(4, 3, 3, 3, dtype=torch.double, requires_grad=True)
    weights = op_weights(alphas, names)
    parameters = [p for op in ops.values() for p in op.parameters()]
    compare(merged_upsample([(ops, weights, Source(x))], stride), plain(ops, weights, x), [x, alphas, *parameters])


def test_several_inputs_of_one_map_in_one_call():
    (a, alphas), (b, betas) = mixed(UPSAMPLE_OPS, 2, 1), mixed(UPSAMPLE_OPS, 2, 2)
    x, y = (torch.randn(4, 3, 3, 3, dtype=torch.double, requires_grad=True) for _ in range(2))
    left, right = op_weights(alphas, UPSAMPLE_OPS), op_weights(betas, UPSAMPLE_OPS)
    merged = merged_upsample([(a, left, Source(x)), (b, right, Source(y))], 2)
    compare(merged, plain(a, left, x) + plain(b, right, y), [x, y, alphas, betas])


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("resolution", [8, 16, 24])
def test_whole_supernets(n, resolution):
    torch.manual_seed(3)
    reference = Supernet(n=n, width=3, latent_dim=5, resolution=resolution, mixed="plain").double()
    merged = Supernet(n=n, width=3, latent_dim=5, resolution=resolution, mixed="merged").double()
    merged.load_state_dict(reference.state_dict())  # names are the same
    with torch.no_grad():
        for alpha in reference.alphas.values():
            alpha.normal_()
    merged.load_state_dict(reference.state_dict())
    z = torch.randn(6, 5, dtype=torch.double)
    ours, theirs = accelerate(merged)(z), reference(z)
    torch.testing.assert_close(ours, theirs, **EXACT)
    seed = torch.randn(theirs.shape, dtype=torch.double)
    (ours * seed).sum().backward()
    (theirs * seed).sum().backward()
    for (name, one), (_, other) in zip(merged.named_parameters(), reference.named_parameters(), strict=True):
        scale = max(1.0, float(other.grad.abs().max()))  # sums over thousands of pixels
        torch.testing.assert_close(one.grad / scale, other.grad / scale, **EXACT, msg=name)


def test_chosen_operations_only():
    space = Space(1, ("skip_connect", "dil_conv_3x3", "max_pool_3x3"), ("up_conv_1x1",))
    torch.manual_seed(0)
    reference = Supernet(width=2, latent_dim=3, resolution=16, mixed="plain", space=space).double()
    merged = Supernet(width=2, latent_dim=3, resolution=16, space=space).double()
    merged.load_state_dict(reference.state_dict())
    z = torch.randn(4, 3, dtype=torch.double)
    torch.testing.assert_close(merged(z), reference(z), **EXACT)


def test_phases_undo_each_other_and_hold_a_dilated_convolution():
    x = torch.randn(2, 3, 6, 4, dtype=torch.double)
    torch.testing.assert_close(from_phases(to_phases(x)), x)
    kernel = torch.randn(3, 1, 5, 5, dtype=torch.double)
    by_phase = from_phases(F.conv2d(to_phases(x), kernel, padding=2, groups=3))
    torch.testing.assert_close(by_phase, F.conv2d(x, kernel, padding=4, dilation=2, groups=3), **EXACT)


def test_weights_and_alphas_are_named_apart():
    supernet = Supernet(width=2, latent_dim=3, resolution=8)
    names = dict(supernet.named_parameters())
    alphas = {name for name in names if name.startswith("alphas.")}
    assert len(alphas) == 11
    assert sum(names[name].numel() for name in alphas) == 3 * 9 + 3 * 4 + 5 * 5
    assert {id(p) for p in supernet.weights()} == {id(p) for n, p in names.items() if n not in alphas}
