"""Networks that stand in for the real judges: the TorchScript interface of Inception's file, and a tiny fast one."""

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degas_ray.scores import Extractor
from degas_ray.scores.networks import Network


class _Graph(nn.Module):
    """What inception-2015-12-05.pt offers: layers, output, and a forward that resizes, normalises and soft-maxes."""

    def __init__(self) -> None:
        super().__init__()
        convolution = nn.Sequential(nn.Conv2d(3, 32, 3, stride=2), nn.ReLU())
        self.layers = nn.Sequential(nn.AvgPool2d(13), convolution, nn.AdaptiveAvgPool2d(8), nn.Flatten())
        # 32 * 8 * 8 = 2048, flat as the real one's
        self.output = nn.Linear(2048, 1008)

    def forward(
        self, img: Tensor, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False
    ) -> Tensor:
        x = img.to(torch.float32)
        if x.shape[2] != 299 or x.shape[3] != 299:
            x = F.interpolate(x, size=[299, 299], mode="bilinear")
        features = self.layers((x - 128.0) / 128.0).reshape(-1, 2048)
        if return_features:
            return features
        if no_output_bias:
            return F.linear(features, self.output.weight).softmax(1)
        return self.output(features).softmax(1)


def write_graph(path: Path, seed: int = 0) -> str:
    """Write a TorchScript file with Inception's interface and random weights; return its SHA-256."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        graph = _Graph().eval()
        nn.init.normal_(graph.output.weight, std=0.3)
        nn.init.normal_(graph.output.bias, std=3.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.script(graph).save(str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TinyNetwork(Network):
    """Random, seeded, and a thousand times cheaper than a real one."""

    size, dim, classes = 16, 24, 10

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = nn.Conv2d(3, 24, 5, stride=2)
            self.last = nn.Linear(24, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.first((images - 128) / 128).relu().amax((2, 3))
        return features, 4 * self.last(features)


def tiny_extractor(seed: int = 0, name: str = "tiny") -> Extractor:
    """Return an extractor whose scores cost next to nothing."""
    network = TinyNetwork(seed).eval().requires_grad_(False)
    return Extractor(name, f"{seed:016x}", network, torch.device("cpu"))
