"""One search step (both half-steps): ours, operation by operation, and the densest single-path generator.

Run ``python -m benchmarks.search_step``. All make the same two half-steps on the same data: forward, loss, gradients of
weights and latents; forward, loss, gradients of alphas and latents.

* ``darts``: as DARTS's code does it: every operation by itself, up-sampling before its convolution, and a backward
  pass to all parameters in both half-steps.
* ``plain``: ``search.mixed=plain``, which up-samples within the convolution and takes only the gradients it needs.
* ``single_path``: the densest generator. It has no alphas, so its second half-step takes the gradients of its weights:
  it is the floor to come close to.

All run with memory kept between steps, as searches do; ``--fresh-memory`` leaves the C library as it is.
"""

from collections.abc import Callable

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.timing import alternate, report
from degas_ray.loop import keep_memory
from degas_ray.search import Supernet, accelerate
from degas_ray.search.glo import reconstruction_loss
from degas_ray.space import Generator, Genotype
from degas_ray.space.operations import UpConv, search_norm

DENSEST = Genotype.parse(
    "N1a=sep_conv_5x5(U0); U1=deconv_6x6(U0)+deconv_6x6(N1a); N2a=sep_conv_5x5(U1); U2=deconv_6x6(U1)+deconv_6x6(N2a); "
    "N3a=sep_conv_5x5(U2); U3=deconv_6x6(U2)+deconv_6x6(N3a)"
)


def half_step(forward: Callable[[Tensor], Tensor], variables: list[Tensor], z: Tensor, target: Tensor) -> None:
    """Forward, loss and gradients."""
    z = z.detach().requires_grad_()
    loss = reconstruction_loss(forward(z), target, 0.5).mean()
    torch.autograd.grad(loss, [*variables, z], allow_unused=True)


def step(forward: Callable[[Tensor], Tensor], module: nn.Module, z: Tensor, target: Tensor) -> Callable[[], None]:
    """Return both half-steps of ``module`` as one function."""
    if isinstance(module, Supernet):
        weights, alphas = list(module.weights()), list(module.alphas.values())
    else:
        weights = alphas = list(module.parameters())

    def run() -> None:
        half_step(forward, weights, z, target)
        half_step(forward, alphas, z, target)

    return run


class UpThenConv(nn.Module):
    """Nearest-neighbour up-sampling, then a convolution at the large size, with the weight of an :class:`UpConv`."""

    def __init__(self, fast: UpConv) -> None:
        super().__init__()
        self.weight, self.padding, self.stride = fast.weight, fast.kernel // 2, fast.stride

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, stride * H, stride * W]."""
        return F.conv2d(F.interpolate(x, scale_factor=self.stride, mode="nearest"), self.weight, padding=self.padding)


def darts_step(supernet: Supernet, z: Tensor, target: Tensor) -> Callable[[], None]:
    """Return both half-steps as DARTS's code takes them."""
    for module in list(supernet.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, UpConv):
                setattr(module, name, UpThenConv(child))

    def run() -> None:
        for _ in range(2):
            supernet.zero_grad()
            reconstruction_loss(supernet(z.detach().requires_grad_()), target, 0.5).mean().backward()

    return run


def single_path(width: int, latent_dim: int, resolution: int) -> Generator:
    """Return the densest generator, normalised as in the search: batch statistics, nothing affine."""
    generator = Generator(DENSEST, width=width, latent_dim=latent_dim, resolution=resolution)
    for module in generator.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, search_norm(width))
    return generator


@click.command()
@click.option("--width", default=16, show_default=True)
@click.option("--batch", default=64, show_default=True)
@click.option("--resolution", default=32, show_default=True)
@click.option("-n", "n", default=1, show_default=True)
@click.option("--rounds", default=9, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="Also time the compiled step (minutes to compile).")
@click.option("--fresh-memory", is_flag=True, help="Let the C library give freed memory back.")
def main(
    width: int, batch: int, resolution: int, n: int, rounds: int, threads: int, compiled: bool, fresh_memory: bool
) -> None:
    """Print medians and ratios as JSON."""
    if not fresh_memory:
        keep_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    latent_dim = 128
    z = torch.randn(batch, latent_dim)
    target = torch.rand(batch, 3, resolution, resolution) * 2 - 1
    plain = Supernet(n, width, latent_dim, resolution, mixed="plain")
    merged = Supernet(n, width, latent_dim, resolution)
    single = single_path(width, latent_dim, resolution)
    single_last = single_path(width, latent_dim, resolution).to(memory_format=torch.channels_last)
    functions = {
        "darts": darts_step(Supernet(n, width, latent_dim, resolution, mixed="plain"), z, target),
        "plain": step(plain, plain, z, target),
        "ours": step(accelerate(merged), merged, z, target),
        "single_path": step(single, single, z, target),
        "single_path_channels_last": step(single_last, single_last, z, target),
    }
    if compiled:
        extra = Supernet(n, width, latent_dim, resolution)
        functions["ours_compiled"] = step(accelerate(extra, compile="on"), extra, z, target)
    seconds = alternate(functions, rounds=rounds, warmup=3)
    report(
        {
            "benchmark": "search_step",
            "sizes": {"width": width, "batch": batch, "resolution": resolution, "n": n},
            "median_ms": {name: round(1e3 * value, 1) for name, value in seconds.items()},
            "times_faster_than_darts": {name: round(seconds["darts"] / value, 2) for name, value in seconds.items()},
            "times_faster_than_plain": {name: round(seconds["plain"] / value, 2) for name, value in seconds.items()},
            "ours_over_single_path": round(seconds["ours"] / seconds["single_path"], 2),
            "ours_over_single_path_channels_last": round(seconds["ours"] / seconds["single_path_channels_last"], 2),
        }
    )


if __name__ == "__main__":
    main()
