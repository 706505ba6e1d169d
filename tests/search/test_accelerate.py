"""How the supernet is run: what is chosen, and that it changes nothing else."""

import torch

from degas_ray.search import Supernet, accelerate


def test_a_cpu_is_never_compiled_for_unasked():
    supernet = Supernet(width=4, latent_dim=5, resolution=16)
    assert accelerate(supernet, steps=10**9) is supernet


def test_reduced_precision_is_close():
    torch.manual_seed(0)
    supernet = Supernet(width=4, latent_dim=5, resolution=16)
    z = torch.randn(8, 5)
    reduced = accelerate(supernet, precision="bf16")(z)
    assert reduced.dtype == torch.float32
    assert (reduced - supernet(z)).abs().mean() < 0.05
